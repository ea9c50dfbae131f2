// Finds a lock by its name.
// In: what is typed. Out: suggestions from the API, and the address of the lock.

import { get } from '../api.js';
import { byId, el } from '../dom.js';
import { lockHref } from '../route.js';

export function search() {
  byId('search').addEventListener('submit', (event) => {
    event.preventDefault();
    location.hash = lockHref(byId('name').value);
  });
  byId('name').addEventListener('input', suggest);
}

async function suggest() {
  const prefix = byId('name').value;
  if (prefix === '') return;
  // A search that cannot be made suggests nothing; the name can be typed in full.
  const found = await get(`/v1/locks?limit=20&prefix=${encodeURIComponent(prefix)}`).catch(() => undefined);
  if (found === undefined || prefix !== byId('name').value) return;
  byId('names').replaceChildren(...found.items.map(({ name }) => el('option', { value: name })));
}
