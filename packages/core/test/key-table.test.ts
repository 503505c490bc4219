/** A table of keys answers as a `Map` would, whatever is put in and taken out; proved by random calls, and by keys of every kind. */
import { expect } from 'chai';
import { seeded, seedFromEnvironment } from '../../../test/support/seeded.js';
import { KeyTable } from '../src/key-table.js';

describe('KeyTable', () => {
  it('answers as a Map does, over many removals and reuses of slots (seeded)', () => {
    const seed = seedFromEnvironment();
    console.log(`      seed ${seed} (to replay: LOOPSTATE_SEED=${seed})`);
    const random = seeded(seed);
    const table = new KeyTable();
    const slots = new Map<string, number>();
    for (let call = 0; call < 200_000; call++) {
      if (random() < 0.0001) table.reserve(Math.floor(random() * 20_000));
      const number = Math.floor(random() * 5_000);
      const key = number % 7 === 0 ? `schlüssel/${number}` : `item/${number}`;
      if (random() < 0.45) {
        expect(table.remove(key)).to.equal(slots.get(key) ?? -1);
        slots.delete(key);
      } else {
        const bytes = Buffer.from(`"${key}"`);
        const slot = number % 7 !== 0 && number % 2 === 0 ? table.placeBytes(bytes, 1, bytes.length - 1) : table.place(key);
        if (slots.has(key)) expect(slot).to.equal(slots.get(key));
        slots.set(key, slot);
      }
      expect(table.find(key)).to.equal(slots.get(key) ?? -1);
    }
    expect(table.size).to.equal(slots.size);
    expect(new Set(slots.values()).size, 'slots of their own').to.equal(slots.size);
    for (const [key, slot] of slots) {
      expect(table.keyAt(slot)).to.equal(key);
      expect(table.isUsed(slot)).to.equal(true);
    }
    expect(table.slots).to.be.at.most(5_000);
    for (const key of slots.keys()) table.remove(key);
    expect(table.size).to.equal(0);
    expect(table.place('again')).to.be.within(0, table.slots);
  });

  it('flat-cost: takes as much memory as what it holds, however much it has held', () => {
    const table = new KeyTable();
    const keyOf = (n: number): string => `item/${'x'.repeat(100)}${String(n).padStart(6, '0')}`;
    const before = process.memoryUsage().arrayBuffers;
    for (let n = 0; n < 200_000; n++) {
      table.place(keyOf(n));
      table.remove(keyOf(n - 10));
    }
    expect(table.size).to.equal(10);
    expect(table.keyAt(table.find(keyOf(199_995)))).to.equal(keyOf(199_995));
    expect(process.memoryUsage().arrayBuffers - before).to.be.below(4_000_000);
  });

  it('tells apart what looks alike', () => {
    const table = new KeyTable();
    const keys = [
      'a',
      'A',
      'a\0',
      '\0a',
      '\0',
      ' ',
      'é',
      'e\u0301',
      '😀',
      '__proto__',
      'constructor',
      'x'.repeat(1_040),
      `${'x'.repeat(1_039)}y`,
    ];
    for (const key of keys) table.place(key);
    expect(keys.map((key) => table.keyAt(table.find(key)))).to.deep.equal(keys);
    expect(table.find('b')).to.equal(-1);
    expect(table.find('')).to.equal(-1);
    table.clear();
    expect(keys.map((key) => table.find(key))).to.deep.equal(keys.map(() => -1));
  });
});
