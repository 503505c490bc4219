/** What is durable and what is not yet at one moment of a disk, and what becomes of it. */

/** A write that may not be durable yet. */
export interface PendingWrite {
  readonly position: number;
  readonly bytes: Buffer;
}

/** A change of one name that may not be durable yet: the inode that it leads to from now on; `undefined` removes it. */
export interface NameChange {
  readonly name: string;
  readonly inode: number | undefined;
}

/** What a crash may find of a file. */
export interface CrashedInode {
  /** What is left at least. */
  readonly durable: Buffer;
  /** What may be left in any part. */
  readonly pending: readonly PendingWrite[];
}

/** What a crash may find at one moment. */
export interface CrashPoint {
  /** How many calls had been made. */
  readonly call: number;
  /** The names that are durable. */
  readonly names: ReadonlyMap<string, number>;
  readonly nameChanges: readonly NameChange[];
  readonly inodes: ReadonlyMap<number, CrashedInode>;
}

/** Makes a change of names. */
export function applyName(names: Map<string, number>, { name, inode }: NameChange): void {
  if (inode === undefined) names.delete(name);
  else names.set(name, inode);
}

/** The bytes once a write was made, the gap before it filled with zeros. */
export function overlay(bytes: Buffer, write: PendingWrite): Buffer {
  const end = write.position + write.bytes.length;
  const result = Buffer.alloc(Math.max(bytes.length, end));
  bytes.copy(result);
  write.bytes.copy(result, write.position);
  return result;
}

/** What is left of a write once a range was written later, and is durable: an older page can't come back over a newer one. */
export function outside({ position, bytes }: PendingWrite, start: number, end: number): PendingWrite[] {
  const head = bytes.subarray(0, Math.max(0, start - position));
  const tail = bytes.subarray(Math.min(bytes.length, Math.max(0, end - position)));
  const parts = [
    { position, bytes: head },
    { position: position + bytes.length - tail.length, bytes: tail },
  ];
  return parts.filter((part) => part.bytes.length > 0);
}
