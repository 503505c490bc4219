/**
 * Errors at every call that a run makes of a modelled disk: a sweep that any store which opens on such a disk can be put through.
 * What was acknowledged has to be there after a kill and after a power cut, and whatever rejects has to say what to do.
 */
import { isLoopStateError, type StateBackend } from '@loopstate/core';
import type { CrashPoint } from './crash-point.js';
import { crashStates } from './crash-states.js';
import { Ledger } from './ledger.js';
import { type Fault, ModelledDisk, systemError } from './modelled-disk.js';

/** The calls that may take less than they are given. */
export const WRITES: readonly string[] = ['write', 'writeSynced'];

/** The errors that each call fails with, and those that it fails with in turn. */
const CODES = ['EIO', 'ENOSPC', 'EINTR'];
const CODES_IN_TURN = ['EDQUOT', 'EMFILE', 'EROFS', 'EACCES'];
/** How many calls a disk stays full. */
const FULL_CALLS = 25;

/** How a store is opened, killed before if it was open: to write, or to read beside that. */
export interface Openers {
  write(disk: ModelledDisk): Promise<StateBackend>;
  read(disk: ModelledDisk): Promise<StateBackend>;
}

/** Calls that fail or come short; whatever lasts is over with the session in which it began. */
export interface Trouble {
  readonly label: string;
  readonly fault: Fault;
}

/** What a run with trouble came to. */
export interface Outcome {
  readonly rejections: number;
  readonly wrong: readonly string[];
}

/** The names of the calls that a run makes without any trouble, in their order. */
export async function callsOf(openers: Openers): Promise<string[]> {
  const names: string[] = [];
  const disk = new ModelledDisk();
  disk.fault = ({ name }) => void names.push(name);
  await new TroubledRun(openers, disk, disk.fault).go();
  return names;
}

/** Errors at each call; a disk that fails from any call on, or is full for a while; and each write that takes too little. */
export function* troubles(calls: readonly string[]): Generator<Trouble> {
  for (const [at, name] of calls.entries()) {
    const failWhere =
      (code: string, isMeant: (index: number, name: string) => boolean): Fault =>
      ({ index, name, path }) =>
        isMeant(index, name) ? systemError(code, path) : undefined;
    for (const code of [...CODES, CODES_IN_TURN[at % CODES_IN_TURN.length]!])
      yield { label: `${code} at ${name}, call ${at}`, fault: failWhere(code, (index) => index === at) };
    yield { label: `EIO from ${name}, call ${at}, on`, fault: failWhere('EIO', (index) => index >= at) };
    const takesSpace = (index: number, name: string) =>
      index >= at && index < at + FULL_CALLS && (name === 'createFile' || WRITES.includes(name));
    yield { label: `a full disk from call ${at} on`, fault: failWhere('ENOSPC', takesSpace) };
    if (!WRITES.includes(name)) continue;
    for (const bytes of [0, 1, 50]) {
      yield { label: `${bytes} bytes taken of ${name}, call ${at}`, fault: ({ index }) => (index === at ? bytes : undefined) };
    }
  }
}

/** Runs with trouble, then without, and judges what is there. */
export async function judgeTrouble(openers: Openers, disk: ModelledDisk, { fault }: Trouble): Promise<Outcome> {
  const run = new TroubledRun(openers, disk, fault);
  await run.go();
  const wrong = [...run.wrong];
  for (const { disk, until } of run.left) wrong.push(...(await run.ledger.judge(await openers.write(disk), until)));
  const backend = await openers.write(disk);
  wrong.push(...(await run.ledger.judge(backend)));
  wrong.push(...backend.recovery.filter(({ severity }) => severity === 'loss').map(({ code }) => code));
  const result = await backend.commit({ puts: [{ key: 'after', value: true }] });
  if (!result.ok || result.revision <= run.ledger.highestRevision()) wrong.push('a revision was given again');
  await backend.close();
  return { rejections: run.rejections, wrong };
}

/** Two sessions that open, commit, compact, are read beside, and close; they go on after trouble as a loop would. */
class TroubledRun {
  readonly ledger = new Ledger();
  readonly wrong: string[] = [];
  /** What a power cut or a kill leaves after the first acknowledgement that followed the trouble, and before a session closes. */
  readonly left: { readonly disk: ModelledDisk; readonly until: number }[] = [];
  rejections = 0;
  #hadTrouble = false;
  readonly #openers: Openers;
  readonly #disk: ModelledDisk;
  readonly #fault: Fault;

  constructor(openers: Openers, disk: ModelledDisk, fault: Fault) {
    this.#openers = openers;
    this.#disk = disk;
    this.#fault = fault;
  }

  async go(): Promise<void> {
    for (let session = 0; session < 2; session++) {
      const isOver = this.#hadTrouble;
      this.#disk.fault = (call) => {
        const trouble = isOver ? undefined : this.#fault(call);
        this.#hadTrouble ||= trouble !== undefined;
        return trouble;
      };
      const opened =
        (await this.#attempt(() => this.#openers.write(this.#disk))) ?? (await this.#attempt(() => this.#openers.write(this.#disk)));
      if (opened !== undefined) await this.#use(opened);
    }
    this.#disk.fault = undefined;
  }

  async #use(backend: StateBackend): Promise<void> {
    let isFirst = true;
    for (let round = 0; round < 8; round++) {
      const put = { key: `item/${round % 5}`, value: this.ledger.mark() };
      const durability = round % 4 === 1 ? 'written' : 'synced';
      const result = await this.#attempt(() => this.ledger.commit(backend, { puts: [put], durability }, () => this.#disk.calls));
      if (this.#hadTrouble && isFirst && result !== undefined && durability === 'synced') {
        this.#keep(leastOf(this.#disk.crashPoint()));
        isFirst = false;
      }
      if (round === 4) await this.#attempt(() => this.#readBeside());
    }
    if (this.#hadTrouble) this.#keep(leastOf(this.#disk.crashPoint()), ModelledDisk.holding(this.#disk.files()));
    await this.#attempt(() => backend.close());
  }

  #keep(...all: readonly ModelledDisk[]): void {
    for (const disk of all) this.left.push({ disk, until: this.#disk.calls });
  }

  async #readBeside(): Promise<void> {
    const reader = await this.#openers.read(this.#disk);
    this.wrong.push(...(await this.ledger.judge(reader)));
    await reader.close();
  }

  async #attempt<T>(act: () => Promise<T>): Promise<T | undefined> {
    try {
      return await act();
    } catch (error) {
      this.rejections++;
      const message = error instanceof Error ? error.message : String(error);
      if (!isLoopStateError(error)) this.wrong.push(`no error of ours: ${message}`);
      else if (!namesFileAndRemedy(message)) this.wrong.push(`does not say which file, or what to do: ${message}`);
      return undefined;
    }
  }
}

/** A remedy follows a colon; the words of the system are none. */
function namesFileAndRemedy(message: string): boolean {
  return /state\.json.*: .+\.$/.test(message) && !message.includes(': modelled, ');
}

/** What a power cut leaves at the least. */
function leastOf(point: CrashPoint): ModelledDisk {
  const [least] = crashStates(point, 'lines');
  return ModelledDisk.holding(least!.files);
}
