/**
 * A record as it stands in Redis: `<revision> <checksum> <JSON>`. The checksum is eight hexadecimal digits over the key, a NUL and
 * the JSON; the revision stands a second time as a score, and the scripts compare the two.
 */
import { crc32 } from 'node:zlib';
import { checksumText, decodeValue, type StateRecord } from '@loopstate/core';

const REVISION_PER_MS = 1_000;
const CHECKSUM_DIGITS = 8;

/** What is sent of a put; the script sets the revision before it. */
export function sealValue(key: string, text: string): string {
  return `${checksum(key, text)} ${text}`;
}

/** The record that `stored` holds, or `undefined` if it is not one that {@link sealValue} wrote for this key. */
export function openRecord(key: string, stored: string): StateRecord | undefined {
  const space = stored.indexOf(' ');
  const revision = Number(stored.slice(0, space));
  const text = stored.slice(space + CHECKSUM_DIGITS + 2);
  if (stored.slice(space + 1, space + CHECKSUM_DIGITS + 2) !== `${checksum(key, text)} `) return undefined;
  return { key, value: decodeValue(text), revision, at: timeOf(revision) };
}

/** When the commit of a revision was made, in ms since the epoch by the server's clock; revisions are microseconds, or later. */
function timeOf(revision: number): number {
  return Math.floor(revision / REVISION_PER_MS);
}

function checksum(key: string, text: string): string {
  return checksumText(crc32(`${key}\0${text}`));
}
