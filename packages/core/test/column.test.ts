import { expect } from 'chai';
import { Column } from '../src/column.js';

describe('Column', () => {
  it('holds what was set, in any order and across segments, and 0 elsewhere', () => {
    const column = new Column(Float64Array);
    const slots = [0, 63, 64, 1_000, 65_535, 65_536, 200_000, 5];
    for (const slot of slots) column.set(slot, slot + 0.5);
    for (const slot of slots) expect(column.at(slot), `${slot}`).to.equal(slot + 0.5);
    for (const slot of [1, 65, 65_537, 150_000, 1_000_000]) expect(column.at(slot), `${slot}`).to.equal(0);
    column.set(64, 0);
    expect(column.at(64)).to.equal(0);
  });

  it('is empty after it was cleared', () => {
    const column = new Column(Uint8Array);
    for (const slot of [0, 70_000]) column.set(slot, 1);
    column.clear();
    expect([column.at(0), column.at(70_000)]).to.deep.equal([0, 0]);
    column.set(3, 7);
    expect([column.at(3), column.at(0)]).to.deep.equal([7, 0]);
  });

  it('flat-cost: grows without ever copying more than one segment', () => {
    let copied = 0;
    class Counted extends Uint32Array {
      override set(array: ArrayLike<number>, offset?: number): void {
        copied = Math.max(copied, array.length);
        super.set(array, offset);
      }
    }
    const column = new Column<Uint32Array>(Counted);
    for (let slot = 0; slot < 1_000_000; slot++) column.set(slot, slot);
    expect(column.at(999_999)).to.equal(999_999);
    expect(copied).to.be.at.most(65_536);
  });
});
