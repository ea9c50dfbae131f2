// The order in which locks are taken, class by class, and where it is not always the same.
// In: `lock_order`. Out: a drawing, the inversions in words, every edge in a table.

import { byId, el, keyed, setText } from '../dom.js';
import { draw } from '../graph.js';
import { count, id, leftText, plural } from '../format.js';
import { lockLink } from '../route.js';
import { table } from '../table.js';
import { panel } from './panel.js';

const DRAWN_EDGES_MAX = 120;

export function orderPanel() {
  const { note } = panel('order');
  const rows = edgeTable();
  byId('order-table').append(rows.node);
  return {
    show({ lock_order: order }) {
      const left = (order?.items.length ?? 0) - DRAWN_EDGES_MAX;
      if (!note(order, leftText(left))) return;
      // What is wrong comes first, then what happens most.
      const sorted = [...order.items].sort((a, b) => b.inverted - a.inverted || b.count - a.count);
      draw(byId('order-graph'), ...graphOf(sorted.slice(0, DRAWN_EDGES_MAX)));
      rows.show(sorted);
      setText(byId('order-count'), plural(sorted.length, 'edge'));
      showInversions(order.inversions ?? []);
    },
  };
}

function graphOf(items) {
  const classes = [...new Set(items.flatMap(({ before, after }) => [before, after]))].sort();
  const nodes = classes.map((name) => ({ id: name, kind: 'class', label: name, title: `class ${name}` }));
  const edges = items.map(({ before, after, count: times, inverted, sample }) => ({
    from: before,
    to: after,
    kind: inverted ? 'inverted' : 'before',
    // Rounded, so that a busy edge is not drawn anew each second.
    label: new Intl.NumberFormat('en', { notation: 'compact' }).format(times),
    title: sample && `${sample.taken} was taken while ${sample.held} was held`,
  }));
  return [nodes, edges];
}

function showInversions(inversions) {
  const make = () => el('li', {}, el('strong', { class: 'bad' }), el('span'));
  keyed(byId('inversions'), inversions, ({ classes }) => classes.join('\n'), make, (item, inversion) => {
    const { classes, count: times, sample } = inversion;
    setText(item.firstChild, `${[...classes, classes[0]].join(' → ')}, ${times} ×`);
    const words = sample
      ? `: claim ${sample.claim_id} of ${sample.identity} took ${sample.taken} while ${sample.owner} held ${sample.held}`
      : '';
    setText(item.lastChild, words);
  });
}

function edgeTable() {
  const part = (name, make) => ({ sample }) => (sample ? make(sample[name]) : '');
  return table('Which class was held while which was taken', [
    { head: 'Held', cell: (edge) => edge.before },
    { head: 'Taken', cell: (edge) => edge.after },
    { head: 'Times', cell: (edge) => count(edge.count), num: true },
    { head: 'Inverted', cell: (edge) => (edge.inverted ? el('strong', { class: 'bad' }, 'yes') : '') },
    { head: 'Such as', cell: part('taken', lockLink) },
    { head: 'Holding', cell: part('held', lockLink) },
    { head: 'Claim', cell: part('claim_id', id) },
    { head: 'Sidecar', cell: part('identity', String) },
  ], (edge) => `${edge.before}\n${edge.after}`, 'Nobody has taken a lock while holding one of another class.');
}
