/** Each byte as two digits. */
const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** A CRC-32 as it stands in a store: eight hexadecimal digits. By bytes: `toString(16)` takes as long as the checksum itself. */
export function checksumText(crc: number): string {
  return `${DIGITS[crc >>> 24]}${DIGITS[(crc >>> 16) & 0xff]}${DIGITS[(crc >>> 8) & 0xff]}${DIGITS[crc & 0xff]}`;
}
