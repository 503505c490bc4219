/**
 * The log that GNU parallel writes with `--joblog`: a line for each job that has ended, in the order of their ends, tab-separated:
 * Seq, Host, Starttime, JobRuntime, Send, Receive, Exitval, Signal, Command. A job that was tried again stands there again.
 */
import { constants } from 'node:os';
import { ID_BYTES, LoopStateError, type MovableEntry, type MovableItem, whyNotMovable } from '@loopstate/core';
import { type ByteLine, byteLines } from './byte-lines.js';

/** How every job log begins. */
export const JOB_LOG_START = 'Seq\tHost\t';

/** A command may be longer than an id can be; then it is the item in a file that is meant. */
const LINE_BYTES_MAX = 1_024 * 1_024;

/** A byte order mark and a CR. */
const LINE_EXTRA_BYTES = 4;

const LINE = /^(?<seq>\d+)\t(?:[^\t]*\t){5}(?<exit>-?\d+)\t(?<signal>\d+)\t(?<command>.*)$/s;

/** A job that has ended. */
export interface EndedJob {
  readonly seq: number;
  /** The command; parallel writes a line break in it as NUL, and it is a line break here. */
  readonly command: string;
  /** Jobs that ended the same way share it. */
  readonly item: MovableItem;
  /** Of its line, from 1. */
  readonly number: number;
}

/** Options of {@link readJobLog} and {@link jobItems}. */
export interface JobLogOptions {
  /** Names the log in messages. */
  readonly source: string;
  /** Leaves out what can not be read. */
  readonly isPartial: boolean;
  /** Told of each line that was left out. */
  readonly onDamage: () => void;
}

/** The jobs of a log, in the order of its lines. Errors: `LOOPSTATE_FOREIGN` for a line that is damaged or cut; what the stream raises. */
export async function* readJobLog(chunks: AsyncIterable<Buffer>, options: JobLogOptions): AsyncGenerator<EndedJob> {
  const items = new Map<string, MovableItem>();
  for await (const line of byteLines(chunks, LINE_BYTES_MAX)) {
    if (line.text?.startsWith(JOB_LOG_START) === true || line.text === '') continue;
    const { seq, exit = '', signal = '', command = '' } = fieldsOf(line) ?? {};
    if (seq === undefined) {
      leaveOut(options, line.number, line.isEnded ? 'it is damaged' : 'it was cut');
      continue;
    }
    const how = `${exit} ${signal}`;
    const item = items.get(how) ?? itemOf(Number(exit), Number(signal));
    items.set(how, item);
    yield { seq: Number(seq), command: command.replaceAll('\0', '\n'), item, number: line.number };
  }
}

/** The items of a log whose ids are the commands. Errors: as {@link readJobLog}; `LOOPSTATE_FOREIGN` for a command that can't be an id. */
export async function* jobsByCommand(chunks: AsyncIterable<Buffer>, options: JobLogOptions): AsyncGenerator<MovableEntry> {
  for await (const { command, item, number } of readJobLog(chunks, options)) {
    const reason = whyNotMovable(command, item);
    if (reason === undefined) yield { id: command, item };
    else leaveOut(options, number, `${reason}. With --items FILE the items are lines of that file`);
  }
}

/** How each job of a log ended at last, by its number. Errors: as {@link readJobLog}. */
export async function endsBySeq(chunks: AsyncIterable<Buffer>, options: JobLogOptions): Promise<ReadonlyMap<number, MovableItem>> {
  const ends = new Map<number, MovableItem>();
  for await (const { seq, item } of readJobLog(chunks, options)) ends.set(seq, item);
  return ends;
}

/**
 * The items of a log whose ids are the lines of the file that parallel took its arguments from: that of job n is line n. An empty line is
 * no item here.
 *
 * Errors: `LOOPSTATE_FOREIGN` for a job whose line is missing, or can't be an id; what the stream raises.
 */
export async function* jobsByLine(
  ends: ReadonlyMap<number, MovableItem>,
  lines: AsyncIterable<Buffer>,
  options: JobLogOptions,
): AsyncGenerator<MovableEntry> {
  let found = 0;
  let last = 0;
  for await (const { number, text } of byteLines(lines, ID_BYTES + LINE_EXTRA_BYTES)) {
    last = number;
    const item = ends.get(number);
    if (item === undefined) continue;
    found += 1;
    if (text === '') continue;
    const reason = whyNotMovable(text ?? '', item);
    if (text !== undefined && reason === undefined) yield { id: text, item };
    else leaveOut(options, number, text === undefined ? `it is no text, or has more than ${ID_BYTES} bytes` : `${reason}`);
  }
  if (found === ends.size) return;
  for (const seq of ends.keys()) if (seq > last || seq === 0) leaveOut(options, seq, 'there is no such line');
}

function fieldsOf({ text, isEnded }: ByteLine): { readonly [name: string]: string } | undefined {
  // A command that was cut would be another item.
  return isEnded ? LINE.exec(text ?? '')?.groups : undefined;
}

function itemOf(exit: number, signal: number): MovableItem {
  if (exit === 0 && signal === 0) return { status: 'completed', attempt: 1 };
  const name = Object.entries(constants.signals).find(([, value]) => value === signal)?.[0] ?? signal;
  return { status: 'failed', attempt: 1, reason: signal === 0 ? `exit ${exit}` : `signal ${name}` };
}

/** Errors: `LOOPSTATE_FOREIGN`, unless what can not be read is to be left out. */
function leaveOut({ source, isPartial, onDamage }: JobLogOptions, number: number, reason: string): void {
  if (!isPartial) {
    throw new LoopStateError(
      'LOOPSTATE_FOREIGN',
      `Line ${number} of ${source} can not be imported: ${reason}. With --partial it is left out. Nothing was imported.`,
    );
  }
  onDamage();
}
