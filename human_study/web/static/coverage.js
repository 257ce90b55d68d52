// Coverage: which seconds of a clip were played, as disjoint [start, end] intervals in order, in whole milliseconds.
// The server counts in the same way (listening.py): what is complete here is complete there.

const JOIN = 0.03; // s: shorter gaps come from the resolution of the clock

/** The union with [start, end]. */
export function add(spans, start, end) {
  let [low, high] = [rounded(start), rounded(end)];
  // Shorter than the rounding. The intervals beside it end at the same millisecond, so nothing is lost.
  if (!(high > low)) return spans;
  const out = [];
  for (const [a, b] of spans) {
    if (b < low - JOIN || a > high + JOIN) out.push([a, b]);
    else [low, high] = [Math.min(low, a), Math.max(high, b)];
  }
  out.push([low, high]);
  return out.sort((one, other) => one[0] - other[0]);
}

/** Intervals of any origin, such as a stored draft, as those of a clip of `seconds` s. */
export function tidy(spans, seconds) {
  return spans.reduce((out, [start, end]) => add(out, Math.max(0, start), Math.min(end, seconds)), []);
}

/** Share of a clip of `seconds` s that was heard, 0 to 1. */
export function share(spans, seconds) {
  return Math.min(1, Math.round(1000 * total(spans)) / Math.floor(1000 * seconds));
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

const rounded = (seconds) => Math.round(1000 * seconds) / 1000;
