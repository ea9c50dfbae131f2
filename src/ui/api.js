// Asks the API that this page was served by.
// In: paths and bodies. Out: JSON, or a `Refused` in the words of the problem document.
// Never: another origin; a node that does not lead answers a change with a redirect to one.

/** A refusal, fit to be shown. */
export class Refused extends Error {
  constructor(status, title, detail, redirected = false) {
    super(detail ? `${title}: ${detail}` : title);
    Object.assign(this, { status, title, detail, redirected });
  }
}

/** A core node takes no changes while another leads. */
export function anotherLeads() {
  return new Refused(307, 'Another node leads', 'changes are made at the leader', true);
}

export function get(path, signal) {
  return ask(path, { signal, headers: { accept: 'application/json' } });
}

/** `body` is left out where an operation has none. */
export function post(path, body) {
  if (body === undefined) return ask(path, { method: 'POST' });
  const headers = { 'content-type': 'application/json' };
  return ask(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

/** The path of a lock. */
export function lockPath(name) {
  return `/v1/locks/${encodeURIComponent(name)}`;
}

async function ask(path, request) {
  let answer;
  try {
    answer = await fetch(path, { redirect: 'manual', cache: 'no-store', ...request });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refused(0, 'No answer', 'what served this page cannot be reached');
  }
  if (answer.type === 'opaqueredirect') {
    throw anotherLeads();
  }
  const body = await answer.json().catch(() => undefined);
  if (answer.ok) return body;
  throw new Refused(answer.status, body?.title ?? `Status ${answer.status}`, body?.detail);
}
