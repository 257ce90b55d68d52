// Draws, plays and edits a melody. The value's format: melody_editor.py.
const SECONDS_PER_FRAME = 4096 / 32000, NUM_CHROMA = 12, ROW_HEIGHT = 16;
const PITCH_CLASSES = ['C', 'C♯', 'D', 'D♯', 'E', 'F', 'F♯', 'G', 'G♯', 'A', 'A♯', 'B'];
let frames = [], undoStack = [], cursor = 0, drawing = false, lastIndex = null, player = null, ownValue = null;
const find = (selector) => element.querySelector(selector);
const cellWidth = () => Math.max(3, Math.min(14, Math.floor(16000 / Math.max(1, frames.length))));
const readValue = () => {
  try { frames = JSON.parse(props.value || '{}').frames || []; } catch { frames = []; }
  cursor = Math.min(cursor, Math.max(0, frames.length - 1));
};
const resetTrimTimes = () => {
  find('[data-of=from]').value = 0;
  find('[data-of=to]').value = (frames.length * SECONDS_PER_FRAME).toFixed(1);
};
const draw = () => {
  const canvas = find('canvas');
  if (!canvas) return;
  const availableWidth = find('.scroll').clientWidth || 600;
  const width = Math.max(cellWidth(), Math.min(14, availableWidth / Math.max(1, frames.length)));
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  canvas.width = Math.max(availableWidth, frames.length * width) * ratio;
  canvas.height = NUM_CHROMA * ROW_HEIGHT * ratio;
  canvas.style.width = canvas.width / ratio + 'px';
  canvas.dataset.cell = width;
  const style = getComputedStyle(canvas), context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  context.fillStyle = 'rgba(128, 128, 150, 0.25)';
  for (let row = 1; row < NUM_CHROMA; row++) context.fillRect(0, row * ROW_HEIGHT, canvas.width, 1);
  context.fillStyle = style.getPropertyValue('--color-accent');
  frames.forEach((pitch, i) => {
    context.fillRect(i * width, (NUM_CHROMA - 1 - pitch) * ROW_HEIGHT + 1, Math.max(1, width - 0.5), ROW_HEIGHT - 2);
  });
  if (document.activeElement === canvas && frames.length) {
    context.strokeStyle = style.getPropertyValue('--body-text-color');
    context.strokeRect(cursor * width, 0.5, width, NUM_CHROMA * ROW_HEIGHT - 1);
  }
};
const setStatus = (text) => { find('.where').textContent = text; };
const showCursor = () => frames.length
  && setStatus(`${(cursor * SECONDS_PER_FRAME).toFixed(1)} s: ${PITCH_CLASSES[frames[cursor]]}`);
const saveForUndo = () => { undoStack.push(frames.slice()); if (undoStack.length > 50) undoStack.shift(); };
const storeValue = () => { ownValue = JSON.stringify({ frames }); props.value = ownValue; draw(); };
const setNote = (event) => {
  const canvas = find('canvas'), box = canvas.getBoundingClientRect(), width = Number(canvas.dataset.cell);
  const index = Math.floor((event.clientX - box.left) / width);
  const row = Math.max(0, Math.min(NUM_CHROMA - 1, Math.floor((event.clientY - box.top) / ROW_HEIGHT)));
  const pitch = NUM_CHROMA - 1 - row;
  if (index < 0 || index >= frames.length) return;
  const from = lastIndex === null ? index : lastIndex;
  for (let i = Math.min(from, index); i <= Math.max(from, index); i++) frames[i] = pitch;
  lastIndex = cursor = index;
  draw(); showCursor();
};
const stopPlayback = () => {
  if (player) { player.close(); player = null; }
  find('[data-do=play]').textContent = 'Listen';
};
const play = () => {
  if (player) return stopPlayback();
  player = new AudioContext();
  const tone = player.createOscillator(), gain = player.createGain();
  tone.type = 'triangle'; gain.gain.value = 0.15;
  tone.connect(gain).connect(player.destination);
  frames.forEach((pitch, i) => {
    tone.frequency.setValueAtTime(261.63 * 2 ** (pitch / 12), player.currentTime + i * SECONDS_PER_FRAME);
  });
  tone.start(); tone.stop(player.currentTime + frames.length * SECONDS_PER_FRAME); tone.onended = stopPlayback;
  find('[data-do=play]').textContent = 'Stop';
};
const actions = {
  up: () => { frames = frames.map((p) => (p + 1) % 12); },
  clear: () => { frames = []; cursor = 0; },
  down: () => { frames = frames.map((p) => (p + 11) % 12); },
  trim: () => {
    const frame = (name) => Math.round(Number(find(`[data-of=${name}]`).value) / SECONDS_PER_FRAME);
    const from = frame('from'), to = frame('to');
    const trimmed = frames.slice(Math.max(0, from), Math.max(0, to));
    if (!trimmed.length) return setStatus('Nothing would be left: choose another part.');
    frames = trimmed; cursor = 0;
  },
};
element.addEventListener('click', (event) => {
  const name = event.target.dataset && event.target.dataset.do;
  if (!name) return;
  if (name === 'undo') { if (undoStack.length) { frames = undoStack.pop(); storeValue(); resetTrimTimes(); } return; }
  if (!frames.length) return;
  if (name === 'play') return play();
  saveForUndo(); actions[name](); storeValue(); resetTrimTimes();
});
// A touch that moves scrolls (the browser then sends "pointercancel"), so a touch changes a note only at its end.
element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS' || !frames.length) return;
  drawing = true; lastIndex = null;
  if (event.pointerType !== 'touch') { saveForUndo(); setNote(event); }
});
element.addEventListener('pointermove', (event) => { if (drawing && event.pointerType !== 'touch') setNote(event); });
window.addEventListener('pointerup', (event) => {
  if (!drawing) return;
  drawing = false;
  if (event.pointerType === 'touch') { saveForUndo(); setNote(event); }
  lastIndex = null; storeValue();
});
window.addEventListener('pointercancel', () => { drawing = false; });
element.addEventListener('keydown', (event) => {
  if (event.target.tagName !== 'CANVAS' || !frames.length) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], semitones = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!step && !semitones) return;
  event.preventDefault();
  if (step) cursor = Math.max(0, Math.min(frames.length - 1, cursor + step));
  if (semitones) { saveForUndo(); frames[cursor] = (frames[cursor] + semitones + 12) % 12; storeValue(); }
  draw(); showCursor();
});
element.addEventListener('focusin', draw);
element.addEventListener('focusout', draw);
watch('value', () => {
  if (props.value !== ownValue) { undoStack = []; readValue(); resetTrimTimes(); }
  ownValue = props.value;
  draw();
});
new ResizeObserver(draw).observe(element);
readValue(); resetTrimTimes(); draw();
