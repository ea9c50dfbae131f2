// Breaks a lock, after a reason and a second press.
// In: a lock and the last overview. Out: a POST; what came of it to the panel, a refusal to the dialog.
// Never: a break of another lock than the dialog names.

import { anotherLeads, lockPath, post } from '../api.js';
import { byId, el, setText } from '../dom.js';
import { lockHref } from '../route.js';

/** Returns what opens the dialog for a lock; `done(text)` hears how it went. */
export function breakDialog(done) {
  const dialog = byId('break-dialog');
  const form = dialog.querySelector('form');
  const refusal = dialog.querySelector('.refusal');
  const submit = dialog.querySelector('[type=submit]');
  let lock;
  let cluster; // of a core

  const refuse = ({ message, redirected }) => {
    refusal.replaceChildren(message, ...(redirected ? leaderLink(cluster, lock) : []));
    refusal.hidden = false;
  };

  dialog.querySelector('.cancel').addEventListener('click', () => dialog.close());
  form.force.addEventListener('change', () => { byId('break-warning').hidden = !form.force.checked; });
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    submit.disabled = true;
    refusal.hidden = true;
    try {
      const body = { reason: form.reason.value, force: form.force.checked };
      const answer = await post(`${lockPath(lock)}/break`, body);
      dialog.close();
      done(`${answer.outcome}: ${answer.detail}.`); // which says whether the old holder may still act
    } catch (error) {
      refuse(error);
    } finally {
      submit.disabled = false;
    }
  });

  return (name, overview) => {
    lock = name;
    cluster = overview.cluster;
    const elsewhere = cluster?.leader !== undefined && cluster.leader !== cluster.node;
    form.reset();
    byId('break-warning').hidden = true;
    refusal.hidden = true;
    // Where it is known already, nobody has to find a reason first.
    submit.disabled = elsewhere;
    if (elsewhere) refuse(anotherLeads());
    setText(byId('break-name'), name);
    dialog.showModal();
    form.reason.focus();
  };
}

/** The core changes nothing for a page of another node; its leader has the same page. */
function leaderLink(cluster, lock) {
  const leader = cluster?.members?.find((member) => member.leader);
  if (!leader) return [];
  const href = `${location.protocol}//${leader.http}/ui${lockHref(lock)}`;
  return ['. ', el('a', { href, rel: 'noreferrer' }, `Open it at node ${leader.node}`)];
}
