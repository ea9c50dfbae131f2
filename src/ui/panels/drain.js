// Drains the sidecar that serves this page, after a second press.
// In: the last overview. Out: a POST; a refusal to the dialog. Never: on a core, which has no drain.

import { post } from '../api.js';
import { byId, setText } from '../dom.js';
import { durationText, plural } from '../format.js';

export function drainButton(done) {
  const dialog = byId('drain-dialog');
  const refusal = dialog.querySelector('.refusal');
  const submit = dialog.querySelector('[type=submit]');
  let status;

  byId('drain').addEventListener('click', () => {
    refusal.hidden = true;
    const text = status && `It has ${plural(status.claims_granted, 'claim')} that hold and ${status.claims_queued} that wait.`;
    setText(byId('drain-claims'), text ?? '');
    dialog.showModal();
    dialog.querySelector('.cancel').focus();
  });
  dialog.querySelector('.cancel').addEventListener('click', () => dialog.close());
  dialog.querySelector('form').addEventListener('submit', async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const { claims_granted: held, stops_in_ms: left } = await post('/v1/drain');
      dialog.close();
      done(`Draining: ${plural(held, 'claim')} held; it stops in ${durationText(left)} at the latest.`);
    } catch (error) {
      setText(refusal, error.message);
      refusal.hidden = false;
    } finally {
      submit.disabled = false;
    }
  });

  return {
    show({ face, status: now }) {
      status = now;
      byId('drain').hidden = face !== 'sidecar';
    },
  };
}
