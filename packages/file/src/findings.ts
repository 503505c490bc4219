/** The codes of the findings that a file store reports, each with what was found and what was done. */
export const FINDING_CODES = {
  'torn-tail': 'A write was cut short when the process or the machine stopped. It had not been acknowledged and is dropped.',
  'journal-damaged': 'Lines of a journal are damaged. Every sound line is kept, the file is put aside.',
  'journal-missing': 'A journal that must have existed is gone.',
  'snapshot-damaged': 'The state file is damaged. It is put aside, and what the other files hold is used.',
  'snapshot-empty': 'The state file was empty, with nothing beside it. The store starts empty.',
  'snapshot-missing': 'The state file is gone while files beside it stand. They are used.',
  'snapshot-replaced': 'The state file is not the one that this store wrote last. It is put aside, and what the store knows is used.',
  'previous-damaged': 'The previous snapshot is damaged, and not needed. It is put aside.',
  'repair-interrupted':
    'A loss was found by an earlier start, which repaired it and may have ended before it told of it. What was lost then is lost.',
  'other-store': 'A file beside the state file belongs to another store. It is put aside.',
  'old-format-imported': 'A state file of an older format was taken over. The original is kept beside.',
  'old-format-salvaged': 'A torn state file of an older format was taken over as far as it is complete. The original is kept beside.',
  'compaction-failed': 'A new snapshot could not be written. Nothing is lost; it is tried again later.',
} as const;

/** The code of a finding; see {@link FINDING_CODES}. */
export type FindingCode = keyof typeof FINDING_CODES;

/** The advice that stands in every report about a state file that was replaced or removed. */
export const HOW_TO_RESET = 'Deleting or restoring the state file alone does not reset a loop: use `loopstate reset`.';
