/** Now, in ms of a clock that all processes of this host share. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
