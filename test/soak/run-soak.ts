/**
 * Runs rounds of a soak until the time is up or something is violated: workers share a loop, faults happen as the seed says, and after each
 * round what the workers wrote down is held against what the store holds.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hrtime } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { compiledPackages } from '../support/compiled.js';
import { Crew } from './crew.js';
import { type DoneDamage, damageStore } from './damage.js';
import { type Backend, type Fault, planRound, type RoundPlan } from './plan.js';
import { openStore, type SoakStore } from './stores.js';
import { violationsOf, violationsOfOpening } from './verify.js';

/** What is soaked, and for how long. */
export interface SoakOptions {
  readonly backend: Backend;
  readonly minutes: number;
  /** It goes on until so many workers were killed, however long that takes. Default: 1. */
  readonly killsLeast?: number | undefined;
  readonly seed: number;
  /** Where ledgers, logs and stores are kept, whatever comes of it. Default: in a temporary directory, if something is violated. */
  readonly keep?: string | undefined;
  /** For the test of the soak itself: an outcome that was never recorded is written into a ledger. */
  readonly isPlanted?: boolean | undefined;
  readonly print: (line: string) => void;
}

/** What a soak did. */
export interface SoakReport {
  readonly counts: Readonly<Record<Counted, number>>;
  /** None: all promises were kept. */
  readonly violations: readonly string[];
  /** Where everything is kept. */
  readonly directory: string | undefined;
}

const COUNTED = [
  'rounds',
  'stores',
  'workers',
  'kills',
  'closes',
  'pauses',
  'servers',
  'networks',
  'damages',
  'lost',
  'commits',
  'outcomes',
] as const;
type Counted = (typeof COUNTED)[number];

const PRINT_EVERY_MS = 15_000;
const POLL_MS = 10;
/** Nothing takes so long: whoever waits for it has found a loop that hangs. */
const STUCK_MS = 90_000;
const QUIET_MS = 6_000;
const STARTS_MAX = 60;

/** With what a worker may be refused, and is started again. */
const REFUSALS: Readonly<Record<Backend, readonly string[]>> = {
  file: ['LOOPSTATE_LOCKED'],
  sqlite: [],
  redis: ['LOOPSTATE_UNAVAILABLE'],
  'redis-sentinel': ['LOOPSTATE_UNAVAILABLE'],
  'redis-cluster': ['LOOPSTATE_UNAVAILABLE'],
};

/** Runs a soak. */
export async function runSoak(options: SoakOptions): Promise<SoakReport> {
  const soak = new Soak(options);
  try {
    return await soak.run();
  } finally {
    await soak.end();
  }
}

/** The store in use, and who has worked on it. */
interface Life {
  readonly store: SoakStore;
  readonly crew: Crew;
  readonly excused: Map<string, bigint>;
  items: number;
  /** It was damaged before the round began. */
  isDamaged: boolean;
  readonly damages: DoneDamage[];
}

class Soak {
  readonly #options: SoakOptions;
  readonly #directory: string;
  readonly #counts = Object.fromEntries(COUNTED.map((name) => [name, 0])) as Record<Counted, number>;
  readonly #plans: RoundPlan[] = [];
  readonly #violations: string[] = [];
  #life: Life | undefined;
  #printedMs = performance.now();

  constructor(options: SoakOptions) {
    this.#options = options;
    if (options.keep !== undefined) mkdirSync(options.keep, { recursive: true });
    this.#directory = options.keep ?? mkdtempSync(join(tmpdir(), 'loopstate-soak-'));
  }

  async run(): Promise<SoakReport> {
    const { backend, minutes, killsLeast = 1, seed, keep } = this.#options;
    await compiledPackages();
    const endMs = performance.now() + minutes * 60_000;
    const isOver = (): boolean => this.#violations.length > 0 || (performance.now() > endMs && this.#counts.kills >= killsLeast);
    for (let round = 0; !isOver(); round++) await this.#round(planRound(seed, backend, round));
    if (this.#violations.length === 0) await this.#finish();
    const isKept = keep !== undefined || this.#violations.length > 0;
    if (isKept) this.#keep();
    return { counts: this.#counts, violations: this.#violations, directory: isKept ? this.#directory : undefined };
  }

  /** Ends what still runs. */
  async end(): Promise<void> {
    this.#life?.crew.end();
    await Promise.all(this.#life?.crew.all.map(({ exited }) => exited) ?? []);
    await this.#life?.store.end();
    if (this.#options.keep === undefined && this.#violations.length === 0) rmSync(this.#directory, { recursive: true, force: true });
  }

  async #round(plan: RoundPlan): Promise<void> {
    this.#plans.push(plan);
    this.#counts.rounds += 1;
    if (plan.isNewStore || this.#life === undefined) await this.#renew();
    const life = this.#life as unknown as Life;
    life.items += plan.items;
    const before = life.crew.all.length;
    await Promise.all(Array.from({ length: plan.workers }, (_, n) => this.#start(plan, n)));
    const pauses: Promise<void>[] = [];
    for (const { afterOutcomes, delayMs, fault } of plan.faults) {
      if (!(await this.#progress(afterOutcomes))) break;
      await sleep(delayMs);
      await this.#happen(fault, plan, pauses);
    }
    if (plan.ending === 'killed') await this.#killAll();
    else await this.#finished(plan, before);
    await Promise.all(pauses);
    await Promise.all(life.crew.all.map(({ exited }) => exited));
    if (this.#options.isPlanted === true) life.crew.plant({ type: 'completed', id: 'item-planted', fence: 1, atNs: `${hrtime.bigint()}` });
    await this.#verify(plan, before);
    if (this.#violations.length === 0) await this.#damage(plan);
    this.#tell();
  }

  /** The store that was used until now is finished, and another one begun. */
  async #renew(): Promise<void> {
    if (this.#life !== undefined) await this.#finish();
    this.#counts.stores += 1;
    const name = `store-${this.#counts.stores}`;
    this.#life = {
      store: await openStore(this.#options.backend, this.#directory, name),
      crew: new Crew(join(this.#directory, `workers-of-${name}`)),
      excused: new Map(),
      items: 0,
      isDamaged: false,
      damages: [],
    };
  }

  /** One worker does what is left, and everything is looked at once more. */
  async #finish(): Promise<void> {
    const life = this.#life as Life;
    const plan: RoundPlan = {
      ...planRound(this.#options.seed, this.#options.backend, this.#counts.rounds),
      ...{ items: 0, workers: 1, faults: [], ending: 'finished', damage: undefined, diskFaultEvery: 0 },
    };
    const before = life.crew.all.length;
    await this.#finished(plan, before);
    await this.#verify(plan, before);
    if (this.#violations.length > 0) return;
    if (this.#options.keep !== undefined) life.store.keep(this.#directory);
    else if (life.store.directory !== undefined) rmSync(life.store.directory, { recursive: true, force: true });
    await life.store.end();
    this.#life = undefined;
  }

  async #start(plan: RoundPlan, place: number): Promise<void> {
    const { store, crew, items } = this.#life as Life;
    const { concurrency, workMs, doClocksJump, diskFaultEvery, seed } = plan;
    this.#counts.workers += 1;
    await crew.start({
      ...{ url: store.url, leaseMs: store.leaseMs, items, concurrency, workMs, doClocksJump, diskFaultEvery },
      seed: seed + place + 1_000 * crew.all.length,
    });
  }

  /** Waits for so many more outcomes, or until it is quiet. False: nobody runs any more. */
  async #progress(outcomes: number): Promise<boolean> {
    const { crew } = this.#life as Life;
    crew.read();
    const wanted = crew.outcomes + outcomes;
    let last = crew.outcomes;
    let quietMs = performance.now() + QUIET_MS;
    while (crew.outcomes < wanted && performance.now() < quietMs) {
      await sleep(POLL_MS);
      crew.read();
      if (crew.outcomes > last) quietMs = performance.now() + QUIET_MS;
      last = crew.outcomes;
      if (crew.running.length === 0) return false;
    }
    return true;
  }

  async #happen(fault: Fault, plan: RoundPlan, pauses: Promise<void>[]): Promise<void> {
    const { crew, store } = this.#life as Life;
    const { running } = crew;
    if (fault.do === 'server' || fault.do === 'network') {
      this.#counts[fault.do === 'server' ? 'servers' : 'networks'] += 1;
      return await store.suffer(fault);
    }
    if (fault.do === 'second') return await this.#start(plan, 1);
    const worker = running[fault.worker % Math.max(1, running.length)];
    if (worker === undefined) return;
    if (fault.do === 'pause') {
      this.#counts.pauses += 1;
      pauses.push(worker.pause(fault.pauseMs));
      return;
    }
    this.#counts[fault.do === 'kill' ? 'kills' : 'closes'] += 1;
    if (fault.do === 'kill') worker.kill();
    else worker.child.kill('SIGTERM');
    await worker.exited;
    await sleep(fault.pauseMs);
    await this.#start(plan, fault.worker);
  }

  async #killAll(): Promise<void> {
    const { running } = (this.#life as Life).crew;
    this.#counts.kills += running.length;
    for (const worker of running) worker.kill();
    await Promise.all(running.map(({ exited }) => exited));
  }

  /** Waits until a worker of this round says that all is done, and starts another when nobody is left to say so. */
  async #finished(plan: RoundPlan, before: number): Promise<void> {
    const { crew } = this.#life as Life;
    const endMs = performance.now() + STUCK_MS;
    const isDone = (): boolean =>
      crew.running.length === 0 && crew.all.slice(before).some(({ events }) => events.at(-1)?.status === 'completed');
    for (;;) {
      crew.read();
      if (isDone()) return;
      const isStuck = performance.now() > endMs || crew.all.length - before > STARTS_MAX;
      if (isStuck) {
        this.#violations.push(`one-item: the workers do not finish the items of round ${plan.round}.`);
        return await this.#killAll();
      }
      if (crew.running.length === 0) await this.#start(plan, 0);
      await sleep(POLL_MS);
    }
  }

  async #verify(plan: RoundPlan, before: number): Promise<void> {
    const life = this.#life as Life;
    const { crew, store, items, excused } = life;
    crew.read();
    const history = { workers: crew.all, excused };
    const isFinished = plan.ending === 'finished';
    const content = await store.look();
    this.#violations.push(...violationsOf(history, content, { items, isFinished }));
    this.#violations.push(...violationsOfOpening(history, content, undefined).violations);
    for (const { number, events } of crew.all.slice(before)) {
      for (const { type, error = '', message, findings = [] } of events) {
        this.#counts.commits += ['began', 'completed', 'failed', 'glitch', 'retry', 'given-back'].includes(type) ? 1 : 0;
        this.#counts.outcomes += type === 'completed' || type === 'failed' ? 1 : 0;
        if (type === 'refused' && !REFUSALS[this.#options.backend].includes(error))
          this.#violations.push(`always-starts: worker ${number} was refused with ${error}: ${message}`);
        const alarms = type === 'opened' && !life.isDamaged ? findings.filter(({ severity }) => severity !== 'info') : [];
        if (alarms.length > 0)
          this.#violations.push(`always-starts: worker ${number} was told ${alarms.map(({ code }) => code).join(', ')}.`);
      }
    }
    // Whoever came first has repaired it.
    life.isDamaged = false;
  }

  async #damage({ damage, ending }: RoundPlan): Promise<void> {
    const life = this.#life as Life;
    const { crew, store, excused } = life;
    if (damage === undefined || store.directory === undefined) return;
    const done = damageStore(store.directory, damage, { wasClosed: ending === 'finished', earlier: life.damages });
    if (done === undefined) return;
    life.damages.push(done);
    this.#counts.damages += 1;
    life.isDamaged = true;
    const { violations, lost } = violationsOfOpening({ workers: crew.all, excused }, await store.look(), done);
    this.#violations.push(...violations);
    this.#counts.lost += lost.length;
    for (const id of lost) excused.set(id, hrtime.bigint());
  }

  #tell(): void {
    if (performance.now() - this.#printedMs < PRINT_EVERY_MS) return;
    this.#printedMs = performance.now();
    this.#options.print(countsLine(this.#counts));
  }

  #keep(): void {
    const { backend, seed, minutes } = this.#options;
    writeFileSync(join(this.#directory, 'schedule.json'), `${JSON.stringify(this.#plans, null, 1)}\n`);
    if (this.#violations.length === 0) return;
    this.#life?.store.keep(this.#directory);
    const command = `pnpm soak --backend ${backend} --minutes ${minutes} --seed ${seed}`;
    const text = [command, '', `${this.#violations.length} violations in round ${this.#plans.at(-1)?.round}:`, ...this.#violations];
    writeFileSync(join(this.#directory, 'replay.txt'), `${text.join('\n')}\n`);
  }
}

/** The counts, for people. */
export function countsLine(counts: SoakReport['counts']): string {
  const names: Partial<Record<Counted, string>> = {
    servers: 'server faults',
    networks: 'network faults',
    damages: 'damaged files',
    lost: 'outcomes lost to them',
  };
  return COUNTED.map((name) => `${counts[name].toLocaleString('en')} ${names[name] ?? name}`).join(', ');
}
