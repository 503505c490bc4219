/** Texts by the columns that they take on a terminal. */
import stringWidth from 'string-width';

const GRAPHEMES = new Intl.Segmenter();

/** Of the most usual texts each character takes one column. */
const PLAIN = /^[\x20-\x7e]*$/;

/** How many columns a text takes that is fit to be shown. */
export function widthOf(text: string): number {
  return PLAIN.test(text) ? text.length : stringWidth(text);
}

/** A text that takes at most so many columns; what was cut ends in `…`. */
export function cutToWidth(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  if (PLAIN.test(text) && columns > 0) return `${text.slice(0, columns - 1)}…`;
  let cut = '';
  let used = 0;
  for (const { segment } of GRAPHEMES.segment(text)) {
    const width = widthOf(segment);
    if (used + width > columns - 1) break;
    cut += segment;
    used += width;
  }
  return columns < 1 ? '' : `${cut}…`;
}
