// Puts the page together: what comes over the stream goes to the panels.
// In: overviews. Out: each panel's part. Never: a panel that stops the others.

import { follow } from './live.js';
import { cellPanel } from './panels/cell.js';
import { contentionPanel } from './panels/contention.js';
import { deadlocksPanel } from './panels/deadlocks.js';
import { drainButton } from './panels/drain.js';
import { header } from './panels/header.js';
import { lockPanel } from './panels/lock.js';
import { orderPanel } from './panels/order.js';
import { search } from './panels/search.js';
import { sessionsPanel } from './panels/sessions.js';
import { waitsPanel } from './panels/waits.js';

const bar = header();
search();
const panels = [
  bar, drainButton(bar.tell), lockPanel(), cellPanel(), contentionPanel(), waitsPanel(), orderPanel(),
  deadlocksPanel(), sessionsPanel(),
];

function show(overview) {
  if (bar.isPaused()) return;
  for (const panel of panels) {
    try {
      panel.show(overview);
    } catch (error) {
      reportError(error);
    }
  }
}

follow(show, bar.stream);
