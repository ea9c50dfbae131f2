// Draws a graph as SVG: boxes, arrows, words on them.
// In: nodes {id, kind, label, sub, title, href}, edges {from, to, kind, label, title, ranks}. Out: the contents
// of an <svg>. Never: a new drawing of the same graph; it would take the focus and the eye away each second.

import { svg } from './dom.js';
import { shortened } from './format.js';
import { layout } from './layout.js';

const CHAR = 7.3; // width of a character of the monospaced face at 12 px
const LABEL_CHARS_MAX = 24;

const drawn = new WeakMap();

export function draw(node, nodes, edges) {
  const room = node.parentElement.clientWidth;
  const what = JSON.stringify([nodes, edges, room]);
  if (drawn.get(node) === what) return;
  drawn.set(node, what);

  const boxes = nodes.map((one) => ({ ...one, ...size(one) }));
  const { at, width, height } = layout(boxes, edges, room);
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.setAttribute('width', width);
  node.setAttribute('height', height);
  node.replaceChildren(
    ...edges.map((edge) => arrow(edge, at.get(edge.from), at.get(edge.to))),
    ...boxes.map((one) => box(one, at.get(one.id))),
  );
  const again = [...node.querySelectorAll('a')].find((link) => link.dataset.key === focused);
  again?.focus({ preventScroll: true });
}

function size({ label, sub }) {
  const chars = Math.min(LABEL_CHARS_MAX, Math.max([...label].length, [...(sub ?? '')].length));
  return { width: Math.max(44, chars * CHAR + 20), height: sub ? 40 : 28 };
}

function box({ id, kind, label, sub, title, href, width, height }, { x, y }) {
  const middle = x + width / 2;
  const text = (words, line, name) =>
    svg('text', { x: middle, y: line, 'text-anchor': 'middle', class: name }, shortened(words, LABEL_CHARS_MAX));
  const parts = [
    svg('title', {}, title ?? label),
    svg('rect', { x, y, width, height, rx: kind === 'lock' ? 4 : height / 2 }),
    text(label, y + (sub ? 17 : 18), 'label'),
    sub ? text(sub, y + 32, 'sub') : undefined,
  ];
  const group = svg('g', { class: `node ${kind}`, 'data-node': id }, ...parts);
  return href ? svg('a', { href, 'data-key': id, 'aria-label': title ?? label }, group) : group;
}

function arrow(edge, from, to) {
  const { line, head, label } = way(from, to);
  return svg('g', { class: `edge ${edge.kind}`, 'data-from': edge.from, 'data-to': edge.to, 'data-kind': edge.kind },
    edge.title ? svg('title', {}, edge.title) : undefined,
    svg('path', { class: 'line', d: line }),
    svg('path', { class: 'head', d: head }),
    edge.label ? svg('text', { x: label.x, y: label.y, 'text-anchor': 'middle' }, edge.label) : undefined,
  );
}

/** How an arrow runs: to the right through the gap, within a column round its left side, back below. */
function way(from, to) {
  if (from.column < to.column) {
    const [x1, y1] = [from.x + from.width, from.y + from.height / 2];
    const [x2, y2] = [to.x, to.y + to.height / 2];
    const bend = Math.min(60, (x2 - x1) / 2);
    return {
      line: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 6} ${y2}`,
      head: `M${x2} ${y2}l-8 -4v8z`,
      label: { x: (x1 + x2) / 2, y: (y1 + y2) / 2 - 5 },
    };
  }
  if (from.column === to.column) {
    const [x1, y1] = [from.x, from.y + from.height / 2];
    const [x2, y2] = [to.x, to.y + to.height / 2 + (from.y > to.y ? 6 : -6)];
    const out = Math.min(x1, x2) - 22;
    return {
      line: `M${x1} ${y1}C${out} ${y1} ${out} ${y2} ${x2 - 6} ${y2}`,
      head: `M${x2} ${y2}l-8 -4v8z`,
      label: { x: out, y: (y1 + y2) / 2 },
    };
  }
  const [x1, y1] = [from.x + from.width / 2, from.y + from.height];
  const [x2, y2] = [to.x + to.width / 2, to.y + to.height];
  const low = Math.max(y1, y2) + 26;
  return {
    line: `M${x1} ${y1}C${x1} ${low} ${x2} ${low} ${x2} ${y2 + 6}`,
    head: `M${x2} ${y2}l-4 8h8z`,
    label: { x: (x1 + x2) / 2, y: low - 9 },
  };
}
