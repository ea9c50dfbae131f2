// Remembers the contention of the last five minutes, as this page has seen it.
// In: the items of each second. Out: a series of points for each of the most contended locks. Pure.
// Never: more than that is kept.

const SPANS_MS = [60_000, 120_000, 300_000];
const SPAN_MAX_MS = SPANS_MS.at(-1);

export class Past {
  #seen = []; // {at, items: Map of lock to item}, oldest first

  record(at, items) {
    this.#seen.push({ at, items: new Map(items.map((item) => [item.lock, item])) });
    while (this.#seen[0].at < at - SPAN_MAX_MS) this.#seen.shift();
  }

  /** A round span of time that covers what has been seen so far. */
  span(now) {
    const seen = now - (this.#seen[0]?.at ?? now);
    return SPANS_MS.find((span) => span >= seen) ?? SPAN_MAX_MS;
  }

  /** The `most` locks with the greatest sum of `measure`, greatest first, each with a point a second. */
  series(measure, most) {
    const sums = new Map();
    for (const { items } of this.#seen) {
      for (const [lock, item] of items) sums.set(lock, (sums.get(lock) ?? 0) + (item[measure] ?? 0));
    }
    const top = [...sums].filter(([, sum]) => sum > 0).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
    return top.slice(0, most).map(([lock]) => ({
      lock,
      points: this.#seen.map(({ at, items }) => ({ at, value: items.get(lock)?.[measure] ?? 0 })),
    }));
  }
}
