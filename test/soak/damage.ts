/**
 * Damage to one file of a store, and what it may cost: what stands nowhere else. What stands elsewhere is judged by searching the files for
 * the very bytes, without any code of recovery.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Damage } from './plan.js';

/** Damage that was done. */
export interface DoneDamage {
  readonly damage: Damage;
  /** The name of the file. */
  readonly name: string;
  /** What it holds now; none: it is gone. */
  readonly bytes: Buffer | undefined;
  /** Whether what was acknowledged may be gone. */
  readonly mayLose: boolean;
  /** Whether a loss may be told: what is left can't show that there was none. */
  readonly mayAlarm: boolean;
  /** Whether a text that stood in the files still stands in a part that is intact, so that what it belongs to must survive. */
  stands(text: string): boolean;
}

const ZEROED_BYTES = 64;

/**
 * Damages a file of the store in `directory`; `undefined`: there is no such file, or no copy of what it holds. `earlier`: what was done before,
 * which may not have been repaired yet.
 */
export function damageStore(
  directory: string,
  damage: Damage,
  { wasClosed, earlier }: { wasClosed: boolean; earlier: readonly DoneDamage[] },
): DoneDamage | undefined {
  const names = readdirSync(directory);
  const name = nameOf(damage.target, names);
  if (name === undefined) return undefined;
  if (damage.target === 'database' && !names.includes('state.db.backup')) return undefined;
  const before = readFileSync(join(directory, name));
  const content = contentBytes(before);
  if (content === 0) return undefined;
  const after = changed(before, Math.floor(damage.at * content), damage.how);
  if (after === undefined) rmSync(join(directory, name));
  else writeFileSync(join(directory, name), after);
  const isLines = damage.target === 'state' || damage.target === 'previous' || damage.target === 'journal';
  // Of a database and its log it is up to SQLite what can be read when one of them is damaged: the copy stands by itself.
  const count = (other: string): boolean => other !== name && isData(other) && (damage.target !== 'database' || other.endsWith('.backup'));
  const isDamaged = (other: string, now: Buffer): boolean =>
    earlier.some((done) => done.name === other && done.bytes?.equals(now) === true);
  const others = names.filter(count).flatMap((other) => {
    const now = readFileSync(join(directory, other));
    return isDamaged(other, now) ? [] : [now];
  });
  // Nothing looks at a copy until it is needed: what was damaged earlier may hold the same records.
  const isSecond = names.filter(count).some((other) => isDamaged(other, readFileSync(join(directory, other))));
  const intact = isLines && after !== undefined ? [...others, intactLines(before, after)] : others;
  return {
    damage,
    name,
    bytes: after,
    mayLose: isSecond || damage.target === 'database' || damage.target === 'log' || (damage.target === 'journal' && !wasClosed),
    mayAlarm: isSecond || damage.target === 'database' || damage.target === 'log' || damage.target === 'journal',
    stands: (text) => intact.some((bytes) => bytes.includes(text)),
  };
}

function nameOf(target: Damage['target'], names: readonly string[]): string | undefined {
  const fixed = {
    state: 'state.json',
    previous: 'state.json.previous',
    database: 'state.db',
    log: 'state.db-wal',
    backup: 'state.db.backup',
  };
  if (target !== 'journal') return names.includes(fixed[target]) ? fixed[target] : undefined;
  const generation = (name: string): number => Number(/^state\.json\.(\d+)\.journal$/.exec(name)?.[1] ?? 0);
  const newest = [...names].sort((a, b) => generation(b) - generation(a))[0];
  return newest !== undefined && generation(newest) > 0 ? newest : undefined;
}

/** What was put aside before is no part of the store, nor are locks. */
function isData(name: string): boolean {
  return !/\.(damaged|original)-|\.(lock|holder|tmp)$|-shm$/.test(name);
}

/** A journal ends with space for more. */
function contentBytes(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

function changed(bytes: Buffer, at: number, how: Damage['how']): Buffer | undefined {
  switch (how) {
    case 'delete':
      return undefined;
    case 'cut':
      return bytes.subarray(0, at);
    case 'flip':
      return Buffer.concat([bytes.subarray(0, at), Buffer.from([(bytes[at] ?? 0) ^ 0x20]), bytes.subarray(at + 1)]);
    case 'zero':
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.alloc(Math.min(ZEROED_BYTES, bytes.length - at)),
        bytes.subarray(at + ZEROED_BYTES),
      ]);
  }
}

function intactLines(before: Buffer, after: Buffer): Buffer {
  const whole = new Set(before.toString('latin1').split('\n'));
  const kept = after
    .toString('latin1')
    .split('\n')
    .filter((line) => whole.has(line));
  return Buffer.from(kept.join('\n'), 'latin1');
}
