(visit, clip, ...values) => {
  // Until the page has its visit it may still hold the first values of its inputs, which would replace what is stored.
  if (!visit || visit.startsWith('{')) return;
  const settings = Object.fromEntries(NAMES.map((name, i) => [name, values[i] && values[i].path ? values[i].path : values[i]]));
  try { localStorage.setItem('musicgen', JSON.stringify({ visit, clip, settings })); } catch { /* private windows have none */ }
}
