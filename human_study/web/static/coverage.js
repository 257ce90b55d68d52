// Coverage: which seconds of a clip were played, as disjoint [start, end] intervals in order.

const JOIN = 0.03; // s: shorter gaps come from the resolution of the clock

/** The union with [start, end]. */
export function add(spans, start, end) {
  if (!(end > start)) return spans;
  const out = [];
  let [low, high] = [start, end];
  for (const [a, b] of spans) {
    if (b < low - JOIN || a > high + JOIN) out.push([a, b]);
    else [low, high] = [Math.min(low, a), Math.max(high, b)];
  }
  out.push([low, high]);
  return out.sort((one, other) => one[0] - other[0]);
}

/** Total seconds. */
export function total(spans) {
  return spans.reduce((sum, [start, end]) => sum + end - start, 0);
}

/** Intervals played while a loop over [from, to) ran for `elapsed` s, starting at `position`. */
export function played(position, elapsed, from, to) {
  const length = to - from;
  if (elapsed <= 0 || length <= 0) return [];
  if (position < from) return split(position, elapsed, from, to);
  if (elapsed >= length) return [[from, to]];
  const end = position + elapsed;
  return end <= to ? [[position, end]] : [[position, to], [from, from + ((end - to) % length)]];
}

/** Playhead in the loop after `elapsed` s. */
export function moved(position, elapsed, from, to) {
  const end = position + elapsed;
  return end < to ? end : from + ((end - to) % (to - from));
}

// The playhead may be before the loop: playback then enters it.
function split(position, elapsed, from, to) {
  const before = Math.min(elapsed, from - position);
  return [[position, position + before], ...played(from, elapsed - before, from, to)];
}
