/**
 * A disk in memory that is weaker than real ones: unsynced writes vanish, tear or overtake each other, names persist only once
 * their directory was synced, and any call can be made to fail.
 *
 * **Invariants:**
 * - `#durable` and `Inode.durable` are what a power loss leaves at least; `#pending` and `Inode.pending` may survive in any part.
 * - After each change a {@link CrashPoint} is recorded if recording was asked for; its buffers are never written to again.
 */
import { basename } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Disk, DiskFile, FileStamp } from '../src/disk.js';
import { endOfContent } from '../src/lines.js';
import type { Lock } from '../src/lock.js';

/** A write that may not be durable yet. */
export interface PendingWrite {
  readonly position: number;
  readonly bytes: Buffer;
}

interface Inode {
  readonly id: number;
  durable: Buffer;
  pending: readonly PendingWrite[];
  current: Buffer;
  mode: number;
  modified: bigint;
}

/** A change of names that may not be durable yet. */
interface NameChange {
  readonly set?: readonly [name: string, inode: number];
  readonly remove?: string;
}

/** What a crash may find at one moment. */
export interface CrashPoint {
  /** How many calls had been made. */
  readonly call: number;
  readonly names: ReadonlyMap<string, number>;
  readonly nameChanges: readonly NameChange[];
  readonly inodes: ReadonlyMap<number, { readonly durable: Buffer; readonly pending: readonly PendingWrite[] }>;
}

/** Asked before each call: an error is thrown instead of it; a number is how many bytes a write takes. */
export type Fault = (call: { readonly name: string; readonly path: string; readonly index: number }) => Error | number | undefined;

let disks = 0;

/** See the invariants above. */
export class ModelledDisk implements Disk {
  /** The only directory; every disk has its own. */
  readonly root = `/modelled-${++disks}`;
  readonly crashPoints: CrashPoint[] = [];
  fault: Fault | undefined;
  isRecording = false;
  calls = 0;
  #nextInode = 1;
  #clock = 1n;
  #names = new Map<string, number>();
  #durable = new Map<string, number>();
  #pending: NameChange[] = [];
  readonly #inodes = new Map<number, Inode>();

  /** A disk that holds these files, durably; names that share a buffer share an inode. */
  static holding(files: ReadonlyMap<string, Buffer>): ModelledDisk {
    const disk = new ModelledDisk();
    const inodes = new Map<Buffer, number>();
    for (const [name, bytes] of files) {
      const id = inodes.get(bytes) ?? disk.#newInode(bytes, 0o600).id;
      inodes.set(bytes, id);
      disk.#names.set(name, id);
      disk.#durable.set(name, id);
    }
    return disk;
  }

  get statePath(): string {
    return `${this.root}/state.json`;
  }

  /** What a process that was killed leaves: everything that was written. */
  files(): Map<string, Buffer> {
    return new Map([...this.#names].map(([name, id]) => [name, this.#inode(id).current]));
  }

  async createFile(path: string, mode: number): Promise<DiskFile> {
    this.#call('createFile', path);
    const name = basename(path);
    if (this.#names.has(name)) throw systemError('EEXIST', path);
    const inode = this.#newInode(Buffer.alloc(0), mode);
    this.#change({ set: [name, inode.id] });
    return this.#fileOf(inode, path);
  }

  async openFile(path: string): Promise<DiskFile> {
    this.#call('openFile', path);
    return this.#fileOf(this.#at(path), path);
  }

  async readFile(path: string, fromByte = 0): Promise<Buffer> {
    this.#call('readFile', path);
    return Buffer.from(this.#at(path).current.subarray(fromByte));
  }

  async stamp(path: string): Promise<FileStamp | undefined> {
    this.#call('stamp', path);
    if (path === this.root) return { ...stampOf(this.#newestDummy()), kind: 'directory' };
    const id = this.#names.get(basename(path));
    return id === undefined ? undefined : stampOf(this.#inode(id));
  }

  async readLink(): Promise<undefined> {
    return undefined;
  }

  async realPath(path: string): Promise<string> {
    return path;
  }

  async list(path: string): Promise<string[]> {
    this.#call('list', path);
    return [...this.#names.keys()];
  }

  async link(from: string, to: string): Promise<void> {
    this.#call('link', to);
    if (this.#names.has(basename(to))) throw systemError('EEXIST', to);
    this.#change({ set: [basename(to), this.#at(from).id] });
  }

  async rename(from: string, to: string): Promise<void> {
    this.#call('rename', to);
    const inode = this.#at(from);
    if (this.#names.get(basename(to)) === inode.id) return;
    this.#change({ set: [basename(to), inode.id], remove: basename(from) });
  }

  async unlink(path: string): Promise<void> {
    this.#call('unlink', path);
    this.#at(path);
    this.#change({ remove: basename(path) });
  }

  async makeDirectory(path: string): Promise<void> {
    throw systemError('EEXIST', path);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#call('syncDirectory', path);
    this.#durable = new Map(this.#names);
    this.#pending = [];
    this.#record();
  }

  async assertWritable(): Promise<void> {}

  async survivesPowerLoss(): Promise<boolean> {
    return true;
  }

  #fileOf(inode: Inode, path: string): DiskFile {
    const write = (bytes: Uint8Array, position: number, name: string): number => {
      const allowed = this.#call(name, path);
      const taken = Buffer.from(bytes.subarray(0, allowed ?? bytes.length));
      inode.current = overlay(inode.current, { position, bytes: taken });
      inode.pending = [...inode.pending, { position, bytes: taken }];
      inode.modified = ++this.#clock;
      this.#record();
      return taken.length;
    };
    const sync = (): void => {
      inode.durable = inode.pending.reduce(overlay, inode.durable);
      inode.pending = [];
      this.#record();
    };
    return {
      write: async (bytes, position) => write(bytes, position, 'write'),
      writeSynced: async (bytes, position) => {
        // Only this range is made durable, with the size: earlier unsynced writes elsewhere stay pending.
        const before = inode.pending;
        const taken = write(bytes, position, 'writeSynced');
        this.#syncCall('writeSynced', path, inode);
        inode.durable = overlay(inode.durable, { position, bytes: Buffer.from(bytes.subarray(0, taken)) });
        inode.pending = before.flatMap((earlier) => outside(earlier, position, position + taken));
        this.#record();
        return taken;
      },
      sync: async () => {
        this.#syncCall('sync', path, inode);
        sync();
      },
      adopt: async (stamp) => {
        this.#call('adopt', path);
        inode.mode = stamp.mode;
      },
      stamp: async () => {
        this.#call('stampOpen', path);
        return stampOf(inode);
      },
      close: async () => {},
    };
  }

  /** A sync that fails drops what it was to make durable: the system reports the error once, and the data is gone. */
  #syncCall(name: string, path: string, inode: Inode): void {
    try {
      this.#call(name === 'sync' ? 'sync' : 'syncOfWrite', path);
    } catch (error) {
      inode.pending = [];
      throw error;
    }
  }

  #call(name: string, path: string): number | undefined {
    this.calls++;
    const fault = this.fault?.({ name, path, index: this.calls - 1 });
    if (fault instanceof Error) throw fault;
    return fault;
  }

  #at(path: string): Inode {
    const id = this.#names.get(basename(path));
    if (id === undefined) throw systemError('ENOENT', path);
    return this.#inode(id);
  }

  #inode(id: number): Inode {
    return this.#inodes.get(id)!;
  }

  #newestDummy(): Inode {
    return { id: 0, durable: Buffer.alloc(0), pending: [], current: Buffer.alloc(0), mode: 0o700, modified: 0n };
  }

  #newInode(bytes: Buffer, mode: number): Inode {
    const inode = { id: this.#nextInode++, durable: bytes, pending: [], current: bytes, mode, modified: ++this.#clock };
    this.#inodes.set(inode.id, inode);
    return inode;
  }

  #change(change: NameChange): void {
    applyName(this.#names, change);
    this.#pending.push(change);
    this.#record();
  }

  #record(): void {
    if (!this.isRecording) return;
    const inodes = new Map([...this.#inodes].map(([id, { durable, pending }]) => [id, { durable, pending }]));
    this.crashPoints.push({ call: this.calls, names: new Map(this.#durable), nameChanges: [...this.#pending], inodes });
  }
}

/** A lock that is always free: each modelled disk belongs to one test. */
export const noLock: Lock = { acquire: async () => ({ release: async () => {} }) };

/** Leaves all open stores as a process leaves them that is killed: nothing of them is closed, and they may be opened again. */
export function forgetOpenStores(): void {
  (globalThis as { [key: symbol]: Map<string, unknown> | undefined })[Symbol.for('loopstate.file.stores')]?.clear();
}

/** A system error as `node:fs` raises it. */
export function systemError(code: string, path: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: modelled, '${path}'`), { code });
}

/** What may be left of a moment: every choice of names with every choice of unsynced writes. */
export function* crashStates(point: CrashPoint): Generator<{ readonly label: string; readonly files: Map<string, Buffer> }> {
  const seen = new Set<string>();
  for (const [nameLabel, changes] of choices(point.nameChanges)) {
    const names = new Map(point.names);
    for (const change of changes) applyName(names, change);
    for (const [dataLabel, choose] of dataChoices(point)) {
      const contents = new Map<number, Buffer>();
      for (const id of new Set(names.values())) {
        const inode = point.inodes.get(id)!;
        contents.set(id, choose(inode.pending).reduce(overlay, inode.durable));
      }
      const files = new Map([...names].map(([name, id]) => [name, contents.get(id)!]));
      const key = [...files].map(([name, bytes]) => `${name}:${bytes.length}:${crc32(bytes.subarray(0, endOfContent(bytes)))}`).join('|');
      if (seen.has(key)) continue;
      seen.add(key);
      yield { label: `call ${point.call}, names ${nameLabel}, data ${dataLabel}`, files };
    }
  }
}

type DataChoice = (pending: readonly PendingWrite[]) => readonly PendingWrite[];

/** Nothing, everything, all but one, one alone; and the last write torn at bytes of its content. */
function* dataChoices(point: CrashPoint): Generator<[string, DataChoice]> {
  yield ['none', () => []];
  const longest = Math.max(0, ...[...point.inodes.values()].map(({ pending }) => pending.length));
  if (longest === 0) return;
  yield ['all', (pending) => pending];
  for (let at = 0; at < longest; at++) {
    yield [`prefix ${at}`, (pending) => pending.slice(0, at)];
    yield [`only ${at}`, (pending) => pending.slice(at, at + 1)];
    yield [`without ${at}`, (pending) => pending.filter((_, index) => index !== at)];
  }
  const last = [...point.inodes.values()].map(({ pending }) => pending.at(-1)?.bytes ?? Buffer.alloc(0));
  const lastBytes = Math.max(0, ...last.map(endOfContent));
  for (let cut = 1; cut < lastBytes; cut += lastBytes < 200 ? 1 : 7) {
    yield [
      `torn at ${cut}`,
      (pending) =>
        pending.map((write, index) => (index === pending.length - 1 ? { ...write, bytes: write.bytes.subarray(0, cut) } : write)),
    ];
  }
}

function* choices<T>(all: readonly T[]): Generator<[string, readonly T[]]> {
  yield ['none', []];
  if (all.length === 0) return;
  yield ['all', all];
  for (let at = 0; at < all.length; at++) {
    yield [`prefix ${at}`, all.slice(0, at)];
    yield [`only ${at}`, all.slice(at, at + 1)];
    yield [`without ${at}`, all.filter((_, index) => index !== at)];
  }
}

function applyName(names: Map<string, number>, { set, remove }: NameChange): void {
  if (remove !== undefined) names.delete(remove);
  if (set !== undefined) names.set(...set);
}

function overlay(bytes: Buffer, write: PendingWrite): Buffer {
  const end = write.position + write.bytes.length;
  const result = Buffer.alloc(Math.max(bytes.length, end));
  bytes.copy(result);
  write.bytes.copy(result, write.position);
  return result;
}

/** What is left of a write once a range was written later, and is durable: an older page can't come back over a newer one. */
function outside({ position, bytes }: PendingWrite, start: number, end: number): PendingWrite[] {
  const head = bytes.subarray(0, Math.max(0, start - position));
  const tail = bytes.subarray(Math.min(bytes.length, Math.max(0, end - position)));
  const parts = [
    { position, bytes: head },
    { position: position + bytes.length - tail.length, bytes: tail },
  ];
  return parts.filter((part) => part.bytes.length > 0);
}

function stampOf(inode: Inode): FileStamp {
  return {
    kind: 'file',
    inode: BigInt(inode.id),
    sizeBytes: inode.current.length,
    modifiedNs: inode.modified,
    mode: inode.mode,
    uid: 0,
    gid: 0,
  };
}
