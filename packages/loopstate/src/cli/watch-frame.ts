/**
 * What `watch` shows on a terminal: a function from a model, and the size of the terminal, to lines.
 *
 * **Invariants:** there are at most `rows` lines, and each takes at most `columns` columns; nothing that comes from items, hosts or files is
 * obeyed by the terminal.
 */
import type { HeldItem } from './loop-overview.js';
import { countText, dollarsText, numberText } from './shown-values.js';
import { durationText } from './tally.js';
import type { Colors } from './terminal-colors.js';
import { cutToWidth, widthOf } from './text-width.js';
import { visibleStart } from './visible-text.js';
import { progressText } from './watch-lines.js';
import type { WatchedRun, WatchModel } from './watch-model.js';

/** Where a frame is to be shown. */
export interface FrameSize {
  readonly columns: number;
  readonly rows: number;
}

/** A part of a line, with the color it is shown in. */
type Part = string | readonly [text: string, color: (text: string) => string];

/** Lines with a heading, most important first: the last ones are left out where there is no room. */
interface Section {
  readonly heading: string;
  readonly lines: readonly (readonly Part[])[];
  /** How many lines there would be, where some are left out because no terminal has room for them. Default: as many as there are. */
  readonly count?: number;
  /** There is no end of them anyway: those that are left out are not counted. */
  readonly isEndless?: true;
}

/** No cell shows more characters of an item or a reason, however wide the terminal. */
const CELL_LENGTH = 500;
const BAR_COLUMNS_MAX = 60;
const HELD_SHOWN = 4;
/** As long as they are now, and enough to name one. */
const RUN_ID_LENGTH = 16;
/** A blank line, the heading, and one line. */
const SECTION_ROWS_LEAST = 3;

/** See the file's comment. */
export function watchFrame(model: WatchModel, { columns, rows }: FrameSize, colors: Colors): string[] {
  const top = [...heading(model, columns, colors), ...trouble(model, colors)];
  const sections = [workers(model, colors), recent(model, colors), failures(model, rows)].filter(({ lines }) => lines.length > 0);
  const shares = share(
    rows - top.length,
    sections.map(({ lines }) => lines.length + 2),
  );
  const lines = sections.flatMap((section, index) => sectionLines(section, shares[index] ?? 0, colors));
  return [...top, ...lines].slice(0, Math.max(0, rows)).map((parts) => lineOf(parts, columns));
}

function sectionLines({ heading, lines, count = lines.length, isEndless }: Section, room: number, colors: Colors): (readonly Part[])[] {
  if (room < SECTION_ROWS_LEAST) return [];
  const isCut = count + 2 > room && isEndless !== true;
  const shown = isCut ? [...lines.slice(0, room - 3), [`  … and ${numberText(count - room + 3)} more`]] : lines.slice(0, room - 2);
  return [[], [[heading, colors.bold]], ...shown];
}

function heading(model: WatchModel, columns: number, colors: Colors): Part[][] {
  const { state, traits, progress, perSecond, restMs } = model;
  const rest = restMs === undefined || restMs === 0 ? '' : `   ${durationText(restMs)} left`;
  const figures = `${progressText(model)}   ${perSecond.toFixed(1)}/s${rest}`;
  const barColumns = Math.min(BAR_COLUMNS_MAX, columns - widthOf(figures) - 3);
  const quarantined = progress.quarantined > 0 ? ` (${numberText(progress.quarantined)} quarantined)` : '';
  const glitched = progress.glitched > 0 ? ` (${numberText(progress.glitched)} glitched)` : '';
  const failed = `failed ${numberText(progress.failed)}${quarantined}`;
  const counts: Part[] = [
    `completed ${numberText(progress.completed)}`,
    progress.failed > 0 ? [failed, colors.red] : failed,
    `in progress ${numberText(progress.inProgress)}`,
    `outstanding ${numberText(progress.outstanding)}${glitched}`,
    `cost ${dollarsText(progress.costUsd)}`,
  ];
  return [
    [
      [visibleStart(state, CELL_LENGTH), colors.bold],
      [` (${traits.name})   q quits`, colors.dim],
    ],
    barColumns < 5 ? [figures] : [...bar(model, barColumns, colors), `  ${figures}`],
    ...flow(counts, columns),
  ];
}

function bar({ settled, total, progress }: WatchModel, columns: number, colors: Colors): Part[] {
  const full = total === 0 ? 0 : Math.floor((settled / total) * columns);
  const failed = settled === 0 ? 0 : Math.ceil((progress.failed / settled) * full);
  return [
    ['█'.repeat(full - failed), colors.green],
    ['█'.repeat(failed), colors.red],
    ['░'.repeat(columns - full), colors.dim],
  ];
}

function trouble({ trouble: reason, recovery }: WatchModel, colors: Colors): Part[][] {
  const lines: Part[][] = [];
  if (reason !== undefined) lines.push([[`out of reach, tried again: ${visibleStart(reason, CELL_LENGTH)}`, colors.yellow]]);
  if (recovery.length > 0) lines.push([[`${countText(recovery.length, 'finding')} about the state itself: see status`, colors.yellow]]);
  return lines;
}

function workers(model: WatchModel, colors: Colors): Section {
  const { runs, leftBehind, nowMs } = model;
  const lines = runs.flatMap((run) => [runLine(run, nowMs, colors), ...heldLines(run.held, nowMs)]);
  const left: Part[][] = leftBehind.length === 0 ? [] : [[`  left behind: ${countText(leftBehind.length, 'item')}, free to be taken`]];
  return { heading: `Workers (${numberText(runs.length)})`, lines: [...lines, ...left, ...heldLines(leftBehind, nowMs)] };
}

function runLine(run: WatchedRun, nowMs: number, colors: Colors): Part[] {
  const { pid, condition, held, since } = run;
  const color = condition === 'alive' ? colors.green : condition === 'elsewhere' ? colors.dim : colors.yellow;
  const holds = `holds ${numberText(held.length)}`;
  return [
    `  ${visibleStart(run.runId, RUN_ID_LENGTH)}  pid ${pid} on ${visibleStart(run.host, 40)}  `,
    [condition, color],
    `  ${holds}  since ${ageText(since, nowMs)}`,
  ];
}

function heldLines(held: readonly HeldItem[], nowMs: number): Part[][] {
  const lines = held.slice(0, HELD_SHOWN).map(({ id, attempt, since }): Part[] => {
    const retry = attempt > 1 ? `  attempt ${attempt}` : '';
    return [`    ${durationText(ageMs(since, nowMs)).padEnd(10)}  ${visibleStart(id, CELL_LENGTH)}${retry}`];
  });
  return held.length > HELD_SHOWN ? [...lines, [`    … and ${numberText(held.length - HELD_SHOWN)} more`]] : lines;
}

function recent({ recent: outcomes, nowMs }: WatchModel, colors: Colors): Section {
  const lines = outcomes.map(({ id, status, reason, at }): Part[] => [
    `  ${ageText(at, nowMs).padEnd(16)}  `,
    status === 'completed' ? [status.padEnd(11), colors.green] : [status.padEnd(11), colors.red],
    `  ${visibleStart(id, CELL_LENGTH)}`,
    ...(reason === undefined ? [] : [[`  ${visibleStart(reason, CELL_LENGTH)}`, colors.dim] as const]),
  ]);
  return { heading: 'Latest', lines, isEndless: true };
}

function failures({ failures: groups }: WatchModel, rows: number): Section {
  const width = Math.max(0, ...groups.slice(0, 1).map(({ count }) => numberText(count).length));
  const lines = groups.slice(0, rows).map(({ reason, count }): Part[] => {
    return [`  ${numberText(count).padStart(width)}  ${visibleStart(reason, CELL_LENGTH)}`];
  });
  return { heading: 'Failures by reason', lines, count: groups.length };
}

/** Gives each wish a row in turn, as long as there are rows. */
function share(rows: number, wishes: readonly number[]): number[] {
  const given = wishes.map(() => 0);
  for (let left = rows, isDone = false; left > 0 && !isDone; ) {
    isDone = true;
    for (const [index, wish] of wishes.entries()) {
      if (left === 0 || (given[index] ?? 0) >= wish) continue;
      given[index] = (given[index] ?? 0) + 1;
      left -= 1;
      isDone = false;
    }
  }
  return given;
}

/** Words side by side, in as many lines as they need. */
function flow(words: readonly Part[], columns: number): Part[][] {
  const lines: Part[][] = [];
  let used = 0;
  for (const word of words) {
    const width = widthOf(textOf(word)) + 3;
    const line = lines.at(-1);
    if (line === undefined || used + width > columns) {
      lines.push([word]);
      used = width - 3;
    } else {
      line.push('   ', word);
      used += width;
    }
  }
  return lines;
}

function lineOf(parts: readonly Part[], columns: number): string {
  let line = '';
  let left = columns;
  for (const part of parts) {
    if (left <= 0) break;
    const text = cutToWidth(textOf(part), left);
    left -= widthOf(text);
    line += typeof part === 'string' ? text : part[1](text);
  }
  return line;
}

function textOf(part: Part): string {
  return typeof part === 'string' ? part : part[0];
}

/** Clocks of other hosts may be ahead. */
function ageMs(at: number, nowMs: number): number {
  return Math.max(0, nowMs - at);
}

function ageText(at: number, nowMs: number): string {
  return `${durationText(ageMs(at, nowMs))} ago`;
}
