#!/usr/bin/env node
// A worker in JavaScript for Node 18 or newer, without packages; the sqlite3 program for the number.
//   worker.mjs SIDECAR_URL DIRECTORY NAME fenced|unfenced
// In a loop until DIRECTORY/stop exists: take the lock `counter`, read the number, sleep a little,
// write it back plus one. A fenced worker shows its token with every statement.
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const [url, directory, name, check] = process.argv.slice(2);
const fenced = check === 'fenced';
const path = (file) => `${directory}/${file}`;
const log = (line) => appendFileSync(path(`${name}.log`), line + '\n');
const sql = (text) =>
  execFileSync('sqlite3', ['-bail', '-cmd', '.timeout 5000', path('counter.db'), text]).toString().trim();

async function ask(method, target, body) {
  try {
    const answer = await fetch(url + target, {
      method,
      body: body && JSON.stringify(body),
      headers: body ? { 'content-type': 'application/json' } : {},
      signal: AbortSignal.timeout(20_000),
    });
    const text = await answer.text();
    return { ok: answer.ok, body: text ? JSON.parse(text) : {} };
  } catch {
    return { ok: false, body: { code: 'no-answer' } };
  }
}

/** The number as text; empty if the resource has seen a greater token. */
function read(token) {
  if (!fenced) return sql('select value from counter;');
  // The resource keeps the greatest token that it has seen and refuses smaller ones, on reads too:
  // a holder that has read must be safe from the writes of those before it.
  return sql(`begin immediate; update counter set token = ${token} where token < ${token};
    select value from counter where token = ${token}; commit;`);
}

/** Whether the resource took it. */
function write(token, value) {
  const where = fenced ? `where token <= ${token}` : '';
  return sql(`begin immediate; update counter set value = ${value} ${where};
    select changes(); commit;`) === '1';
}

async function hold(token) {
  const text = read(token);
  if (text === '') return log(`refused token=${token} on-read`);
  const value = Number(text);
  log(`holding token=${token} value=${value}`);
  if (existsSync(path(`slow.${name}`))) {
    rmSync(path(`slow.${name}`));
    await sleep(2000);
  } else {
    await sleep(10);
  }
  log(write(token, value + 1) ? `ack token=${token} value=${value + 1}` : `refused token=${token}`);
}

while (!existsSync(path('stop'))) {
  // A claim id is the holder: a new one for each attempt.
  const claim = `/v1/claims/${randomUUID()}`;
  const { ok, body } = await ask('PUT', claim, { lock: 'counter', ttl_ms: 3000, wait_ms: 5000 });
  if (!ok) {
    log(`not-granted ${body.code}`);
    await sleep(200);
    continue;
  }
  await hold(body.token);
  await ask('DELETE', claim);
}
