// Follows /ui/live, and says when it cannot.
// In: Server-Sent Events. Out: each overview; whether the stream stands.
// Never: silence taken for health: one event comes each second, and five seconds without are a broken stream.

const SILENCE_MAX_MS = 5_000;
const RETRY_MS = [500, 1_000, 2_000, 5_000];

/** Calls `heard(overview)` for each event, and `changed(stands)` when the stream comes up or breaks. */
export function follow(heard, changed) {
  let source;
  let lastHeard = 0;
  let failures = 0;
  let retry;

  const open = () => {
    retry = undefined;
    lastHeard = performance.now();
    source = new EventSource('/ui/live');
    source.addEventListener('overview', (event) => {
      lastHeard = performance.now();
      failures = 0;
      changed(true);
      heard(JSON.parse(event.data));
    });
    // EventSource reconnects by itself after some failures and gives up after others; we always do the same.
    source.addEventListener('error', broken);
  };
  const broken = () => {
    if (retry !== undefined) return;
    source.close();
    changed(false);
    const wait = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
    failures += 1;
    // Pages that one restart has cut off do not all come back at once.
    retry = setTimeout(open, wait * (0.5 + Math.random()));
  };

  open();
  setInterval(() => {
    if (performance.now() - lastHeard > SILENCE_MAX_MS) broken();
  }, 1_000);
}
