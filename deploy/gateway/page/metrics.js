// Live figures from what the server counts, in Prometheus' format.

const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const DURATIONS = 'face_embedding_request_duration_seconds_bucket';
const EMBED = 'method="face_embedding.v1.FaceEmbeddingService/Embed"';

/** Returns the samples of a page of metrics: name, labels as they stand there, value. */
export function parse(text) {
  return text
    .split('\n')
    .map((line) => SAMPLE.exec(line))
    .filter(Boolean)
    .map(([, name, labels = '', value]) => ({ name, labels, value: Number(value) }));
}

/**
 * Returns the figures of the time between two pages of metrics.
 *
 * @returns {{facesPerSecond: number, queue: number, median: number, slow: number}} faces waiting;
 *   seconds that half of the calls of Embed, and 95 %, were faster than, NaN if there were none.
 */
export function figures(earlier, later, seconds) {
  const embedded = 'face_embedding_faces_embedded_total';
  const buckets = between(cumulated(earlier), cumulated(later));
  return {
    facesPerSecond: (total(later, embedded) - total(earlier, embedded)) / seconds,
    queue: total(later, 'face_embedding_queue_depth'),
    median: quantile(buckets, 0.5),
    slow: quantile(buckets, 0.95),
  };
}

function total(samples, name) {
  return samples.filter((sample) => sample.name === name).reduce((sum, { value }) => sum + value, 0);
}

/** Returns how many calls of Embed were as fast as each bound, in seconds. */
function cumulated(samples) {
  const counts = new Map();
  for (const { name, labels, value } of samples) {
    if (name !== DURATIONS || !labels.includes(EMBED)) continue;
    const bound = Number(/le="([^"]+)"/.exec(labels)[1].replace('+Inf', 'Infinity'));
    // With several processes there is one of each.
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return counts;
}

function between(earlier, later) {
  return [...later]
    .map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)])
    .sort(([first], [second]) => first - second);
}

/** Returns a quantile as Prometheus' `histogram_quantile` does: as if calls were even in a bucket. */
function quantile(buckets, share) {
  const wanted = share * (buckets.at(-1)?.[1] ?? 0);
  if (!wanted) return NaN;
  let [lowest, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= wanted) {
      return bound === Infinity ? lowest : lowest + ((bound - lowest) * (wanted - below)) / (count - below);
    }
    [lowest, below] = [bound, count];
  }
  return NaN;
}
