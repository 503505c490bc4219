/** From what a user gives to the file and the job that are meant. Nothing here looks at the disk. */
import { type AdapterClass, connectBy } from './connection.js';
import { badOption } from './trouble.js';

const JOB_BYTES_MAX = 256;
const DEFAULT_JOB = 'default';

/** A database file, and which of the jobs in it. */
export interface SqliteLocation {
  readonly path: string;
  /** Each job of a file is a store of its own. Default: `default`. */
  readonly job?: string;
}

/**
 * An existing `KeyvSqlite` of `@keyv/sqlite` 4. Of it the path is used, and its copy of SQLite, by which our connections are made from then
 * on; its own connection stays untouched.
 */
export interface SqliteAdapter {
  readonly opts: { readonly uri?: string };
  query(sql: string, ...parameters: unknown[]): Promise<unknown>;
}

/**
 * Says which file and job `target` means: a path, a URL (`sqlite:./state.db?job=review`, `sqlite:///abs/state.db`), a location, or an
 * existing `KeyvSqlite`, by whose SQLite connections are made from now on.
 *
 * Errors: `LOOPSTATE_BAD_OPTION`.
 */
export function locationOf(target: string | SqliteLocation | SqliteAdapter): Required<SqliteLocation> {
  const adapterClass = adapterClassOf(target);
  const { path, job = DEFAULT_JOB } = typeof target === 'string' ? fromText(target) : fromObject(target);
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw badOption('A SQLite state needs the path of a file, such as sqlite:./state.db.');
  }
  if (path === ':memory:') throw badOption('A SQLite state is kept in a file; a state in memory is opened as "memory:".');
  if (typeof job !== 'string' || !isJobName(job)) {
    throw badOption(`A job needs a name of 1 to ${JOB_BYTES_MAX} bytes without control characters.`);
  }
  if (adapterClass !== undefined) connectBy(adapterClass);
  return { path, job };
}

function fromText(target: string): SqliteLocation {
  const url = /^sqlite:(?:\/\/)?(?<rest>.*)$/is.exec(target);
  if (url === null) return { path: target };
  const [path = '', ...queries] = (url.groups?.rest ?? '').split('?');
  if (path.includes('#')) throw badOption('A sqlite: URL has no fragment. If the name holds a number sign, write it as %23.');
  if (queries.length > 1) throw badOption('A sqlite: URL has one question mark. If the name holds one, write it as %3F.');
  const parameters = new URLSearchParams(queries[0]);
  for (const name of parameters.keys()) {
    if (name !== 'job') throw badOption(`A sqlite: URL has no parameter ${JSON.stringify(name)}: there is job.`);
  }
  const jobs = parameters.getAll('job');
  if (jobs.length > 1) throw badOption('A sqlite: URL names one job.');
  try {
    return { path: decodeURIComponent(path), ...(jobs[0] === undefined ? {} : { job: jobs[0] }) };
  } catch (cause) {
    throw badOption('This sqlite: URL names no file. A per cent sign in a name is written %25.', cause);
  }
}

function fromObject(target: SqliteLocation | SqliteAdapter): SqliteLocation {
  if (typeof target !== 'object' || target === null) throw badOption('A SQLite state is named by a URL, a path or an object with a path.');
  if (adapterClassOf(target) !== undefined) return { path: ((target as SqliteAdapter).opts.uri ?? '').replace(/^sqlite:\/\//, '') };
  for (const name of Object.keys(target)) {
    if (name !== 'path' && name !== 'job') throw badOption(`There is no option ${JSON.stringify(name)}: there are path and job.`);
  }
  return target as SqliteLocation;
}

/** By its methods: the program has another copy of the package than we do, and may have derived a class from it. */
function adapterClassOf(target: unknown): AdapterClass | undefined {
  if (typeof target !== 'object' || target === null || !('opts' in target) || !('query' in target)) return undefined;
  if (typeof target.opts !== 'object' || target.opts === null) return undefined;
  let found: AdapterClass | undefined;
  for (let type = Object.getPrototypeOf(target); type !== null; type = Object.getPrototypeOf(type)) {
    if (Object.hasOwn(type, 'deleteMany')) found = type.constructor;
  }
  return found;
}

function isJobName(job: string): boolean {
  const isPlain = job !== '' && job.isWellFormed() && !/\p{Cc}/u.test(job);
  return isPlain && Buffer.byteLength(job) <= JOB_BYTES_MAX;
}
