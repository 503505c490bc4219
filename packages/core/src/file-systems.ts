/**
 * What is known of Linux file systems by their types in `statfs`. The numbers are those of linux/magic.h, and of the systems' own headers
 * where they do not stand there.
 */

/** A type of file system. */
export interface KnownFileSystem {
  readonly name: string;
  /**
   * `network`: other hosts write there too, and their server decides what a sync is worth. `forgetful`: a power loss can undo a sync, or it
   * can't be told from here whether it can.
   */
  readonly kind: 'local' | 'network' | 'forgetful';
}

const FILE_SYSTEMS: ReadonlyMap<number, KnownFileSystem> = new Map(
  Object.entries({
    local: [
      [0xef53, 'ext4'],
      [0x58465342, 'xfs'],
      [0x9123683e, 'btrfs'],
      [0x2fc12fc1, 'zfs'],
      [0xf2f52010, 'f2fs'],
      [0xca451a4e, 'bcachefs'],
      [0x4d44, 'vfat'],
      [0x2011bab0, 'exfat'],
      [0x5346544e, 'ntfs'],
      [0x7366746e, 'ntfs3'],
      [0x73717368, 'squashfs'],
    ],
    network: [
      [0x6969, 'NFS'],
      [0x517b, 'SMB'],
      [0xfe534d42, 'SMB'],
      [0xff534d42, 'CIFS'],
      [0x01021997, '9p'],
      [0x00c36400, 'Ceph'],
      [0x0bd00bd0, 'Lustre'],
      [0x5346414f, 'AFS'],
      [0x6b414653, 'AFS'],
      [0x786f4256, 'a folder shared by VirtualBox'],
      [0xbacbacbc, 'a folder shared by VMware'],
    ],
    forgetful: [
      [0x01021994, 'tmpfs'],
      [0x858458f6, 'ramfs'],
      [0x794c7630, 'overlay'], // Its `volatile` mode can't be told from here.
      [0x65735546, 'FUSE'], // It may be anything.
    ],
  } satisfies Record<KnownFileSystem['kind'], [type: number, name: string][]>).flatMap(([kind, systems]) =>
    systems.map(([type, name]) => [Number(type), { name: String(name), kind: kind as KnownFileSystem['kind'] }] as const),
  ),
);

/** The file system of that type in `statfs`; undefined where it is not known, as outside of Linux. */
export function fileSystemOf(type: number): KnownFileSystem | undefined {
  return process.platform === 'linux' ? FILE_SYSTEMS.get(type) : undefined;
}
