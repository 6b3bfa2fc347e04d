// What the server does now, where the gateway passes its metrics on.

import { metrics } from './api.js';
import { figures, parse } from './metrics.js';
import { figure } from './words.js';

const INTERVAL_MS = 2000;
// Figures are of the last ten seconds: of two they would jump.
const KEPT = 5;

/** Shows live figures in an element, which stays hidden where there are none. */
export async function watch(element) {
  const kept = [];
  for (;;) {
    if (!document.hidden) {
      const text = await metrics();
      if (text === null && !kept.length) return;
      if (text !== null) kept.push({ time: performance.now(), samples: parse(text) });
      if (kept.length > KEPT + 1) kept.shift();
      const latest = kept.at(-1);
      // Of several servers any answers, and one that was started anew has begun to count anew.
      const earlier = kept.find((each) => each !== latest && started(each) === started(latest));
      element.hidden = text === null || !earlier;
      if (!element.hidden) show(element, earlier, latest);
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}

function show(element, earlier, later) {
  const found = figures(earlier.samples, later.samples, (later.time - earlier.time) / 1000);
  const texts = {
    facesPerSecond: found.facesPerSecond.toFixed(1),
    queue: String(found.queue),
    median: duration(found.median),
    slow: duration(found.slow),
  };
  for (const [name, text] of Object.entries(texts)) {
    element.querySelector(`[data-figure="${name}"]`).textContent = text;
  }
}

/** Returns when the processes began whose metrics these are, by which they are known. */
function started({ samples }) {
  const times = samples.filter(({ name }) => name === 'process_start_time_seconds');
  return times.map(({ value }) => value).join();
}

function duration(seconds) {
  return Number.isNaN(seconds) ? 'no calls' : `${figure(1000 * seconds)} ms`;
}
