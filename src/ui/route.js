// Which lock is shown is part of the address, so that it can be linked, kept and gone back from.
// In: the fragment. Out: a lock's name, links. Never: state that the address does not have.

import { el } from './dom.js';

/** `#lock=orders%2F42`. */
export function lockHref(name) {
  return `#lock=${encodeURIComponent(name)}`;
}

/** A link to a lock's panel. */
export function lockLink(name) {
  return el('a', { href: lockHref(name), class: 'lock' }, name);
}

/** The lock that the address names, if it names one. */
export function chosenLock() {
  const found = /^#lock=(.+)$/.exec(location.hash);
  try {
    return found ? decodeURIComponent(found[1]) : undefined;
  } catch {
    return undefined; // somebody's broken percent-encoding
  }
}

/** Names no lock any more. */
export function chooseNone() {
  history.pushState(null, '', location.pathname + location.search);
  // Unlike a link, this tells nobody by itself.
  dispatchEvent(new HashChangeEvent('hashchange'));
}
