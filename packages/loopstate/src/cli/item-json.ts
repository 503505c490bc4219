import type { ItemSnapshot } from '@loopstate/core';
import { timeJson } from './shown-values.js';

/** An item for programs: its record as it stands, with its id first and the time in ISO 8601. */
export function itemJson(id: string, item: ItemSnapshot): object {
  return Object.assign({ id }, item, { at: timeJson(item.at) });
}
