/** Proves that the judge of fleets can be trusted: histories that keep the promises pass, and each kind of breach is named. */
import { expect } from 'chai';
import { type FleetEvent, judgeFleet } from './support/judge-fleet.js';

describe('The judge of fleets', () => {
  it('passes what is right', () => {
    expect(
      judgeFleet([worker(began('a', 1, 10), ended('completed', 'a', 20)), worker(began('b', 2, 11), ended('completed', 'b', 30))]),
    ).to.deep.equal([]);
    const killed = { events: [began('a', 1, 10)], killedNs: 15n };
    expect(judgeFleet([killed, worker(began('a', 2, 16), ended('completed', 'a', 20))])).to.deep.equal([]);
    const slept = worker(began('a', 1, 10), ended('aborted', 'a', 90), ended('lost', 'a', 95));
    expect(judgeFleet([slept, worker(began('a', 2, 50), ended('completed', 'a', 60))])).to.deep.equal([]);
  });

  it('names two outcomes of one item', () => {
    const twice = judgeFleet([
      worker(began('a', 1, 10), ended('completed', 'a', 20)),
      worker(began('a', 2, 30), ended('completed', 'a', 40)),
    ]);
    expect(twice.join()).to.contain('once-recorded').and.contain('claimed again');
  });

  it('names a fence that was given twice', () => {
    const same = judgeFleet([worker(began('a', 1, 10), ended('lost', 'a', 20)), worker(began('a', 1, 12), ended('completed', 'a', 30))]);
    expect(same.join()).to.contain('held twice');
  });

  it('names two live workers that hold one item', () => {
    const killedLater = { events: [began('a', 1, 10)], killedNs: 50n };
    expect(judgeFleet([killedLater, worker(began('a', 2, 30), ended('completed', 'a', 40))]).join()).to.contain('two live workers');
  });

  it('names a worker that was never told', () => {
    expect(judgeFleet([worker(began('a', 1, 10)), worker(began('a', 2, 12), ended('completed', 'a', 30))]).join()).to.contain('never told');
  });
});

function worker(...events: FleetEvent[]) {
  return { events, killedNs: undefined };
}

function began(id: string, fence: number, atNs: number): FleetEvent {
  return { type: 'began', id, fence, atNs: `${atNs}` };
}

function ended(type: string, id: string, atNs: number): FleetEvent {
  return { type, id, atNs: `${atNs}` };
}
