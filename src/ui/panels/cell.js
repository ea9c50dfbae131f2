// The cell's health as the face that serves this page sees it.
// In: `cluster` of a core; `status` and `mode` of a sidecar. Out: facts and tables, and the mode in one line.

import { el, keyed, setText } from '../dom.js';
import { count, duration, id } from '../format.js';
import { table } from '../table.js';
import { panel } from './panel.js';

export function cellPanel() {
  const { body, note } = panel('cell');
  const facts = el('dl', { class: 'facts' });
  const tables = { core: [members()], sidecar: [cores(), sessions()] };
  for (const { node } of [...tables.core, ...tables.sidecar]) node.hidden = true;
  body.append(facts, ...[...tables.core, ...tables.sidecar].map(({ node }) => node));

  return {
    show(overview) {
      const core = overview.face === 'core';
      if (!note(core ? overview.cluster : overview.status)) return;
      showFacts(facts, core ? clusterFacts(overview.cluster) : sidecarFacts(overview));
      for (const part of core ? tables.core : tables.sidecar) {
        part.node.hidden = false;
        part.show(part.of(overview));
      }
    },
  };
}

/** How things stand, in a word and whether that is good: for the badge at the top. */
export function standing(overview) {
  if (overview.face === 'sidecar') {
    const { mode, reason } = overview.mode ?? overview.status ?? { mode: 'unknown' };
    const grade = { normal: 'good', jeopardy: 'bad' }[mode] ?? 'warn';
    return { text: reason ? `${mode} (${reason})` : mode, grade: reason && grade === 'good' ? 'warn' : grade };
  }
  const { state, leader, members = [] } = overview.cluster ?? { state: 'unknown' };
  if (state !== 'formed') return { text: state, grade: 'warn' };
  if (leader === undefined) return { text: 'no leader', grade: 'bad' };
  const away = members.filter((member) => !member.reachable).length;
  return away === 0
    ? { text: `led by node ${leader}`, grade: 'good' }
    : { text: `led by node ${leader}, ${away} of ${members.length} unreachable`, grade: 'warn' };
}

function showFacts(list, facts) {
  const known = facts.filter(([, value]) => value !== undefined && value !== '');
  const make = ([name]) => el('div', {}, el('dt', {}, name), el('dd'));
  keyed(list, known, ([name]) => name, make, (row, [, value]) => {
    if (value instanceof Node) row.lastChild.replaceChildren(value);
    else setText(row.lastChild, String(value));
  });
}

function clusterFacts({ node, state, leader, term, committed, applied, cluster_id }) {
  return [
    ['State', state],
    ['Leader', leader === undefined ? 'none' : `node ${leader}`],
    ['Term', count(term)],
    ['Committed', count(committed)],
    ['Applied here', count(applied)],
    ['This node', `node ${node}`],
    ['Cell', cluster_id === undefined ? undefined : id(String(cluster_id))],
  ];
}

function sidecarFacts({ status, mode = status }) {
  return [
    ['Mode', mode.mode],
    ['Since', duration(mode.since_ms)],
    ['Why', mode.detail ?? mode.reason],
    ['Quorum seen', mode.quorum_seen_ms_ago === undefined ? undefined : duration(mode.quorum_seen_ms_ago)],
    ['Claims held', count(status.claims_granted)],
    ['Claims waiting', count(status.claims_queued)],
    ['In flight', count(status.in_flight)],
    ['Running for', duration(status.uptime_ms)],
  ];
}

const yes = (word, is) => (is ? word : '');

function members() {
  const made = table('Members', [
    { head: 'Node', cell: (m) => pageOf(m), num: true },
    { head: 'Role', cell: (m) => m.role },
    { head: 'Leader', cell: (m) => yes('leader', m.leader) },
    { head: 'Reachable', cell: (m) => (m.reachable ? 'yes' : el('strong', { class: 'bad' }, 'no')) },
    { head: 'Applied', cell: (m) => count(m.applied), num: true },
    { head: 'Lag', cell: (m) => count(m.lag), num: true },
  ], (m) => m.raft_id, 'No members yet.');
  return { ...made, of: ({ cluster }) => cluster.members };
}

/** A node has this page too. */
function pageOf({ node, http }) {
  return el('a', { href: `${location.protocol}//${http}/ui`, title: http, rel: 'noreferrer' }, String(node));
}

function cores() {
  const made = table('Core nodes, as seen from here', [
    { head: 'Address', cell: (core) => core.address },
    { head: 'Connected', cell: (core) => (core.connected ? 'yes' : el('strong', { class: 'bad' }, 'no')) },
    { head: 'Leader', cell: (core) => yes('leader', core.leader) },
  ], (core) => core.address, 'No core nodes.');
  return { ...made, of: ({ status }) => status.cores };
}

function sessions() {
  const made = table('Its sessions', [
    { head: 'Shard', cell: (one) => count(one.shard), num: true },
    { head: 'Session', cell: (one) => (one.session === undefined ? 'none' : count(one.session)), num: true },
    { head: 'Safe for', cell: (one) => duration(one.safe_for_ms), num: true },
  ], (one) => one.shard, 'No session.');
  return { ...made, of: ({ status, mode = status }) => mode.sessions };
}
