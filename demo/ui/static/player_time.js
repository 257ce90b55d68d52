// The time at which the player of the result stands, in seconds, for the field that a button belongs to.
(now) => {
  const box = document.querySelector("#result");
  // Gradio's waveform has its player in a shadow tree, and a second one beside it that never moves.
  const trees = box ? [box, ...[...box.querySelectorAll("*")].map((one) => one.shadowRoot).filter(Boolean)] : [];
  const times = trees.flatMap((tree) => [...tree.querySelectorAll("audio")]).map((audio) => audio.currentTime);
  const seconds = Math.max(-1, ...times.filter(Number.isFinite));
  return seconds < 0 ? now : String(Math.round(10 * seconds) / 10);
}
