/**
 * A loop as text. The format of its own, JSON Lines, holds all of it:
 *
 * ```
 * {"loopstate":"export","format":1,"records":1,"carriedUsd":0.25}
 * {"id":"a.wav","status":"completed","attempt":1,"output":{"seconds":4}}
 * {"id":"b.wav","status":"outstanding","attempt":0,"glitches":1}
 * {"loopstate":"end","items":2,"sha256":"…"}
 * ```
 *
 * - The first line has the version of this format, that of the records, and what was spent before on no item (left out: nothing).
 * - One line for each item, in the order of their last changes, without what belongs to a place or a moment. If a loop goes on meanwhile, an
 *   item that changed may come again: the later line is the one that counts.
 * - The last line has the number of lines between, and the SHA-256 of all bytes before it: so a text that was cut is noticed.
 */
import { createHash } from 'node:crypto';
import { type Json, type LoopReader, type MovableItem, movable, nanoUsdOf, RECORD_FORMAT, usdOf } from '@loopstate/core';

/** The version of the format that this version writes. */
export const EXPORT_FORMAT = 1;

/** The lines of an export, newlines included; see the file's comment. Errors: what the backend raises. */
export async function* exportLines(loop: LoopReader): AsyncGenerator<string> {
  const hash = createHash('sha256');
  const hashed = (line: object): string => {
    const text = `${JSON.stringify(line)}\n`;
    hash.update(text);
    return text;
  };
  const carriedUsd = await loop.carriedUsd();
  yield hashed({ loopstate: 'export', format: EXPORT_FORMAT, records: RECORD_FORMAT, ...(carriedUsd > 0 ? { carriedUsd } : {}) });
  let items = 0;
  for await (const [id, record] of loop.items()) {
    items += 1;
    yield hashed({ id, ...movable(record) });
  }
  yield `${JSON.stringify({ loopstate: 'end', items, sha256: hash.digest('hex') })}\n`;
}

/**
 * A loop in the second of the older formats, `{version: 2, results, claims, totalUsd}`, in parts of one JSON document. It knows outcomes,
 * reasons and costs, and nothing else: no outputs, and of an item without an outcome only what it cost. Errors: what the backend raises.
 */
export async function* version2Text(loop: LoopReader): AsyncGenerator<string> {
  let isFirst = true;
  let nanoUsd = nanoUsdOf(await loop.carriedUsd());
  yield '{"version":2,"results":{';
  for await (const [id, record] of loop.items()) {
    nanoUsd += nanoUsdOf(record.costUsd ?? 0);
    const result = version2Result(movable(record));
    if (result === undefined) continue;
    yield `${isFirst ? '' : ','}\n${JSON.stringify(id)}:${JSON.stringify(result)}`;
    isFirst = false;
  }
  yield `\n},"claims":{},"totalUsd":${usdOf(nanoUsd)}}\n`;
}

function version2Result({ status, reason, cost }: MovableItem): { readonly [name: string]: Json } | undefined {
  if (status === 'outstanding') return undefined;
  return {
    status: status === 'completed' ? 'success' : 'error',
    ...(reason === undefined ? {} : { reason }),
    ...(cost === undefined ? {} : { cost }),
  };
}
