/** Tables and verdicts as text. */
import { type Standing, timesAsFast } from './contest.js';
import { type Budget, isMet, type Table } from './section.js';

/** A table of contestants, one line each. */
export function tableLines({ title, note, standings, floor }: Table): string[] {
  const base = standings.find(({ name }) => name === floor);
  const width = Math.max(...standings.map(({ name }) => name.length));
  const head = ['per second', 'p50 us', 'p99 us', 'worst us', 'x floor'].map((name) => name.padStart(12)).join('');
  const row = (standing: Standing): string => {
    const { name, perSecond, p50Us, p99Us, worstUs } = standing;
    const times = base === undefined ? '' : timesAsFast(standing, base).toFixed(2);
    const cells = [perSecond.toFixed(0), p50Us.toFixed(0), p99Us.toFixed(0), worstUs.toFixed(0), times];
    return name.padEnd(width) + cells.map((cell) => cell.padStart(12)).join('');
  };
  return ['', `${title}. ${note}`, ''.padEnd(width) + head, ...standings.map(row)];
}

/** Each budget with its figure and the verdict. */
export function budgetLines(budgets: readonly Budget[]): string[] {
  const width = Math.max(0, ...budgets.map(({ name }) => name.length));
  return [
    '',
    ...budgets.map((budget) => {
      const { name, figure, bound, side, unit = '' } = budget;
      const sign = side === 'at most' ? '<=' : '>=';
      return `${name.padEnd(width)}  ${figure.toFixed(2).padStart(8)}${unit}  ${sign} ${bound}${unit}  ${isMet(budget) ? 'met' : 'MISSED'}`;
    }),
  ];
}
