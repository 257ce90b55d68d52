// Draws, plays and edits a melody. The value's format: melody_editor.py.
const SECONDS_PER_FRAME = 4096 / 32000, NUM_CHROMA = 12, ROW_HEIGHT = 16, ROWS = NUM_CHROMA * ROW_HEIGHT, AXIS = 18;
const MAX_CELL = 24, MIN_TICK = 46, TICKS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300]; // pixels, pixels, seconds
const PITCH_CLASSES = ['C', 'C♯', 'D', 'D♯', 'E', 'F', 'F♯', 'G', 'G♯', 'A', 'A♯', 'B'];
let frames = [], undoStack = [], cursor = 0, drawing = false, lastIndex = null, ownValue = null, zoom = 1;
let context = null, tone = null, startTime = 0, sounded = null;
const find = (selector) => element.querySelector(selector);
const snap = () => Number(find('[data-of=snap]').value);
const readValue = () => {
  try { frames = JSON.parse(props.value || '{}').frames || []; } catch { frames = []; }
  cursor = Math.min(cursor, Math.max(0, frames.length - 1));
};
const resetTrimTimes = () => {
  find('[data-of=from]').value = 0;
  find('[data-of=to]').value = (frames.length * SECONDS_PER_FRAME).toFixed(1);
};
// The whole melody is as wide as the editor; zoomed in, it scrolls.
const cellWidth = () => {
  const available = find('.scroll').clientWidth || 600, fitting = available / Math.max(1, frames.length);
  return Math.min(Math.max(MAX_CELL, fitting), 16000 / Math.max(1, frames.length), fitting * zoom);
};
const draw = () => {
  const canvas = find('canvas'), width = cellWidth(), ratio = Math.min(2, window.devicePixelRatio || 1);
  const total = Math.max(find('.scroll').clientWidth || 600, frames.length * width);
  canvas.width = Math.round(total * ratio);
  canvas.height = (ROWS + AXIS) * ratio;
  canvas.style.width = total + 'px';
  canvas.dataset.cell = width;
  const scroll = find('.scroll');
  scroll.style.height = `${ROWS + AXIS + scroll.offsetHeight - scroll.clientHeight}px`; // a scroll bar takes no row
  const style = getComputedStyle(canvas), pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  pen.fillStyle = 'rgba(128, 128, 150, 0.25)';
  for (let row = 1; row <= NUM_CHROMA; row++) pen.fillRect(0, row * ROW_HEIGHT, total, 1);
  const perSecond = width / SECONDS_PER_FRAME, end = frames.length * SECONDS_PER_FRAME;
  if (snap() && snap() * perSecond > 3) for (let time = 0; time < end; time += snap()) pen.fillRect(time * perSecond, 0, 1, ROWS);
  const tick = TICKS.find((seconds) => seconds * perSecond >= MIN_TICK) || TICKS[TICKS.length - 1];
  pen.font = `11px ${style.fontFamily}`;
  pen.textBaseline = 'top';
  for (let time = 0; time < end; time += tick) {
    pen.fillStyle = 'rgba(128, 128, 150, 0.6)';
    pen.fillRect(time * perSecond, ROWS, 1, 5);
    pen.fillStyle = style.getPropertyValue('--body-text-color-subdued');
    pen.fillText(time < 60 ? `${time} s` : `${Math.floor(time / 60)}:${String(time % 60).padStart(2, '0')}`, time * perSecond + 3, ROWS + 4);
  }
  pen.fillStyle = style.getPropertyValue('--color-accent');
  frames.forEach((pitch, i) => {
    pen.fillRect(i * width, (NUM_CHROMA - 1 - pitch) * ROW_HEIGHT + 1, Math.max(1, width - (width > 4 ? 0.5 : 0)), ROW_HEIGHT - 2);
  });
  if (document.activeElement === canvas && frames.length) {
    pen.strokeStyle = style.getPropertyValue('--body-text-color');
    pen.strokeRect(cursor * width, 0.5, width, ROWS - 1);
  }
  find('[data-do=out]').disabled = zoom === 1;
  find('[data-do=in]').disabled = width >= MAX_CELL;
};
const setZoom = (factor) => {
  const scroll = find('.scroll'), centre = (scroll.scrollLeft + scroll.clientWidth / 2) / Math.max(1, scroll.scrollWidth);
  zoom = Math.max(1, zoom * factor);
  draw();
  scroll.scrollLeft = centre * scroll.scrollWidth - scroll.clientWidth / 2;
};
const setStatus = (text) => { find('.where').textContent = text; };
const showCursor = () => frames.length
  && setStatus(`${(cursor * SECONDS_PER_FRAME).toFixed(1)} s: ${PITCH_CLASSES[frames[cursor]]}`);
const saveForUndo = () => { undoStack.push(frames.slice()); if (undoStack.length > 50) undoStack.shift(); };
const storeValue = () => { ownValue = JSON.stringify({ frames }); props.value = ownValue; draw(); };
// The frames from the one index to the other; with a grid, the whole steps of it.
const drawn = (from, to) => {
  const step = snap(), low = Math.min(from, to), high = Math.max(from, to);
  if (!step) return [low, high];
  const stepOf = (index) => Math.floor((index + 0.5) * SECONDS_PER_FRAME / step);
  const first = Math.round(stepOf(low) * step / SECONDS_PER_FRAME);
  return [first, Math.max(first, Math.round((stepOf(high) + 1) * step / SECONDS_PER_FRAME) - 1)];
};
const setNote = (event) => {
  const canvas = find('canvas'), box = canvas.getBoundingClientRect(), width = Number(canvas.dataset.cell);
  const index = Math.floor((event.clientX - box.left) / width);
  const row = Math.max(0, Math.min(NUM_CHROMA - 1, Math.floor((event.clientY - box.top) / ROW_HEIGHT)));
  const pitch = NUM_CHROMA - 1 - row;
  if (index < 0 || index >= frames.length) return;
  const [first, last] = drawn(lastIndex === null ? index : lastIndex, index);
  for (let i = first; i <= Math.min(last, frames.length - 1); i++) frames[i] = pitch;
  lastIndex = cursor = index;
  soundNote(pitch);
  draw(); showCursor();
};
const frequency = (pitch) => 261.6256 * 2 ** (pitch / 12);
const newTone = () => {
  if (!context) context = new AudioContext();
  context.resume();
  stopPlayback();
  window.soundStarts(element, stopPlayback);
  tone = new OscillatorNode(context, { type: 'triangle' });
  tone.gain = new GainNode(context, { gain: 0.15 });
  tone.connect(tone.gain).connect(context.destination);
  tone.onended = stopPlayback;
  return tone;
};
const soundNote = (pitch) => {
  if (pitch === sounded) return;
  sounded = pitch;
  const note = newTone();
  element.dataset.sounded = PITCH_CLASSES[pitch];
  note.frequency.value = frequency(pitch);
  note.gain.gain.setTargetAtTime(0, context.currentTime + 0.15, 0.03);
  note.start();
  note.stop(context.currentTime + 0.4);
};
function stopPlayback() {
  if (tone) { tone.onended = null; tone.stop(); tone = null; }
  find('[data-do=play]').textContent = 'Listen';
  find('.playhead').hidden = true;
}
const movePlayhead = () => {
  const playhead = find('.playhead'), scroll = find('.scroll');
  if (playhead.hidden) return;
  const x = Math.max(0, context.currentTime - startTime) / SECONDS_PER_FRAME * cellWidth();
  playhead.style.transform = `translateX(${x}px)`;
  if (x < scroll.scrollLeft || x > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = x;
  requestAnimationFrame(movePlayhead);
};
const play = () => {
  if (!find('.playhead').hidden) return stopPlayback();
  const melody = newTone();
  startTime = context.currentTime + 0.05;
  frames.forEach((pitch, i) => melody.frequency.setValueAtTime(frequency(pitch), startTime + i * SECONDS_PER_FRAME));
  melody.start(startTime); melody.stop(startTime + frames.length * SECONDS_PER_FRAME);
  find('[data-do=play]').textContent = 'Stop';
  find('.playhead').hidden = false;
  movePlayhead();
};
const actions = {
  up: () => { frames = frames.map((p) => (p + 1) % 12); },
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
  if (name === 'in') return setZoom(2);
  if (name === 'out') return setZoom(0.5);
  if (name === 'undo') { if (undoStack.length) { frames = undoStack.pop(); storeValue(); resetTrimTimes(); } return; }
  if (!frames.length) return;
  if (name === 'clear') { stopPlayback(); document.querySelector('#remove-melody').click(); return; } // with its recording
  if (name === 'play') return play();
  saveForUndo(); stopPlayback(); actions[name](); storeValue(); resetTrimTimes();
});
// A touch that moves scrolls (the browser then sends "pointercancel"), so a touch changes a note only at its end.
element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS' || !frames.length) return;
  drawing = true; lastIndex = sounded = null;
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
  if (semitones) { saveForUndo(); frames[cursor] = (frames[cursor] + semitones + 12) % 12; sounded = null; soundNote(frames[cursor]); storeValue(); }
  draw(); showCursor();
});
element.addEventListener('change', (event) => { if (event.target.dataset.of === 'snap') draw(); });
element.addEventListener('focusin', draw);
element.addEventListener('focusout', draw);
watch('value', () => {
  if (props.value !== ownValue) { undoStack = []; zoom = 1; stopPlayback(); readValue(); resetTrimTimes(); }
  ownValue = props.value;
  draw();
});
new ResizeObserver(draw).observe(element);
readValue(); resetTrimTimes(); draw();
