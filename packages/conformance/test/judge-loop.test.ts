/**
 * The judge of loops tells good from bad: small histories by hand, each breach named; and histories of workers that claim, are killed,
 * oversleep and get no answer, at random, in which it finds nothing until a lie is planted, and then every lie.
 */
import { expect } from 'chai';
import { type BrokenPromise, judgeLoop, type LoopCall, type OutcomeRead, type WorkerHistory } from '../src/judge-loop.js';
import { prove } from '../src/proofs.js';
import { announceSeed, type Random } from '../src/seed.js';

const LEASE_MS = 100;

describe('judgeLoop', () => {
  const claim = (fence: number, startMs: number, run = 'r'): LoopCall => ({
    kind: 'claim',
    startMs,
    endMs: startMs + 1,
    id: 'a',
    fence,
    run,
  });
  const end = (fence: number, startMs: number, answer: 'yes' | 'no' | 'unknown' = 'yes'): LoopCall => {
    return { kind: 'end', startMs, endMs: answer === 'unknown' ? Number.POSITIVE_INFINITY : startMs + 1, id: 'a', fence, answer };
  };
  const about = (kind: 'told' | 'gave-back', fence: number, startMs: number): LoopCall => ({
    kind,
    startMs,
    endMs: startMs + 1,
    id: 'a',
    fence,
  });
  const beat = (startMs: number, run = 'r'): LoopCall => ({ kind: 'beat', startMs, endMs: startMs + 1, run });
  const worker = (...calls: LoopCall[]): WorkerHistory => ({ calls, leaseMs: LEASE_MS });
  const killed = (killedMs: number, ...calls: LoopCall[]): WorkerHistory => ({ calls, leaseMs: LEASE_MS, killedMs });
  const seen = (startMs: number, fence?: number): OutcomeRead => ({ startMs, endMs: startMs + 1, id: 'a', fence });

  const good: Record<string, [workers: WorkerHistory[], reads: OutcomeRead[]]> = {
    'of one worker': [[worker(claim(1, 0), end(1, 10))], [seen(5), seen(20, 1)]],
    'in which an item was read while its outcome was recorded': [[worker(claim(1, 0), end(1, 10))], [seen(10), seen(11, 1)]],
    'in which a killed worker was followed': [[killed(9, claim(1, 0), beat(5)), worker(claim(2, 12, 's'), end(2, 20))], [seen(30, 2)]],
    'in which a worker overslept its lease, and was refused': [
      [worker(beat(0), claim(1, 1), end(1, 300, 'no')), worker(claim(2, 150, 's'), end(2, 160))],
      [seen(400, 2)],
    ],
    'in which a worker overslept, and was told before it was done': [
      [worker(beat(0), claim(1, 1), about('told', 1, 300), end(1, 310, 'unknown')), worker(claim(2, 150, 's'), end(2, 160))],
      [],
    ],
    'in which an item was given back': [[worker(beat(0), claim(1, 1), about('gave-back', 1, 5)), worker(claim(2, 7, 's'), end(2, 9))], []],
    'in which a try without an answer counted': [[killed(15, claim(1, 0), end(1, 10, 'unknown'))], [seen(12), seen(20, 1)]],
    'in which a try without an answer did not count': [
      [killed(15, claim(1, 0), end(1, 10, 'unknown')), worker(claim(2, 20, 's'), end(2, 30))],
      [seen(18), seen(40, 2)],
    ],
    'in which nothing was recorded': [[killed(15, claim(1, 0))], [seen(20)]],
  };
  for (const [title, [workers, reads]] of Object.entries(good))
    it(`finds nothing in a history ${title}`, () => expect(judgeLoop(workers, reads)).to.deep.equal([]));

  const bad: readonly (readonly [promise: BrokenPromise['promise'], title: string, workers: WorkerHistory[], reads?: OutcomeRead[]])[] = [
    [
      'once-recorded',
      'in which two outcomes were acknowledged',
      [killed(15, claim(1, 0), end(1, 10)), worker(claim(2, 20, 's'), end(2, 30))],
    ],
    ['once-recorded', 'in which it was claimed after its outcome', [worker(claim(1, 0), end(1, 10)), killed(90, claim(2, 20, 's'))]],
    ['once-recorded', 'in which another outcome was seen', [worker(claim(1, 0), end(1, 10))], [seen(20, 7)]],
    ['once-recorded', 'in which an outcome was seen that was refused', [worker(claim(1, 0), end(1, 10, 'no'))], [seen(20, 1)]],
    ['once-recorded', 'in which an outcome was seen too early', [worker(claim(1, 0), end(1, 10))], [seen(5, 1)]],
    [
      'once-recorded',
      'in which a try without an answer was seen, and it was claimed again',
      [killed(15, claim(1, 0), end(1, 10, 'unknown')), worker(claim(2, 20, 's'), end(2, 30, 'no'))],
      [seen(18, 1)],
    ],
    ['acked-survives', 'in which an outcome was acknowledged and is gone', [worker(claim(1, 0), end(1, 10))], [seen(20)]],
    [
      'acked-survives',
      'in which an outcome was seen and is gone',
      [killed(15, claim(1, 0), end(1, 10, 'unknown'))],
      [seen(20, 1), seen(30)],
    ],
    ['fenced', 'in which a fence was given twice', [killed(15, claim(1, 0)), worker(claim(1, 20, 's'), end(1, 30))]],
    ['fenced', 'in which fences fell', [killed(15, claim(2, 0)), worker(claim(1, 20, 's'), end(1, 30))]],
    [
      'fenced',
      'in which an older fence was accepted',
      [worker(beat(0), claim(1, 1), end(1, 300)), worker(claim(2, 150, 's'), end(2, 310, 'no'))],
    ],
    ['fenced', 'in which a loser was never told', [worker(claim(1, 0)), worker(claim(2, 150, 's'), end(2, 160))]],
    [
      'fenced',
      'in which a live worker was robbed',
      [worker(claim(1, 0), beat(60), end(1, 200, 'no')), worker(claim(2, 150, 's'), end(2, 160))],
    ],
    [
      'fenced',
      'in which a worker was robbed before it was killed',
      [killed(90, claim(1, 0), beat(5)), worker(claim(2, 50, 's'), end(2, 60))],
    ],
  ];
  for (const [promise, title, workers, reads = []] of bad)
    it(`names ${promise} in a history ${title}`, () =>
      expect(judgeLoop(workers, reads).map((broken) => broken.promise)).to.include(promise));

  it('finds nothing in random histories, and every lie in them', () => {
    const random = announceSeed();
    let lies = 0;
    for (let round = 0; round < 400; round++) {
      const history = randomHistory(random);
      expect(judgeLoop(history.workers, history.reads), JSON.stringify(history)).to.deep.equal([]);
      for (const [name, lie] of Object.entries(LIES)) {
        const told = lie(structuredClone(history) as History, random);
        if (told === undefined) continue;
        lies++;
        expect(judgeLoop(told.workers, told.reads), `${name} ${JSON.stringify(told)}`).not.to.deep.equal([]);
      }
    }
    prove({ test: 'S12 checker of loops', backend: 'none', counts: { cases: lies }, least: { cases: 2_000 } });
  });
});

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Call = Mutable<LoopCall>;
type Claim = Mutable<Extract<LoopCall, { kind: 'claim' }>>;
type End = Mutable<Extract<LoopCall, { kind: 'end' }>>;

interface History {
  readonly workers: { calls: Call[]; leaseMs: number; killedMs?: number }[];
  readonly reads: Mutable<OutcomeRead>[];
}

/**
 * What a correct loop gives: every claim is of a free item, or one whose holder was killed or has overslept; who is late is refused; some
 * workers are killed while they record, with and without effect. All items are looked at now and then, and in the end.
 */
function randomHistory(random: Random): History {
  const ids = ['a', 'b', 'c'];
  const items = new Map<string, { fence: number; worker: number; sinceMs: number; outcome?: number }>();
  const workers: History['workers'] = Array.from({ length: 5 }, () => ({ calls: [], leaseMs: LEASE_MS }));
  const reads: History['reads'] = [];
  let fence = 0;
  let nowMs = 0;
  const span = () => ({ startMs: nowMs - random.next(3), endMs: nowMs + random.next(3) });
  const look = () => ids.map((id) => reads.push({ ...span(), id, fence: items.get(id)?.outcome }));
  for (let moment = 0; moment < 40; moment++) {
    nowMs += 10 + random.next(20);
    const number = random.next(workers.length);
    const worker = workers[number]!;
    if (random.next(8) === 0) look();
    if (worker.killedMs !== undefined) continue;
    const held = worker.calls.find(
      (call): call is Claim => call.kind === 'claim' && !worker.calls.some((other) => other.kind === 'end' && other.fence === call.fence),
    );
    if (held === undefined) {
      const free = ids.filter((id) => {
        const item = items.get(id);
        if (item === undefined) return true;
        const isDead = workers[item.worker]!.killedMs !== undefined || nowMs - item.sinceMs > LEASE_MS + 10;
        return item.outcome === undefined && isDead && item.worker !== number;
      });
      if (free.length === 0) continue;
      const id = random.pick(free);
      items.set(id, { fence: ++fence, worker: number, sinceMs: nowMs });
      worker.calls.push({ kind: 'beat', startMs: nowMs - 6, endMs: nowMs - 5, run: `run-${number}` });
      worker.calls.push({ kind: 'claim', ...span(), id, fence, run: `run-${number}` });
      continue;
    }
    const item = items.get(held.id)!;
    const isOwn = item.fence === held.fence;
    const choice = random.next(4);
    if (choice === 0) worker.killedMs = nowMs - 4;
    if (choice === 1) {
      // Killed while it records.
      worker.killedMs = nowMs + 4;
      worker.calls.push({
        kind: 'end',
        startMs: nowMs,
        endMs: Number.POSITIVE_INFINITY,
        id: held.id,
        fence: held.fence,
        answer: 'unknown',
      });
      if (isOwn && random.next(2) === 0) item.outcome = held.fence;
    }
    if (choice < 2) continue;
    worker.calls.push({ kind: 'end', ...span(), id: held.id, fence: held.fence, answer: isOwn ? 'yes' : 'no' });
    if (isOwn) item.outcome = held.fence;
  }
  // In the end whoever lost is told.
  nowMs += 100;
  for (const { calls, killedMs } of workers) {
    for (const call of calls.filter((each): each is Claim => each.kind === 'claim')) {
      const isOpen = !calls.some((other) => other.kind === 'end' && other.fence === call.fence);
      if (killedMs === undefined && isOpen && items.get(call.id)!.fence !== call.fence)
        calls.push({ kind: 'told', startMs: nowMs, endMs: nowMs + 1, id: call.id, fence: call.fence });
    }
  }
  look();
  return { workers, reads };
}

const allOf = <Kind extends LoopCall['kind']>({ workers }: History, kind: Kind) =>
  workers.flatMap(({ calls }) => calls.filter((call): call is Mutable<Extract<LoopCall, { kind: Kind }>> => call.kind === kind));
const endsOf = (history: History, answer: End['answer']) => allOf(history, 'end').filter((end) => end.answer === answer);
const oneOf = <T>(items: readonly T[], random: Random): T | undefined => (items.length === 0 ? undefined : random.pick(items));
const lastRead = ({ reads }: History, id: string) => reads.findLast((read) => read.id === id)!;

/** Each changes one thing of a good history into what contradicts the rest of it; nothing, where there is no place for that. */
const LIES: Readonly<Record<string, (history: History, random: Random) => History | undefined>> = {
  'a yes becomes a no'(history, random) {
    const end = oneOf(endsOf(history, 'yes'), random);
    if (end === undefined) return undefined;
    end.answer = 'no';
    return history;
  },
  'a no becomes a yes'(history, random) {
    const end = oneOf(endsOf(history, 'no'), random);
    if (end === undefined) return undefined;
    end.answer = 'yes';
    return history;
  },
  'what did not count was acknowledged'(history, random) {
    const isLost = ({ id, fence }: End) => lastRead(history, id).fence !== fence;
    const end = oneOf(endsOf(history, 'unknown').filter(isLost), random);
    if (end === undefined) return undefined;
    end.answer = 'yes';
    end.endMs = end.startMs + 1;
    return history;
  },
  'an outcome is gone in the end'(history, random) {
    const read = oneOf(
      history.reads.slice(-3).filter(({ fence }) => fence !== undefined),
      random,
    );
    if (read === undefined) return undefined;
    read.fence = undefined;
    const isOwed =
      endsOf(history, 'yes').some(({ id }) => id === read.id) ||
      history.reads.some(({ id, fence, endMs }) => id === read.id && fence !== undefined && endMs < read.startMs);
    return isOwed ? history : undefined;
  },
  'another outcome is seen'(history, random) {
    const read = random.pick(history.reads);
    read.fence = random.pick([
      0,
      99,
      ...allOf(history, 'claim')
        .map(({ fence }) => fence)
        .filter(
          (fence) =>
            fence !== read.fence &&
            fence !== lastRead(history, read.id).fence &&
            !endsOf(history, 'unknown').some((end) => end.fence === fence),
        ),
    ]);
    return history;
  },
  'an outcome is seen before it was there'(history, random) {
    const end = oneOf(endsOf(history, 'yes'), random);
    if (end === undefined) return undefined;
    history.reads.push({ startMs: end.startMs - 5, endMs: end.startMs - 4, id: end.id, fence: end.fence });
    return history;
  },
  'a fence is given again'(history, random) {
    const claim = oneOf(allOf(history, 'claim'), random);
    if (claim === undefined) return undefined;
    history.workers.push({ calls: [{ ...claim, run: 'other' }], leaseMs: LEASE_MS });
    return history;
  },
  'a claim is given after the outcome'(history, random) {
    const end = oneOf(endsOf(history, 'yes'), random);
    if (end === undefined) return undefined;
    history.workers.push({
      calls: [{ kind: 'claim', startMs: 5_000, endMs: 5_001, id: end.id, fence: 99, run: 'other' }],
      leaseMs: LEASE_MS,
    });
    return history;
  },
  'two fences change places'(history, random) {
    const claims = allOf(history, 'claim').sort((one, other) => one.fence - other.fence);
    const pairs = claims.flatMap((one) =>
      claims.filter((other) => other.id === one.id && other.startMs > one.endMs).map((other) => [one, other] as const),
    );
    const [one, other] = oneOf(pairs, random) ?? [];
    if (one === undefined || other === undefined) return undefined;
    [one.fence, other.fence] = [other.fence, one.fence];
    return history;
  },
  'a loser is not told'(history, random) {
    const losers = history.workers.filter(
      ({ killedMs, calls }) =>
        killedMs === undefined && calls.some((call) => call.kind === 'told' || (call.kind === 'end' && call.answer === 'no')),
    );
    const loser = oneOf(losers, random);
    if (loser === undefined) return undefined;
    loser.calls = loser.calls.filter((call) => call.kind !== 'told' && (call.kind !== 'end' || call.answer !== 'no'));
    return history;
  },
  'a live worker is robbed'(history, random) {
    const claims = allOf(history, 'claim');
    const robbed = claims.filter(({ id, fence }) => claims.some((other) => other.id === id && other.fence > fence));
    const claim = oneOf(robbed, random);
    if (claim === undefined) return undefined;
    const next = claims.filter(({ id, fence }) => id === claim.id && fence > claim.fence).sort((a, b) => a.fence - b.fence)[0]!;
    const owner = history.workers.find(({ calls }) => calls.includes(claim))!;
    owner.calls.push({ kind: 'beat', startMs: next.endMs - 20, endMs: next.endMs - 19, run: claim.run });
    if (owner.killedMs !== undefined) owner.killedMs = next.endMs + 1;
    return history;
  },
};
