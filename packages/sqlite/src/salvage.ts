/** What can still be read of a damaged database: every row that SQLite finds and whose check sum is right. */
import { numberOf, type SqlConnection, type SqlRow, textOf, withAttached } from './connection.js';
import { COLUMNS, parseFileHeader, type StoredRow, sumOf, TABLE, toStoredRow } from './records.js';
import { hasCode, isDamage } from './trouble.js';

const ROWS_AT_ONCE = 500;

/** How much of a damaged database could be read. */
export interface Salvaged {
  /** Sound rows, each counted once. */
  readonly rows: number;
  /** Every row that the index knows was found, and sound: nothing is missing. */
  readonly isComplete: boolean;
  /** The id of the store, if the header of the file is sound. */
  readonly store?: string;
}

export const NOTHING: Salvaged = { rows: 0, isComplete: false };

/**
 * Hands the sound rows of the database at `path` to `take`, some of them perhaps twice. What SQLite can't read on the way is passed over.
 *
 * Errors: those of `take`; damage is none.
 */
export async function salvage(path: string, take: (rows: readonly StoredRow[]) => Promise<void>): Promise<Salvaged> {
  const seen = new Map<number, string>();
  let areSound = true;
  let header: string | undefined;
  const takeSound = async (rows: readonly SqlRow[]) => {
    const sound = rows.map(soundRow).filter((row) => row !== undefined);
    for (const { seq, job, key, value } of sound) {
      seen.set(seq, nameOf(job, key));
      if (job === '' && key === '') header = value ?? undefined;
    }
    areSound &&= sound.length === rows.length;
    await take(sound);
  };
  const isRead = await walk(path, takeSound);
  const isComplete = isRead && areSound && (await indexKnowsOnly(path, new Set(seen.values())));
  return { rows: seen.size, isComplete, ...(header === undefined ? {} : { store: parseFileHeader(header).store }) };
}

/**
 * Adds rows to the database that is attached as `store`, where they are newer than what stands there. Of a header only one that is
 * missing is taken: what stands there is from a sound copy, or newer. Errors: those of SQLite.
 */
export async function addRows(into: SqlConnection, rows: readonly StoredRow[]): Promise<void> {
  const list = rows.map(({ seq, job, key, value, at }) => [seq, job, key, value, at, sumOf(job, key, value)]);
  await into.query(
    `INSERT OR REPLACE INTO ${TABLE} (${COLUMNS})
     SELECT found.value ->> 0, found.value ->> 1, found.value ->> 2, found.value ->> 3, found.value ->> 4, found.value ->> 5
     FROM json_each(?1) AS found
     WHERE NOT EXISTS (SELECT 1 FROM ${TABLE} AS r WHERE r.job = found.value ->> 1 AND r.key = found.value ->> 2
       AND (r.key = '' OR r.seq >= found.value ->> 0))`,
    [JSON.stringify(list)],
  );
}

/** Resolves to whether all could be read. */
async function walk(path: string, take: (rows: readonly SqlRow[]) => Promise<void>): Promise<boolean> {
  return await withReadable(path, false, async (connection) => {
    let isRead = true;
    let limit = ROWS_AT_ONCE;
    for (let after = Number.MIN_SAFE_INTEGER; ; ) {
      const rows = await readOn(connection, after, limit);
      if (rows !== 'damage') {
        await take(rows);
        const last = rows.at(-1);
        if (last === undefined) return isRead;
        after = numberOf(last, 'seq');
        limit = Math.min(ROWS_AT_ONCE, limit * 2);
      } else if (limit > 1) {
        // Closer and closer to the damage, row by row at last.
        limit = Math.ceil(limit / 8);
      } else {
        isRead = false;
        const beyond = await passOver(connection, after);
        if (beyond === undefined) return isRead;
        after = beyond;
      }
    }
  });
}

/** A place not far beyond `after` from where SQLite can read again; `undefined`: there is none. */
async function passOver(connection: SqlConnection, after: number): Promise<number | undefined> {
  const isReadable = async (from: number): Promise<boolean> => (await readOn(connection, from, 1)) !== 'damage';
  let step = 1;
  while (!(await isReadable(after + step))) {
    step *= 2;
    if (!Number.isSafeInteger(after + step)) return undefined;
  }
  let [damaged, readable] = [after + Math.floor(step / 2), after + step];
  while (readable - damaged > 1) {
    const middle = damaged + Math.floor((readable - damaged) / 2);
    if (await isReadable(middle)) readable = middle;
    else damaged = middle;
  }
  return readable;
}

/** A page may have lost rows without a trace, but for the index. */
async function indexKnowsOnly(path: string, found: ReadonlySet<string>): Promise<boolean> {
  return await withReadable(path, false, async (connection) => {
    const rows = await connection.query(`SELECT job, key FROM ${TABLE} INDEXED BY sqlite_autoindex_loopstate_records_1`);
    return rows.every((row) => found.has(nameOf(textOf(row, 'job'), textOf(row, 'key'))));
  });
}

/** Resolves to `otherwise` where SQLite cannot make sense of the file. */
async function withReadable<T>(path: string, otherwise: T, run: (connection: SqlConnection) => Promise<T>): Promise<T> {
  try {
    return await withAttached(path, 'store', run);
  } catch (error) {
    if (isDamage(error) || hasCode(error, 'SQLITE_ERROR')) return otherwise;
    throw error;
  }
}

function nameOf(job: string, key: string): string {
  return JSON.stringify([job, key]);
}

async function readOn(connection: SqlConnection, after: number, limit: number): Promise<readonly SqlRow[] | 'damage'> {
  try {
    const rows = await connection.query(`SELECT ${COLUMNS} FROM ${TABLE} WHERE seq > ${after} ORDER BY seq LIMIT ${limit}`);
    // A damaged page can put rows out of order, and lead round in a circle.
    const last = rows.at(-1);
    return last !== undefined && numberOf(last, 'seq') <= after ? 'damage' : rows;
  } catch (error) {
    if (isDamage(error)) return 'damage';
    throw error;
  }
}

function soundRow(row: SqlRow): StoredRow | undefined {
  try {
    return toStoredRow(row);
  } catch (error) {
    if (isDamage(error)) return undefined;
    throw error;
  }
}
