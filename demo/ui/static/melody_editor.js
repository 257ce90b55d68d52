const SECONDS = 4096 / 32000, ROWS = 12, ROW = 16;
const NAMES = ['C', 'C♯', 'D', 'D♯', 'E', 'F', 'F♯', 'G', 'G♯', 'A', 'A♯', 'B'];
let frames = [], past = [], cursor = 0, drawing = false, last = null, sound = null, own = null;
const find = (what) => element.querySelector(what);
const cell = () => Math.max(3, Math.min(14, Math.floor(16000 / Math.max(1, frames.length))));
const read = () => {
  try { frames = JSON.parse(props.value || '{}').frames || []; } catch { frames = []; }
  cursor = Math.min(cursor, Math.max(0, frames.length - 1));
};
const times = () => {
  find('[data-of=from]').value = 0;
  find('[data-of=to]').value = (frames.length * SECONDS).toFixed(1);
};
const draw = () => {
  const canvas = find('canvas');
  if (!canvas) return;
  const room = find('.scroll').clientWidth || 600;
  const width = Math.max(cell(), Math.min(14, room / Math.max(1, frames.length)));
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  canvas.width = Math.max(room, frames.length * width) * ratio;
  canvas.height = ROWS * ROW * ratio;
  canvas.style.width = canvas.width / ratio + 'px';
  canvas.dataset.cell = width;
  const style = getComputedStyle(canvas), pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  pen.fillStyle = 'rgba(128, 128, 150, 0.25)';
  for (let row = 1; row < ROWS; row++) pen.fillRect(0, row * ROW, canvas.width, 1);
  pen.fillStyle = style.getPropertyValue('--color-accent');
  frames.forEach((pitch, i) => pen.fillRect(i * width, (ROWS - 1 - pitch) * ROW + 1, Math.max(1, width - 0.5), ROW - 2));
  if (document.activeElement === canvas && frames.length) {
    pen.strokeStyle = style.getPropertyValue('--body-text-color');
    pen.strokeRect(cursor * width, 0.5, width, ROWS * ROW - 1);
  }
};
const say = (text) => { find('.where').textContent = text; };
const where = () => frames.length && say(`${(cursor * SECONDS).toFixed(1)} s: ${NAMES[frames[cursor]]}`);
const keep = () => { past.push(frames.slice()); if (past.length > 50) past.shift(); };
const store = () => { own = JSON.stringify({ frames }); props.value = own; draw(); };
const set = (event) => {
  const canvas = find('canvas'), box = canvas.getBoundingClientRect(), width = Number(canvas.dataset.cell);
  const at = Math.floor((event.clientX - box.left) / width);
  const pitch = ROWS - 1 - Math.max(0, Math.min(ROWS - 1, Math.floor((event.clientY - box.top) / ROW)));
  if (at < 0 || at >= frames.length) return;
  const from = last === null ? at : last;
  for (let i = Math.min(from, at); i <= Math.max(from, at); i++) frames[i] = pitch;
  last = cursor = at;
  draw(); where();
};
const hush = () => {
  if (sound) { sound.close(); sound = null; }
  find('[data-do=play]').textContent = 'Listen';
};
const play = () => {
  if (sound) return hush();
  sound = new AudioContext();
  const tone = sound.createOscillator(), gain = sound.createGain();
  tone.type = 'triangle'; gain.gain.value = 0.15;
  tone.connect(gain).connect(sound.destination);
  frames.forEach((pitch, i) => tone.frequency.setValueAtTime(261.63 * 2 ** (pitch / 12), sound.currentTime + i * SECONDS));
  tone.start(); tone.stop(sound.currentTime + frames.length * SECONDS); tone.onended = hush;
  find('[data-do=play]').textContent = 'Stop';
};
const act = {
  up: () => { frames = frames.map((p) => (p + 1) % 12); },
  clear: () => { frames = []; cursor = 0; },
  down: () => { frames = frames.map((p) => (p + 11) % 12); },
  trim: () => {
    const frame = (name) => Math.round(Number(find(`[data-of=${name}]`).value) / SECONDS);
    const from = frame('from'), to = frame('to');
    const kept = frames.slice(Math.max(0, from), Math.max(0, to));
    if (!kept.length) return say('Nothing would be left: choose another part.');
    frames = kept; cursor = 0;
  },
};
element.addEventListener('click', (event) => {
  const name = event.target.dataset && event.target.dataset.do;
  if (!name) return;
  if (name === 'undo') { if (past.length) { frames = past.pop(); store(); times(); } return; }
  if (!frames.length) return;
  if (name === 'play') return play();
  keep(); act[name](); store(); times();
});
// A finger that begins to move scrolls (the browser says "cancel"): it changes a note only when it is lifted in place.
element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS' || !frames.length) return;
  drawing = true; last = null;
  if (event.pointerType !== 'touch') { keep(); set(event); }
});
element.addEventListener('pointermove', (event) => { if (drawing && event.pointerType !== 'touch') set(event); });
window.addEventListener('pointerup', (event) => {
  if (!drawing) return;
  drawing = false;
  if (event.pointerType === 'touch') { keep(); set(event); }
  last = null; store();
});
window.addEventListener('pointercancel', () => { drawing = false; });
element.addEventListener('keydown', (event) => {
  if (event.target.tagName !== 'CANVAS' || !frames.length) return;
  const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key], change = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  if (!move && !change) return;
  event.preventDefault();
  if (move) cursor = Math.max(0, Math.min(frames.length - 1, cursor + move));
  if (change) { keep(); frames[cursor] = (frames[cursor] + change + 12) % 12; store(); }
  draw(); where();
});
element.addEventListener('focusin', draw);
element.addEventListener('focusout', draw);
watch('value', () => { if (props.value !== own) { past = []; read(); times(); } own = props.value; draw(); });
new ResizeObserver(draw).observe(element);
read(); times(); draw();
