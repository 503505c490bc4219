/** The codes of the findings that a database reports, each with what was found and what was done. */
export const FINDING_CODES = {
  'database-missing': 'The database was gone while its copy, or its write-ahead log, stood beside.',
  'database-emptied': 'The database was empty, or had lost our tables, while its copy stood beside.',
  'database-damaged': 'The database was damaged. It is put aside; every sound record of it is kept.',
  'database-older': 'The database was older than its own copy: someone restored it. What it held is put aside.',
  'started-from-backup': 'The store goes on from its copy. What was committed after the copy may be missing.',
  'wal-missing': 'The database was not closed, and its write-ahead log is gone. The latest commits may be missing.',
  'wal-damaged': 'Commits in the write-ahead log are damaged. They and what came after them are lost; the log is put aside.',
  'wal-torn': 'A commit was cut short when the process or the machine stopped. It had not been acknowledged and is dropped.',
  'backup-damaged': 'The copy was damaged. What can be read of it is taken where it is needed, and it is put aside.',
  'backup-of-other-store': 'The copy beside the database belongs to another store. It is put aside.',
  'backup-failed': 'A copy could not be written. Nothing is lost; it is tried again later.',
} as const;

/** The code of a finding; see {@link FINDING_CODES}. */
export type FindingCode = keyof typeof FINDING_CODES;

/** The advice that stands in every report about a database that was replaced or removed. */
export const HOW_TO_RESET = 'Deleting or restoring the database alone does not reset a loop: use `loopstate reset`.';
