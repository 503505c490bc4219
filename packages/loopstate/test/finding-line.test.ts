import { expect } from 'chai';
import { findingLine } from '../src/cli/reporters.js';

describe('findingLine', () => {
  const finding = { code: 'snapshot-damaged', severity: 'warning', where: '/a/state.json', keptAs: '/a/state.json.damaged' } as const;

  it('names a path that the message leaves out', () => {
    const line = findingLine({ ...finding, message: 'It is damaged.' });
    expect(line.split(finding.keptAs).length - 1).to.equal(1);
    expect(line).to.include(`(${finding.where})`);
  });

  it('names no path twice', () => {
    const line = findingLine({ ...finding, where: '/a/other.json', message: `/a/other.json is damaged. It is kept as ${finding.keptAs}.` });
    expect(line.split(finding.keptAs).length - 1).to.equal(1);
    expect(line.split('/a/other.json').length - 1).to.equal(1);
  });
});
