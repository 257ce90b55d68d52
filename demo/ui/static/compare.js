// Plays two clips on one clock, one of them silent: switching goes on at the same sample. The value's format: compare.py.
const RAMP = 0.005; // seconds in which a clip is faded in or out, without a click
let context = null, gains = [], sources = [], selected = 0, playing = false, starting = 0, startTime = 0, position = 0, longest = 0;
let urls = ['', ''], timer = null;
const decoded = new Map();
const find = (name) => element.querySelector(`[data-do="${name}"]`);
const readValue = () => { try { return JSON.parse(props.value || '{}'); } catch { return {}; } };
const decode = (url) => {
  if (!decoded.has(url)) {
    decoded.set(url, fetch(url).then((reply) => {
      if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
      return reply.arrayBuffer();
    }).then((bytes) => context.decodeAudioData(bytes)));
  }
  return decoded.get(url);
};
const now = () => (playing ? Math.max(0, Math.min(longest, context.currentTime - startTime)) : position);
const show = () => {
  find('play').textContent = playing ? 'Pause' : 'Play';
  find('play').setAttribute('aria-pressed', String(playing));
  [0, 1].forEach((i) => find(i).setAttribute('aria-pressed', String(i === selected)));
  element.querySelector('.time').textContent = now().toFixed(1) + ' s';
};
const dropSources = () => {
  sources.forEach((source) => { source.onended = null; source.stop(); });
  sources = [];
};
const stop = () => {
  starting++;
  position = now();
  playing = false;
  clearInterval(timer);
  dropSources();
  show();
};
const start = (buffers, offset) => {
  dropSources();
  longest = Math.max(...buffers.map((buffer) => buffer.duration));
  position = offset < longest ? offset : 0;
  const when = context.currentTime + 0.05;
  startTime = when - position;
  sources = buffers.map((buffer, i) => {
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(gains[i]);
    source.start(when, position);
    return source;
  });
  const last = buffers[0].duration >= buffers[buffers.length - 1].duration ? 0 : buffers.length - 1;
  sources[last].onended = () => start(buffers, 0);
};
const play = async () => {
  if (!context) {
    context = new AudioContext();
    gains = [0, 1].map((i) => new GainNode(context, { gain: i === selected ? 1 : 0 }));
    gains.forEach((gain) => gain.connect(context.destination));
  }
  context.resume();
  const attempt = ++starting;
  find('play').textContent = '…';
  try {
    const buffers = await Promise.all(urls.filter(Boolean).map(decode));
    if (attempt !== starting || !buffers.length) return show();
    window.soundStarts(element, stop);
    start(buffers, position);
    playing = true;
    timer = setInterval(show, 100);
    show();
  } catch {
    decoded.clear();
    show();
    element.querySelector('.time').textContent = 'One of the clips is no longer there.';
  }
};
const select = (index) => {
  selected = index;
  gains.forEach((gain, i) => gain.gain.linearRampToValueAtTime(i === selected ? 1 : 0, context.currentTime + RAMP));
  show();
};
element.addEventListener('click', (event) => {
  const name = event.target.dataset && event.target.dataset.do;
  if (!name) return;
  if (name !== 'play') {
    gains.forEach((gain) => gain.gain.setValueAtTime(gain.gain.value, context.currentTime)); // where the ramp begins
    select(Number(name));
  } else if (playing) stop(); else play();
});
const load = () => {
  const value = readValue(), next = [value.a || '', value.b || ''];
  if (next[0] === urls[0] && next[1] === urls[1]) return;
  const goOn = playing;
  if (playing) stop();
  urls = next;
  for (const url of decoded.keys()) if (!urls.includes(url)) decoded.delete(url);
  if (goOn) play();
};
watch('value', load);
load();
