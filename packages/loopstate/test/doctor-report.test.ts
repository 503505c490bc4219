/** What `doctor` makes of findings: an exit code, and text for people. Pure; the command as a whole is tested in test/cli-doctor*.test.ts. */
import type { Diagnosis, DiagnosisFinding, Severity } from '@loopstate/core';
import { expect } from 'chai';
import picocolors from 'picocolors';
import { doctorText, exitCodeOfFindings, withoutThose } from '../src/cli/doctor-report.js';

const finding = (id: string, severity: Severity, where = 'w'): DiagnosisFinding => ({ id, severity, where, found: 'F.', remedy: 'R.' });

describe('exitCodeOfFindings', () => {
  const CASES: readonly [findings: DiagnosisFinding[], code: number][] = [
    [[], 0],
    [[finding('a', 'ok'), finding('b', 'info')], 0],
    [[finding('a', 'info'), finding('b', 'warning')], 1],
    [[finding('held', 'problem'), finding('b', 'warning')], 5],
    [[finding('held', 'problem'), finding('b', 'problem')], 6],
    [[finding('b', 'problem')], 6],
  ];
  for (const [findings, code] of CASES) {
    it(`${findings.map(({ id, severity }) => `${severity} ${id}`).join(', ') || 'nothing'}: ${code}`, () =>
      expect(exitCodeOfFindings(findings)).to.equal(code));
  }
});

describe('withoutThose', () => {
  it('is what is no longer found, of one thing and place, and was not as it should be', () => {
    const before = [finding('a', 'warning', 'x'), finding('a', 'warning', 'y'), finding('b', 'info'), finding('c', 'ok')];
    expect(withoutThose(before, [finding('a', 'problem', 'x')])).to.deep.equal([finding('a', 'warning', 'y'), finding('b', 'info')]);
  });
});

describe('doctorText', () => {
  const text = (findings: DiagnosisFinding[], isColoured = false): string => {
    const diagnosis: Diagnosis = { backend: 'file', reach: 'process', where: '/data/state.json', findings };
    return doctorText({ state: './state.json', diagnosis, colors: picocolors.createColors(isColoured) });
  };

  it('begins with the place, tells the worst first, and ends with a verdict', () => {
    const lines = text([finding('fine', 'ok'), finding('bad', 'problem'), finding('odd', 'warning', '/data/state.json')]).split('\n');
    expect(lines).to.deep.equal([
      './state.json (file), at /data/state.json',
      '',
      'problem  bad (w): F.',
      '         -> R.',
      'warning  odd: F.',
      '         -> R.',
      'ok       fine (w): F.',
      '         -> R.',
      '',
      '1 problem: a loop can not go on here.',
      '',
    ]);
  });

  it('is coloured only where that is wanted, and passes nothing on that a terminal obeys', () => {
    const hostile = [{ ...finding('a', 'warning', 'run \u001b]0;x\u0007'), found: '\u001b[2Jgone\n.' }];
    expect(text(hostile)).to.not.include('\u001b').and.to.not.include('\u0007');
    expect(text(hostile, true).length).to.be.greaterThan(text(hostile).length);
  });
});
