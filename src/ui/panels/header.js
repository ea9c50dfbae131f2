// The line at the top: whose page this is, how it stands, whether it is live; and the alert under it.
// In: overviews, the stream's state, presses of Pause. Out: badges, the title, a banner.
// Never: an alert whose text changes each second; it would be spoken each second.

import { byId, setText } from '../dom.js';
import { durationText } from '../format.js';
import { standing } from './cell.js';

export function header() {
  let stands; // whether the stream does
  let paused = false;
  let told = ''; // what was said of a drain, which explains the broken stream that follows
  let shownAt;

  const showStream = () => {
    const [text, grade] = paused ? ['paused', 'warn'] : stands ? ['live', 'good'] : ['disconnected', 'bad'];
    badge('live', text, grade);
    document.body.classList.toggle('cut', stands === false);
    const alert = stands ? told : `${told} No news from ${location.host}; trying again.`.trim();
    setText(byId('banner-text'), alert);
    byId('banner').hidden = alert === '';
  };
  const showAge = () => {
    const old = stands === false && shownAt !== undefined;
    setText(byId('banner-age'), old ? `What is shown is ${durationText(performance.now() - shownAt)} old.` : '');
  };

  setInterval(showAge, 1_000);
  byId('pause').addEventListener('click', () => {
    paused = !paused;
    byId('pause').setAttribute('aria-pressed', paused);
    setText(byId('pause'), paused ? 'Resume' : 'Pause');
    showStream();
  });
  byId('skip').addEventListener('click', (event) => {
    event.preventDefault(); // the fragment is taken: it names the lock
    byId('main').focus();
  });

  return {
    isPaused: () => paused,
    tell(text) {
      told = text;
      showStream();
    },
    /** Whether the stream stands. */
    stream(now) {
      if (now === stands) return;
      if (now && stands === false) told = '';
      stands = now;
      showStream();
    },
    show(overview) {
      shownAt = performance.now();
      const { text, grade } = standing(overview);
      badge('mode', text, grade);
      const name = overview.face === 'core' ? `core node ${overview.cluster?.node ?? ''}` : 'sidecar';
      setText(byId('face'), `${name} at ${location.host}`);
      setText(byId('version'), overview.version ?? '');
      document.title = `${grade === 'good' ? '' : `${text} · `}Sidelock ${name}`;
    },
  };
}

function badge(id, text, grade) {
  setText(byId(id), text);
  byId(id).dataset.grade = grade;
}
