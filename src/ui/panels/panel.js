// What all panels have: a section of the page, and a line that says what its content is worth.
// In: a part of the overview. Out: the note above the panel.
// Never: old or missing content that looks like fresh one.

import { byId, setText } from '../dom.js';
import { durationText } from '../format.js';

/** The section with this id, and ways to say what it shows. */
export function panel(id) {
  const section = byId(id);
  const line = section.querySelector('.note');
  const say = (text, stale) => {
    setText(line, text);
    line.hidden = text === '';
    section.classList.toggle('stale', stale);
  };
  return {
    section,
    body: section.querySelector('.body'),
    /** Judges a part, and returns whether there is one; a part that is good gets the remark. */
    note(part, remark = '') {
      const doubt = part === undefined ? 'Cannot be had at the moment; below is what was known last.' : doubtOf(part);
      say(doubt || remark, doubt !== '');
      return part !== undefined;
    },
    /** What is shown could not be read again. */
    failed(error) {
      say(error.message, true);
    },
  };
}

function doubtOf({ consistency, age_ms: age }) {
  if (consistency === undefined || consistency === 'linearizable') return '';
  return `Not confirmed by a quorum: ${age > 0 ? `at most ${durationText(age)} old` : 'as known here'}.`;
}
