/**
 * Where a process dies: before, amid or after one of the durable steps that its backend names. The process that is to die counts
 * the steps; the one that started it plans them, so that in the end there was a death at every moment of every step.
 */
import type { RunStep } from './fixture.js';
import type { Random } from './seed.js';

/** When, within a step. */
export type Moment = 'before' | 'amid' | 'after';

/** Where one process is to die. */
export interface Failpoint {
  readonly step: string;
  readonly moment: Moment;
  /** The how manieth step of that name it is, counted from 1. */
  readonly nth: number;
  /** How long a step that has no part of its own may go on before the process dies amid it. */
  readonly lingerUs: number;
}

const MOMENTS: readonly Moment[] = ['before', 'amid', 'after'];
const NTH_MAX = 4;
const LINGER_US_MAX = 400;

/**
 * The steps as the process takes them that is to die, or, without a failpoint, to tell at its end how many there were of each name.
 * `die` is called with the name and the moment, and must not return.
 */
export function countSteps(
  failpoint: Failpoint | undefined,
  die: (name: string, moment: Moment) => never,
): { step: RunStep; counts: ReadonlyMap<string, number> } {
  const counts = new Map<string, number>();
  const step: RunStep = async (name, whole, part) => {
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    const isHere = name === failpoint?.step && count === failpoint.nth;
    if (!isHere) return await whole();
    if (failpoint.moment === 'before') die(name, 'before');
    if (failpoint.moment === 'after') {
      // Also after one that failed, as the removal of what is not there.
      await whole().catch(() => undefined);
      die(name, 'after');
    }
    // Whoever waits for `whole` is never told: the process is gone by then.
    const begun = part === undefined ? void whole() : part();
    // Not awaited without need: nothing else must come after half of a step.
    if (begun instanceof Promise) await begun;
    if (part === undefined) linger(failpoint.lingerUs);
    return die(name, 'amid');
  };
  return { step, counts };
}

/**
 * The failpoints of a test: every moment of every step comes before any comes again.
 *
 * **Invariant:** `#due` holds, of what is asked for at all, what was not reached since it was last filled.
 */
export class FailpointPlan {
  readonly #random: Random;
  readonly #steps: readonly string[];
  /** How many steps of each name a life on a store that is not empty is likely to reach; 0: only an empty one takes that step. */
  readonly #reach: Map<string, number>;
  readonly #deaths = new Map<string, number>();
  #due: Pick<Failpoint, 'step' | 'moment'>[] = [];

  /** `counts`: how many steps there were of each name in a life on an empty store, from opening to closing. */
  constructor(counts: ReadonlyMap<string, number>, random: Random) {
    this.#steps = [...counts.keys()];
    this.#reach = new Map([...counts].map(([step, count]) => [step, Math.min(count, NTH_MAX)]));
    this.#random = random;
  }

  /** The failpoint of the first life of a store: the first step of its name, which is sure to be reached. */
  first(): Failpoint {
    this.#fill();
    const due = this.#due.find(({ step }) => this.#reach.get(step) === 0) ?? this.#random.pick(this.#due);
    return { ...due, nth: 1, lingerUs: this.#random.next(LINGER_US_MAX) };
  }

  /** The failpoint of a later life; nothing, where only steps are due that an empty store takes. */
  next(): Failpoint | undefined {
    this.#fill();
    const due = this.#due.filter(({ step }) => this.#reach.get(step) !== 0);
    if (due.length === 0) return undefined;
    const { step, moment } = this.#random.pick(due);
    return { step, moment, nth: 1 + this.#random.next(this.#reach.get(step) ?? 1), lingerUs: this.#random.next(LINGER_US_MAX) };
  }

  /** A process died there. */
  note({ step, moment }: Pick<Failpoint, 'step' | 'moment'>): void {
    const name = `${moment} ${step}`;
    this.#deaths.set(name, (this.#deaths.get(name) ?? 0) + 1);
    const index = this.#due.findIndex((due) => due.step === step && due.moment === moment);
    if (index !== -1) this.#due.splice(index, 1);
  }

  /** A process came to its end without it. */
  noteMissed({ step, nth }: Pick<Failpoint, 'step' | 'nth'>): void {
    this.#reach.set(step, nth - 1);
  }

  /** How many moments there are, in all kinds of steps. */
  get moments(): number {
    return this.#steps.length * MOMENTS.length;
  }

  /** The moments of steps at which no process died. */
  get missing(): string[] {
    return this.#steps.flatMap((step) => MOMENTS.map((moment) => `${moment} ${step}`)).filter((name) => !this.#deaths.has(name));
  }

  /** How often a process died where, in one line. */
  get summary(): string {
    const countOf = (step: string) => MOMENTS.map((moment) => this.#deaths.get(`${moment} ${step}`) ?? 0).join('/');
    return this.#steps.map((step) => `${step} ${countOf(step)}`).join(', ');
  }

  #fill(): void {
    if (this.#due.length === 0) this.#due = this.#steps.flatMap((step) => MOMENTS.map((moment) => ({ step, moment })));
  }
}

/** Keeps this thread busy: what was begun goes on in others. */
function linger(us: number): void {
  const end = process.hrtime.bigint() + BigInt(us) * 1_000n;
  while (process.hrtime.bigint() < end);
}
