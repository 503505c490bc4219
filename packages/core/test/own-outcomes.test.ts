import { expect } from 'chai';
import type { NextRecord } from '../src/item-results.js';
import { OwnOutcomes, WHOLE_CHARS, WHOLE_RECORDS } from '../src/own-outcomes.js';

/** An outcome with more than is kept in brief. */
function outcome(n: number): NextRecord {
  const record: { -readonly [Name in keyof NextRecord]: NextRecord[Name] } = { status: 'completed', attempt: 1 + (n % 3), output: { n } };
  if (n % 5 === 0) record.costUsd = n / 100;
  if (n % 7 === 0) record.round = 2;
  return record;
}

function inBrief({ output: _output, ...record }: NextRecord): NextRecord {
  return record;
}

describe('OwnOutcomes', () => {
  it('keeps the last 10,000 whole and all before in brief, each once', () => {
    const outcomes = new OwnOutcomes();
    const last = 2 * WHOLE_RECORDS + 500;
    for (let n = 0; n < last; n++) outcomes.add(`${n}`, outcome(n));
    const records = new Map(outcomes.records());
    expect(records.size).to.equal(last);
    for (let n = 0; n < last; n++) {
      const isWhole = n >= last - WHOLE_RECORDS;
      const expected = isWhole ? { ...outcome(n), recordedAgain: 'whole' } : { ...inBrief(outcome(n)), recordedAgain: 'status' };
      expect(records.get(`${n}`), `${n}`).to.deep.equal(expected);
    }
  });

  it('flat-cost: keeps no more characters whole than it may, however large each record is', () => {
    const outcomes = new OwnOutcomes();
    const output = 'x'.repeat(256 * 1_024);
    for (let n = 0; n < 1_000; n++) outcomes.add(`${n % 700}`, { status: 'completed', attempt: 1, output });
    const records = [...outcomes.records()];
    expect(records.length).to.equal(700);
    const whole = records.filter(([, { recordedAgain }]) => recordedAgain === 'whole');
    const chars = whole.reduce((sum, [, record]) => sum + JSON.stringify(record).length, 0);
    expect(chars).to.be.within(WHOLE_CHARS / 2, WHOLE_CHARS + whole.length * 50);
    expect(whole.map(([id]) => id))
      .to.include('299')
      .and.to.not.include('300');
  });

  it('forgets, and takes in again, what is kept whole and what is kept in brief', () => {
    const outcomes = new OwnOutcomes();
    const last = 2 * WHOLE_RECORDS;
    for (let n = 0; n < last; n++) outcomes.add(`${n}`, outcome(n));
    outcomes.forget('0');
    outcomes.forget(`${last - 1}`);
    outcomes.add('1', outcome(101));
    outcomes.add(`${last - 2}`, outcome(102));
    const records = [...outcomes.records()];
    const byId = new Map(records);
    expect(records.length, 'none comes twice')
      .to.equal(byId.size)
      .and.to.equal(last - 2);
    expect(byId.has('0') || byId.has(`${last - 1}`)).to.equal(false);
    expect(byId.get('1')).to.deep.equal({ ...outcome(101), recordedAgain: 'whole' });
    expect(byId.get(`${last - 2}`)).to.deep.equal({ ...outcome(102), recordedAgain: 'whole' });
    expect(records.filter(([, { recordedAgain }]) => recordedAgain === 'whole').length).to.equal(WHOLE_RECORDS);
  });

  it('says of what was kept in brief that its result is not known, however often it is taken in again', () => {
    const outcomes = new OwnOutcomes();
    for (let n = 0; n <= WHOLE_RECORDS; n++) outcomes.add(`${n}`, outcome(n));
    outcomes.forget(`${WHOLE_RECORDS}`);
    for (const [id, record] of [...outcomes.records()]) outcomes.add(id, record);
    expect(new Map(outcomes.records()).get('0')).to.deep.equal({ ...inBrief(outcome(0)), recordedAgain: 'status' });
  });
});
