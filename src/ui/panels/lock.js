// One lock: who holds it, who waits and why, what happened before.
// In: the lock that the address names; `why` and `history` of the API, read again with each overview; samples
// of recent waits from the overview. Out: the panel.
// Never: an answer about a lock that is not the chosen one any more.

import { get, lockPath } from '../api.js';
import { byId, el, setText } from '../dom.js';
import { count, duration, id, plural } from '../format.js';
import { chooseNone, chosenLock } from '../route.js';
import { table } from '../table.js';
import { breakDialog } from './break.js';
import { panel } from './panel.js';

const HISTORY_MAX = 50;

export function lockPanel() {
  const { section, note, failed } = panel('lock');
  const tables = { holders: holders(), queue: queue(), history: history(), samples: samples() };
  for (const [name, { node }] of Object.entries(tables)) byId(`lock-${name}`).append(node);
  const openBreak = breakDialog((text) => { setText(byId('lock-outcome'), text); read(); });
  let shown; // the lock in the panel
  let reading; // aborts the read under way
  let opener; // where the focus was before
  let overview = {};

  const read = async () => {
    if (!shown || reading) return;
    const mine = reading = new AbortController();
    try {
      const path = lockPath(shown);
      const [why, past] = await Promise.all([
        get(`${path}/why`, mine.signal),
        get(`${path}/history?limit=${HISTORY_MAX}`, mine.signal),
      ]);
      if (reading !== mine) return;
      note(why);
      showWhy(why, tables);
      tables.history.show(past.items);
    } catch (error) {
      if (reading === mine) failed(error);
    } finally {
      if (reading === mine) reading = undefined;
    }
  };

  const choose = () => {
    const name = chosenLock();
    if (name === shown) return;
    reading?.abort();
    reading = undefined;
    if (shown === undefined) opener = document.activeElement;
    shown = name;
    section.hidden = name === undefined;
    if (name === undefined) {
      (opener?.isConnected && opener !== document.body ? opener : byId('name')).focus();
      return;
    }
    clear(name, tables);
    note({});
    showSamples(overview, name, tables.samples);
    byId('lock-title').focus();
    section.scrollIntoView({ block: 'start' });
    read();
  };

  byId('lock-close').addEventListener('click', chooseNone);
  byId('lock-break').addEventListener('click', () => openBreak(shown, overview));
  addEventListener('hashchange', choose);
  choose();

  return {
    show(news) {
      overview = news;
      showSamples(news, shown, tables.samples);
      read();
    },
  };
}

function clear(name, tables) {
  setText(byId('lock-title'), `Lock ${name}`);
  for (const part of ['state', 'why', 'queue-length', 'outcome']) setText(byId(`lock-${part}`), '');
  for (const part of Object.values(tables)) part.show([]);
}

function showWhy(why, tables) {
  setText(byId('lock-state'), why.state);
  byId('lock-state').dataset.state = why.state;
  setText(byId('lock-why'), why.why);
  tables.holders.show(why.holders);
  tables.queue.show(why.queue);
  const more = why.queue_length > why.queue.length ? `, the first ${why.queue.length} are shown` : '';
  setText(byId('lock-queue-length'), `(${plural(why.queue_length, 'claim')}${more})`);
}

function showSamples({ contention }, name, rows) {
  const found = contention?.items.find((item) => item.lock === name)?.samples ?? [];
  byId('lock-samples-part').hidden = found.length === 0;
  rows.show(found);
}

const claimColumns = [
  { head: 'Claim', cell: (one) => id(one.claim_id) },
  { head: 'Sidecar', cell: (one) => one.identity },
  // By default the owner is the claim itself.
  { head: 'Owner', cell: (one) => (one.owner === one.claim_id ? '' : id(one.owner)) },
];
const claimKey = (one) => `${one.identity} ${one.claim_id}`;
const modeText = ({ mode, permits, limit }) =>
  (permits === undefined ? mode : `${mode} ${permits}${limit === undefined ? '' : ` of ${limit}`}`);

function holders() {
  return table('Holders', [
    ...claimColumns,
    { head: 'Mode', cell: modeText },
    { head: 'Token', cell: (one) => count(one.token), num: true },
    { head: 'Held for', cell: (one) => duration(one.held_ms), num: true },
    { head: 'State', cell: (one) => holderState(one) },
    { head: 'Says', cell: (one) => said(one) },
  ], claimKey, 'Nobody holds it.');
}

function holderState({ delegated, user, breaking }) {
  const use = user ? `delegated, used by ${user.claim_id}` : delegated ? 'delegated' : '';
  return [use, breaking ? 'being broken' : ''].filter(Boolean).join(', ');
}

/** What the app tells of itself. */
function said({ value, metadata = {} }) {
  const pairs = Object.entries(metadata).map(([key, text]) => `${key}=${text}`);
  return [...(value === undefined ? [] : [`“${value}”`]), ...pairs].join(' ');
}

function queue() {
  return table('Queue', [
    { head: '#', cell: (one) => count(one.position), num: true },
    ...claimColumns,
    { head: 'Mode', cell: modeText },
    { head: 'Priority', cell: (one) => count(one.priority), num: true },
    { head: 'Why it waits', cell: (one) => one.why ?? '' },
  ], claimKey, 'Nobody waits.');
}

function samples() {
  return table('Recent waits', [
    ...claimColumns,
    { head: 'Waited', cell: (one) => duration(one.waited_ms), num: true },
    { head: 'Behind', cell: (one) => id(one.behind) },
    { head: 'Trace', cell: (one) => id(one.trace_id) },
    { head: 'Ago', cell: (one) => duration(one.ago_ms), num: true },
  ], (one) => `${one.identity} ${one.claim_id} ${one.waited_ms}`, '');
}

function history() {
  return table('History, newest first', [
    { head: 'Revision', cell: (one) => count(one.revision), num: true },
    { head: 'Event', cell: (one) => (one.cause ? `${one.event}: ${one.cause}` : one.event) },
    ...claimColumns,
    { head: 'Token', cell: (one) => count(tokenOf(one)), num: true },
    { head: 'Waited', cell: (one) => duration(one.waited_ms), num: true },
    { head: 'Held', cell: (one) => duration(one.held_ms), num: true },
    { head: 'Note', cell: (one) => one.note ?? '' },
    { head: 'Trace', cell: (one) => id(one.trace_id) },
  ], (one) => one.revision, 'Nothing is remembered.');
}

/** A record names all locks of its claim. */
function tokenOf({ locks }) {
  return locks.find(({ name }) => name === chosenLock())?.token;
}
