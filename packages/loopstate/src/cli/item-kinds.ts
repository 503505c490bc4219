/** The kinds of items that commands can be told to act on. */
import type { ItemSnapshot } from '@loopstate/core';

/** A kind of items, with what belongs to it. A quarantined item has failed too, and a glitched one is outstanding. */
const KINDS = {
  failed: ({ status }) => status === 'failed',
  completed: ({ status }) => status === 'completed',
  inProgress: ({ status }) => status === 'claimed',
  glitched: ({ status, glitches }) => status === 'outstanding' && glitches !== undefined,
  outstanding: ({ status }) => status === 'outstanding',
  quarantined: ({ quarantined }) => quarantined === true,
} satisfies Readonly<Record<string, (item: ItemSnapshot) => boolean>>;

/** The name of a kind, as the options have it. */
export type ItemKind = keyof typeof KINDS;

/** Options that each name a kind. */
export type KindOptions = { readonly [K in ItemKind]?: true };

/** The kinds that options name. */
export function kindsIn(options: KindOptions): ItemKind[] {
  return (Object.keys(KINDS) as ItemKind[]).filter((kind) => options[kind] === true);
}

/** Whether an item is of any of these kinds. */
export function isOfKind(item: ItemSnapshot, kinds: readonly ItemKind[]): boolean {
  return kinds.some((kind) => KINDS[kind](item));
}

/** What people call an item's standing: its narrowest kind. */
export function standingText(item: ItemSnapshot): string {
  switch (item.status) {
    case 'completed':
      return 'completed';
    case 'claimed':
      return 'in progress';
    case 'failed':
      return item.quarantined === true ? 'quarantined' : 'failed';
    case 'outstanding':
      return item.glitches === undefined ? 'outstanding' : 'glitched';
  }
}
