// The most contended locks: over time as a plot, over a window as a table.
// In: `contention` of each second; for longer windows the API, every few seconds. Out: plot, legend, table.

import { get } from '../api.js';
import { byId, el, keyed, setText } from '../dom.js';
import { count, duration, durationText, plural } from '../format.js';
import { Past } from '../past.js';
import { plot } from '../plot.js';
import { lockLink } from '../route.js';
import { table } from '../table.js';
import { panel } from './panel.js';

const LINES = 6; // as many colours as people tell apart
const LONG_WINDOW_EVERY_MS = 5_000;

export function contentionPanel() {
  const { failed, note } = panel('contention');
  const past = new Past();
  const slots = new Slots();
  const rows = contended();
  byId('contention-table').append(rows.node);
  let latest;
  let askedAt = -Infinity;

  const showTable = (contention) => {
    rows.show(contention.items);
    setText(byId('contention-total'), totalText(contention.total));
  };
  const showLongWindow = async () => {
    const span = byId('window').value;
    askedAt = performance.now();
    try {
      const contention = await get(`/v1/contention?window=${span}&scope=cell&limit=20`);
      if (span === byId('window').value) showTable(contention);
    } catch (error) {
      failed(error);
    }
  };
  const showPlot = () => {
    const measure = byId('measure').value;
    const series = slots.colour(past.series(measure, LINES));
    const text = measure === 'wait_ms' ? durationText : (value) => value.toLocaleString('en');
    const now = performance.now();
    plot(byId('plot'), series, now, past.span(now), text);
    showLegend(series, text);
  };
  const update = () => {
    if (byId('window').value !== '1m') {
      if (performance.now() - askedAt > LONG_WINDOW_EVERY_MS) showLongWindow();
    } else if (latest) {
      showTable(latest);
    }
    showPlot();
  };

  byId('measure').addEventListener('change', showPlot);
  byId('window').addEventListener('change', () => { askedAt = -Infinity; update(); });
  new ResizeObserver(showPlot).observe(byId('plot'));

  return {
    show({ contention }) {
      if (note(contention)) {
        latest = contention;
        past.record(performance.now(), contention.items);
      }
      update();
    },
  };
}

/** Gives each lock a colour, and leaves it that for as long as it is in the plot. */
class Slots {
  #of = new Map();

  colour(series) {
    const shown = new Set(series.map(({ lock }) => lock));
    for (const lock of [...this.#of.keys()]) if (!shown.has(lock)) this.#of.delete(lock);
    for (const { lock } of series) {
      if (this.#of.has(lock)) continue;
      const taken = new Set(this.#of.values());
      this.#of.set(lock, [...Array(LINES).keys()].find((slot) => !taken.has(slot)));
    }
    return series.map((one) => ({ ...one, slot: this.#of.get(one.lock) }));
  }
}

function showLegend(series, text) {
  const make = ({ lock }) => el('li', {}, el('span'), lockLink(lock), el('data'));
  keyed(byId('legend'), series, ({ lock }) => lock, make, (item, { slot, points }) => {
    const { value } = points.at(-1);
    item.firstChild.className = `swatch slot-${slot}`;
    item.lastChild.value = value;
    setText(item.lastChild, text(value));
  });
}

function totalText({ waits, wait_ms, holds, recalls }) {
  return `In all: ${plural(waits, 'wait')}, ${durationText(wait_ms)} waited, ${plural(holds, 'hold')}, ${plural(recalls, 'recall')}.`;
}

function contended() {
  return table('Most contended locks', [
    { head: 'Lock', cell: (one) => lockLink(one.lock) },
    { head: 'Waiters', cell: (one) => count(one.waiters), num: true },
    { head: 'Most', cell: (one) => count(one.waiters_max), num: true },
    { head: 'Waited', cell: waited, num: true },
    { head: 'Waits', cell: (one) => count(one.waits), num: true },
    { head: 'Longest', cell: (one) => duration(one.wait_max_ms), num: true },
    { head: 'Holds', cell: (one) => count(one.holds), num: true },
    { head: 'Held', cell: (one) => duration(one.hold_ms), num: true },
    { head: 'Recalls', cell: (one) => count(one.recalls), num: true },
  ], (one) => one.lock, 'Nobody has waited.');
}

/** Only the top is counted for sure; what came in later may carry the count of one that it pushed out. */
function waited(one) {
  const cell = duration(one.wait_ms);
  if (one.overcount_ms > 0) cell.title = `at most ${durationText(one.overcount_ms)} of it is another lock's`;
  return cell;
}
