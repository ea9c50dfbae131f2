// Recent deadlocks: each cycle, and who was refused to break it.
// In: `deadlocks`, newest first. Out: a list.

import { byId, el, keyed } from '../dom.js';
import { id } from '../format.js';
import { lockLink } from '../route.js';
import { panel } from './panel.js';

export function deadlocksPanel() {
  const { note } = panel('deadlocks');
  return {
    show({ deadlocks }) {
      if (!note(deadlocks)) return;
      byId('deadlocks-none').hidden = deadlocks.items.length > 0;
      // What has happened does not change, so nothing is left to update.
      keyed(byId('deadlock-list'), deadlocks.items, ({ revision, victim }) => `${revision} ${victim}`, row, () => {});
    },
  };
}

function row({ revision, victim, edges, truncated }) {
  return el('li', { class: 'deadlock' },
    el('p', {}, 'Revision ', el('data', { value: revision }, String(revision)), ': ', id(victim), ' was refused.'),
    el('ul', {}, ...edges.map((edge) => step(edge, victim))),
    truncated ? el('p', { class: 'quiet' }, 'The cycle was longer.') : undefined,
  );
}

function step({ lock, waiter, blocker, held }, victim) {
  const trace = waiter.trace_id ? el('small', {}, ' trace ', id(waiter.trace_id)) : undefined;
  return el('li', { class: waiter.claim_id === victim && 'victim' },
    id(waiter.claim_id), ` (${waiter.identity}) waits for `, lockLink(lock), ', ',
    held ? 'held by ' : 'where it is behind ', id(blocker.claim_id), ` (${blocker.identity})`, trace);
}
