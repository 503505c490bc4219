import { randomBytes } from 'node:crypto';
import { basename, dirname } from 'node:path';

const TEMPORARY = /^\.[0-9a-f]{16}\.tmp(-journal|-wal|-shm)?$/;

/**
 * The names of a store's files, all beside the database (its real path):
 * - `state.db`, `state.db-wal`, `state.db-shm`: the database, as SQLite keeps it; `state.db-journal` where another program changed its mode,
 *   or while SQLite does;
 * - `state.db.backup`: the copy;
 * - `state.db.restored`: a database that a repair has finished, and that is about to take the place of the one that was damaged;
 * - `state.db.lock`, `state.db.door`: who has the database open, and who is just opening or closing it (databases as well, and never
 *   anything but locks);
 * - `state.db.<random>.tmp`: on its way to another name, never read;
 * - `….damaged-<time>`: put aside, never deleted.
 */
export class StoreNames {
  readonly database: string;
  readonly directory: string;
  readonly #base: string;

  constructor(realPath: string) {
    this.database = realPath;
    this.directory = dirname(realPath);
    this.#base = basename(realPath);
  }

  get log(): string {
    return `${this.database}-wal`;
  }

  get backup(): string {
    return `${this.database}.backup`;
  }

  get restored(): string {
    return `${this.database}.restored`;
  }

  get presence(): string {
    return `${this.database}.lock`;
  }

  get door(): string {
    return `${this.database}.door`;
  }

  /** The database and what SQLite keeps beside it. */
  get files(): readonly string[] {
    return [this.database, this.log, `${this.database}-shm`, `${this.database}-journal`];
  }

  /** Another name each time. */
  temporary(): string {
    return `${this.database}.${randomBytes(8).toString('hex')}.tmp`;
  }

  /** Where something is put aside at `time`, in ms since the epoch. */
  aside(path: string, time: number): string {
    const suffix = path.startsWith(this.database) ? path.slice(this.database.length) : '';
    return `${this.database}.damaged-${new Date(time).toISOString().replace(/[-:]/g, '')}${suffix}`;
  }

  /** Which of `names`, all in our directory, were put aside by a repair of this store. */
  asidesAmong(names: readonly string[]): string[] {
    return names.filter((name) => name.startsWith(`${this.#base}.damaged-`));
  }

  /** Which of `names`, all in our directory, are temporaries of this store. */
  temporariesAmong(names: readonly string[]): string[] {
    return names.filter((name) => name.startsWith(this.#base) && TEMPORARY.test(name.slice(this.#base.length)));
  }
}
