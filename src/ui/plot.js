// Draws lines over the last minutes as SVG.
// In: series of points, in milliseconds of the page's clock. Out: the contents of an <svg>.
// Never: a line across a time in which nothing was heard.

import { svg } from './dom.js';
import { durationText } from './format.js';

const HEIGHT = 190;
const EDGE = { left: 52, right: 10, top: 10, bottom: 22 };
/** Points come each second; where they are further apart, the stream was broken. */
const GAP_MS = 3_500;

/** `series`: [{slot, points: [{at, value}]}]; `slot` chooses the colour; `text(value)` labels the axis. */
export function plot(node, series, now, span, text) {
  const width = Math.max(260, node.clientWidth);
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const values = series.flatMap((one) => one.points.map((point) => point.value));
  const step = niceStep(Math.max(1, ...values) / 3);
  const top = step * Math.ceil(Math.max(1, ...values) / step);
  const x = (at) => EDGE.left + inner.width * (1 - (now - at) / span);
  const y = (value) => EDGE.top + inner.height * (1 - value / top);

  const grid = svg('g', { class: 'grid' });
  for (let value = 0; value <= top; value += step) {
    grid.append(
      svg('line', { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
      svg('text', { x: EDGE.left - 6, y: y(value) + 4, 'text-anchor': 'end' }, text(value)),
    );
  }
  for (let ago = 0; ago <= span; ago += Math.min(60_000, span / 4)) {
    const label = ago === 0 ? 'now' : durationText(ago).replace('.0', '');
    const anchor = ago === 0 ? 'end' : 'middle';
    grid.append(svg('text', { x: x(now - ago), y: HEIGHT - 6, 'text-anchor': anchor }, label));
  }
  const lines = series.map(({ slot, points }) =>
    svg('path', { class: `line slot-${slot}`, d: path(points, x, y) }));

  node.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
  node.setAttribute('height', HEIGHT);
  node.replaceChildren(...node.querySelectorAll(':scope > title'), grid, ...lines.reverse());
}

function path(points, x, y) {
  let before = -Infinity;
  return points.map(({ at, value }) => {
    const pen = at - before > GAP_MS ? 'M' : 'L';
    before = at;
    return `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
  }).join('');
}

/** The next of 1, 2, 5, 10, 20, ...: numbers that people count by. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least);
}
