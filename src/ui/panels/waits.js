// The wait-for graph: who waits for which lock, and who holds it.
// In: `waits`, edges from a waiter to those right before it, in the order of the queues. Out: a drawing, and every
// edge in a table. Never: a drawing so large that nobody can read it.

import { byId, setText } from '../dom.js';
import { draw } from '../graph.js';
import { id, leftText, plural, shortened } from '../format.js';
import { lockHref, lockLink } from '../route.js';
import { table } from '../table.js';
import { panel } from './panel.js';

const DRAWN_NODES_MAX = 80;

export function waitsPanel() {
  const { note } = panel('waits');
  const rows = edgeTable();
  byId('waits-table').append(rows.node);
  return {
    show({ waits }) {
      const { nodes, edges, left } = graphOf(waits?.edges ?? []);
      const remark = waits?.truncated ? 'There are more waits than are listed here.' : leftText(left);
      if (!note(waits, remark)) return;
      draw(byId('waits-graph'), nodes, edges);
      rows.show(waits.edges);
      setText(byId('waits-count'), plural(waits.edges.length, 'edge'));
    },
  };
}

/** A claim id is unique within its sidecar only. */
const claimKey = ({ identity, claim_id }) => `claim ${identity} ${claim_id}`;
const lockKey = (name) => `lock ${name}`;

/** What is drawn of the edges, and how many are left out because there are too many to look at. */
function graphOf(all) {
  const nodes = new Map();
  const edges = new Map();
  let left = 0;
  const add = (from, to, kind, more) => edges.set(`${kind}\n${from}\n${to}`, { from, to, kind, ...more });
  for (const { lock, waiter, blocker, held } of all) {
    const fresh = [lockNode(lock), claimNode(waiter), claimNode(blocker)].filter(({ id: key }) => !nodes.has(key));
    if (nodes.size + fresh.length > DRAWN_NODES_MAX) {
      left += 1;
      continue;
    }
    for (const node of fresh) nodes.set(node.id, node);
    const [from, to, by] = [claimKey(waiter), lockKey(lock), claimKey(blocker)];
    add(from, to, 'waits', { title: `${waiter.claim_id} waits for ${lock}` });
    if (held) {
      add(to, by, 'held', { title: `${lock} is held by ${blocker.claim_id}` });
    } else {
      // Both are left of the lock; who goes first does not move either into another column.
      add(from, by, 'behind', { ranks: false, title: `${blocker.claim_id} goes before ${waiter.claim_id} at ${lock}` });
    }
  }
  return { nodes: [...nodes.values()], edges: [...edges.values()], left };
}

function lockNode(name) {
  return { id: lockKey(name), kind: 'lock', label: name, title: `lock ${name}`, href: lockHref(name) };
}

function claimNode(claim) {
  const { claim_id, owner, identity } = claim;
  const party = owner === undefined || owner === claim_id ? '' : `, owner ${owner}`;
  const title = `claim ${claim_id} of ${identity}${party}`;
  return { id: claimKey(claim), kind: 'claim', label: shortened(claim_id, 18), sub: shortened(identity, 20), title };
}

function edgeTable() {
  return table('Who waits for whom', [
    { head: 'Waiter', cell: ({ waiter }) => id(waiter.claim_id) },
    { head: 'Sidecar', cell: ({ waiter }) => waiter.identity },
    { head: 'Lock', cell: ({ lock }) => lockLink(lock) },
    { head: 'Behind', cell: ({ blocker }) => id(blocker.claim_id) },
    { head: 'Sidecar', cell: ({ blocker }) => blocker.identity },
    { head: 'Which', cell: ({ held }) => (held ? 'holds it' : 'goes first') },
  ], ({ lock, waiter, blocker, held }) => [lock, claimKey(waiter), claimKey(blocker), held].join('\n'), 'Nobody waits.');
}
