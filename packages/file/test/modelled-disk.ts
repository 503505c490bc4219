/**
 * A disk in memory that is weaker than real ones: unsynced writes vanish, tear or overtake each other, names persist only once
 * their directory was synced, and any call can be made to fail. What a power cut may leave of it: `crash-states.ts`.
 *
 * **Invariants:**
 * - `#durable` and `Inode.durable` are what a power loss leaves at least; `#pending` and `Inode.pending` may survive in any part.
 * - After each change a {@link CrashPoint} is recorded if recording was asked for; its buffers are never written to again.
 */
import { basename } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { Disk, DiskFile, FileStamp, ReadOptions } from '../src/disk.js';
import type { Lock } from '../src/lock.js';
import { applyName, type CrashedInode, type CrashPoint, type NameChange, outside, overlay, type PendingWrite } from './crash-point.js';

interface Inode {
  readonly id: number;
  durable: Buffer;
  pending: readonly PendingWrite[];
  current: Buffer;
  mode: number;
  modified: bigint;
}

/** Asked before each call: an error is thrown instead of it; a number is how many bytes a write takes. */
export type Fault = (call: { readonly name: string; readonly path: string; readonly index: number }) => Error | number | undefined;

const NOTHING: FileStamp = { kind: 'file', inode: 0n, sizeBytes: 0, modifiedNs: 0n, mode: 0o700, uid: 0, gid: 0 };

/** What a bad disk does: forgets to sync data or names, or says that a write or sync of data which failed was made. */
export type Defect = 'ignores syncs' | 'ignores syncs of names' | 'swallows errors';

let disks = 0;

/** See the invariants above. */
export class ModelledDisk implements Disk {
  /** The only directory; every disk has its own. */
  readonly root = `/modelled-${++disks}`;
  readonly crashPoints: CrashPoint[] = [];
  fault: Fault | undefined;
  isRecording = false;
  calls = 0;
  /** What becomes of data, or of names, whose sync failed: it is lost though it can still be read, or it got there all the same. */
  failedSyncs: 'drop' | 'keep' = 'drop';
  /** Each write and sync takes a turn of the event loop, and a synced write one between its halves: others get to act meanwhile. */
  isSlow = false;
  /** For controls: what it says that it did, and did not. */
  defect: Defect | undefined;
  /** Locks, and with that whether the lock's file is there, are none of its business but this. */
  hasLockFile = false;
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
      const id = inodes.get(bytes) ?? disk.#newInode({ durable: bytes, pending: [] }, bytes, 0o600).id;
      inodes.set(bytes, id);
      disk.#names.set(name, id);
      disk.#durable.set(name, id);
    }
    return disk;
  }

  /** What a process that was killed at that moment leaves to the next one: all can be read, and no more is durable than was. */
  static killedAt(point: CrashPoint): ModelledDisk {
    const disk = new ModelledDisk();
    for (const [id, inode] of point.inodes) {
      disk.#nextInode = id;
      disk.#newInode(inode, inode.pending.reduce(overlay, inode.durable), 0o600);
    }
    disk.#durable = new Map(point.names);
    disk.#pending = [...point.nameChanges];
    disk.#names = new Map(point.names);
    for (const change of point.nameChanges) applyName(disk.#names, change);
    return disk;
  }

  get statePath(): string {
    return `${this.root}/state.json`;
  }

  /** What a process that was killed leaves: everything that was written. */
  files(): Map<string, Buffer> {
    return new Map([...this.#names].map(([name, id]) => [name, this.#inode(id).current]));
  }

  /** What a crash may find now. */
  crashPoint(): CrashPoint {
    const inodes = new Map([...this.#inodes].map(([id, { durable, pending }]) => [id, { durable, pending }]));
    return { call: this.calls, names: new Map(this.#durable), nameChanges: [...this.#pending], inodes };
  }

  async createFile(path: string, mode: number): Promise<DiskFile> {
    this.#call('createFile', path);
    const name = basename(path);
    if (this.#names.has(name)) throw systemError('EEXIST', path);
    const empty = Buffer.alloc(0);
    const inode = this.#newInode({ durable: empty, pending: [] }, empty, mode);
    this.#change({ name, inode: inode.id });
    return this.#fileOf(inode, path);
  }

  async openFile(path: string): Promise<DiskFile> {
    this.#call('openFile', path);
    return this.#fileOf(this.#at(path), path);
  }

  async readFile(path: string, { fromByte, toByte, onRead }: ReadOptions = {}): Promise<Buffer> {
    this.#call('readFile', path);
    const bytes = Buffer.from(this.#at(path).current.subarray(fromByte, toByte));
    // In pieces that end anywhere.
    for (let readTo = Math.ceil(bytes.length / 3); onRead !== undefined && readTo < bytes.length; readTo *= 2) onRead(bytes, readTo);
    return bytes;
  }

  async stamp(path: string): Promise<FileStamp | undefined> {
    this.#call('stamp', path);
    if (path === this.root) return { ...NOTHING, kind: 'directory' };
    if (path === `${this.statePath}.lock`) return this.hasLockFile ? NOTHING : undefined;
    const id = this.#names.get(basename(path));
    return id === undefined ? undefined : stampOf(this.#inode(id));
  }

  async readLink(path: string): Promise<undefined> {
    this.#call('readLink', path);
  }

  async realPath(path: string): Promise<string> {
    this.#call('realPath', path);
    return path;
  }

  async list(path: string): Promise<string[]> {
    this.#call('list', path);
    return [...this.#names.keys()];
  }

  async link(from: string, to: string): Promise<void> {
    this.#call('link', to);
    if (this.#names.has(basename(to))) throw systemError('EEXIST', to);
    this.#change({ name: basename(to), inode: this.#at(from).id });
  }

  async rename(from: string, to: string): Promise<void> {
    this.#call('rename', to);
    const inode = this.#at(from);
    if (this.#names.get(basename(to)) === inode.id) return;
    // Its two halves may get to the disk one without the other.
    this.#change({ name: basename(to), inode: inode.id }, { name: basename(from), inode: undefined });
  }

  async unlink(path: string): Promise<void> {
    this.#call('unlink', path);
    this.#at(path);
    this.#change({ name: basename(path), inode: undefined });
  }

  async makeDirectory(path: string): Promise<void> {
    this.#call('makeDirectory', path);
    throw systemError('EEXIST', path);
  }

  async syncDirectory(path: string): Promise<void> {
    if (this.isSlow) await turn();
    if (this.defect === 'ignores syncs of names') return;
    try {
      this.#call('syncDirectory', path);
    } catch (error) {
      if (this.failedSyncs === 'keep') this.#syncNames();
      this.#pending = [];
      throw error;
    }
    this.#syncNames();
  }

  async assertWritable(path: string): Promise<void> {
    this.#call('assertWritable', path);
  }

  async survivesPowerLoss(path: string): Promise<boolean> {
    this.#call('survivesPowerLoss', path);
    return true;
  }

  #fileOf(inode: Inode, path: string): DiskFile {
    const write = (bytes: Uint8Array, position: number, name: string): number => {
      const allowed = this.#writeCall(name, path);
      if (allowed === 'swallowed') return bytes.length;
      const taken = Buffer.from(bytes.subarray(0, allowed ?? bytes.length));
      inode.current = overlay(inode.current, { position, bytes: taken });
      inode.pending = [...inode.pending, { position, bytes: taken }];
      inode.modified = ++this.#clock;
      this.#record();
      return taken.length;
    };
    return {
      write: async (bytes, position) => {
        if (this.isSlow) await turn();
        return write(bytes, position, 'write');
      },
      writeSynced: async (bytes, position) => {
        if (this.isSlow) await turn();
        // Only this range is made durable, with the size: earlier unsynced writes elsewhere stay pending.
        const before = inode.pending;
        const taken = write(bytes, position, 'writeSynced');
        const isMade = inode.pending !== before;
        if (this.isSlow) await turn();
        if (!isMade || !this.#syncCall('syncOfWrite', path, inode)) return taken;
        inode.durable = overlay(inode.durable, { position, bytes: Buffer.from(bytes.subarray(0, taken)) });
        inode.pending = inode.pending.flatMap((earlier) => outside(earlier, position, position + taken));
        this.#record();
        return taken;
      },
      sync: async () => {
        if (this.isSlow) await turn();
        if (!this.#syncCall('sync', path, inode)) return;
        syncData(inode);
        this.#record();
      },
      adopt: async (stamp) => {
        this.#call('adopt', path);
        inode.mode = stamp.mode;
      },
      stamp: async () => {
        this.#call('stampOpen', path);
        return stampOf(inode);
      },
      close: async () => {
        this.#call('close', path);
      },
    };
  }

  #writeCall(name: string, path: string): number | undefined | 'swallowed' {
    try {
      return this.#call(name, path);
    } catch (error) {
      if (this.defect === 'swallows errors') return 'swallowed';
      throw error;
    }
  }

  /** True if it is made. The system reports the error of a sync once; what the sync was to make durable is not tried again. */
  #syncCall(name: string, path: string, inode: Inode): boolean {
    if (this.defect === 'ignores syncs') return false;
    try {
      this.#call(name, path);
      return true;
    } catch (error) {
      if (this.failedSyncs === 'keep') syncData(inode);
      inode.pending = [];
      if (this.defect === 'swallows errors') return false;
      throw error;
    }
  }

  #syncNames(): void {
    for (const change of this.#pending) applyName(this.#durable, change);
    this.#pending = [];
    this.#record();
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

  #newInode({ durable, pending }: CrashedInode, current: Buffer, mode: number): Inode {
    const inode = { id: this.#nextInode++, durable, pending, current, mode, modified: ++this.#clock };
    this.#inodes.set(inode.id, inode);
    return inode;
  }

  #change(...changes: readonly NameChange[]): void {
    for (const change of changes) {
      applyName(this.#names, change);
      this.#pending.push(change);
    }
    this.#record();
  }

  #record(): void {
    if (this.isRecording) this.crashPoints.push(this.crashPoint());
  }
}

/** A lock that is always free: each modelled disk belongs to one test. */
export const noLock: Lock = { acquire: async () => ({ assertHeld: async () => {}, release: async () => {} }) };

/** Leaves all open stores as a process leaves them that is killed: nothing of them is closed, and they may be opened again. */
export function forgetOpenStores(): void {
  (globalThis as { [key: symbol]: Map<string, unknown> | undefined })[Symbol.for('loopstate.file.stores')]?.clear();
}

/** A system error as `node:fs` raises it: without a stack, which would cost more than all the rest. */
export function systemError(code: string, path: string): NodeJS.ErrnoException {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const error = Object.assign(new Error(`${code}: modelled, '${path}'`), { code });
  Error.stackTraceLimit = stackTraceLimit;
  return error;
}

function syncData(inode: Inode): void {
  inode.durable = inode.pending.reduce(overlay, inode.durable);
  inode.pending = [];
}

function stampOf(inode: Inode): FileStamp {
  return { ...NOTHING, inode: BigInt(inode.id), sizeBytes: inode.current.length, modifiedNs: inode.modified, mode: inode.mode };
}
