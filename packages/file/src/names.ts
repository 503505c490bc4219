import { basename, dirname } from 'node:path';

const GENERATION = /^\.(\d{1,15})\.journal$/;
const TEMPORARY = /^\.[0-9a-f]{16}\.tmp$/;
/** Another state may have a name that begins like ours. */
const ASIDE = /^(\.previous|\.\d{1,15}\.journal)?\.(damaged|original)-/;

/**
 * The names of a store's files, all beside `state.json` (its real path):
 * - `state.json`: the snapshot of the newest generation, readable by itself;
 * - `state.json.previous`: an older snapshot, kept until the next one is made;
 * - `state.json.<n>.journal`: the commits since generation n began;
 * - `state.json.lock`, `state.json.holder`: who has the store open;
 * - `state.json.<random>.tmp`: on its way to another name, never read;
 * - `….damaged-<time>`, `state.json.original-<time>`: put aside, never deleted.
 */
export class StoreNames {
  readonly state: string;
  readonly directory: string;
  readonly #base: string;

  constructor(realPath: string) {
    this.state = realPath;
    this.directory = dirname(realPath);
    this.#base = basename(realPath);
  }

  get previous(): string {
    return `${this.state}.previous`;
  }

  get lock(): string {
    return `${this.state}.lock`;
  }

  get holder(): string {
    return `${this.state}.holder`;
  }

  journal(generation: number): string {
    return `${this.state}.${generation}.journal`;
  }

  /** `random`: 16 hexadecimal digits. */
  temporary(random: string): string {
    return `${this.state}.${random}.tmp`;
  }

  /** The generations whose journals are among `names`, oldest first. */
  journalsAmong(names: readonly string[]): number[] {
    const found = this.#tails(names).flatMap((tail) => GENERATION.exec(tail)?.[1] ?? []);
    return found.map(Number).sort((a, b) => a - b);
  }

  /** The paths of the temporaries among `names`. */
  temporariesAmong(names: readonly string[]): string[] {
    return this.#tails(names)
      .filter((tail) => TEMPORARY.test(tail))
      .map((tail) => this.state + tail);
  }

  /** The paths among `names` where a file was put aside. */
  asidesAmong(names: readonly string[]): string[] {
    return this.#tails(names)
      .filter((tail) => ASIDE.test(tail))
      .map((tail) => this.state + tail);
  }

  #tails(names: readonly string[]): string[] {
    return names.filter((name) => name.startsWith(this.#base)).map((name) => name.slice(this.#base.length));
  }
}
