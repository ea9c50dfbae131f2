// The sidecars of the cell and what each of their sessions has.
// In: `sessions`. Out: a table.

import { count, duration } from '../format.js';
import { table } from '../table.js';
import { panel } from './panel.js';

export function sessionsPanel() {
  const { body, note } = panel('sessions');
  const rows = table('Sessions', [
    { head: 'Sidecar', cell: (one) => one.identity },
    { head: 'Session', cell: (one) => count(one.session), num: true },
    { head: 'Claims', cell: (one) => count(one.claims), num: true },
    { head: 'Waiting', cell: (one) => count(one.waiting), num: true },
    { head: 'Kept', cell: (one) => count(one.delegations), num: true },
    { head: 'TTL', cell: (one) => duration(one.ttl_ms), num: true },
  ], (one) => one.session, 'No sidecar has a session.');
  body.append(rows.node);
  return {
    show({ sessions }) {
      const remark = sessions?.truncated ? 'There are more than are listed or counted here.' : '';
      if (note(sessions, remark)) rows.show(sessions.items);
    },
  };
}
