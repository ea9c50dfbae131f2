// Numbers and times as people read them, with the exact value kept beside.
// In: milliseconds and counts. Out: text, or a <data> element whose value is exact.
// Never: a wall-clock time; the API has none.

import { el } from './dom.js';

const whole = new Intl.NumberFormat('en');

/** `90 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`. */
export function durationText(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const s = Math.round(ms / 1_000);
  if (s < 3_600) return two(s, 60, 'min', 's');
  const min = Math.floor(s / 60);
  return min < 1_440 ? two(min, 60, 'h', 'min') : two(Math.floor(min / 60), 24, 'd', 'h');
}

function two(small, each, large, unit) {
  const rest = small % each;
  return `${Math.floor(small / each)} ${large}` + (rest ? ` ${rest} ${unit}` : '');
}

/** Nothing, if there is nothing. */
export function duration(ms) {
  return ms === undefined ? '' : el('data', { value: ms }, durationText(ms));
}

/** Nothing, if there is nothing. */
export function count(number) {
  return number === undefined ? '' : el('data', { value: number }, whole.format(number));
}

/** `1 edge`, `2 edges`. */
export function plural(number, word) {
  return `${whole.format(number)} ${word}${number === 1 ? '' : 's'}`;
}

/** Says that a drawing is not the whole. */
export function leftText(left) {
  return left > 0 ? `${plural(left, 'edge')} more in the table than in the drawing.` : '';
}

/** The middle of a long id tells nobody anything. */
export function shortened(text, max) {
  const chars = [...text];
  if (chars.length <= max) return text;
  const tail = Math.floor(max / 3);
  return `${chars.slice(0, max - tail - 1).join('')}…${chars.slice(-tail).join('')}`;
}

/** An id in full for whoever points at it or copies the row, short to look at. */
export function id(text) {
  return text === undefined ? '' : el('code', { title: text, 'data-id': text }, shortened(text, 22));
}
