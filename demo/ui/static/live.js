let context = null, out = null, run = null, next = 0, start = 0, made = 0, sources = [], timer = null, ended = false;
const find = (what) => element.querySelector(what);
// A browser lets sound begin only after a click: Generate is one.
const unlock = () => {
  if (!context) {
    context = new AudioContext();
    out = context.createMediaStreamDestination();
    find('audio').srcObject = out.stream;
  }
  context.resume();
  find('audio').play().catch(() => {});
};
document.addEventListener('click', (event) => {
  const on = (what) => event.target.closest && event.target.closest(what);
  if (on('#go')) unlock();
  // Not two sounds at once: who plays a clip has heard enough of this one.
  if (!on('#result .play-pause-button, #compare [data-do=play]') || !context) return;
  if (ended) reset(); else if (context.state === 'running') pause(true);
});
const heard = () => Math.max(0, Math.min(made, context.currentTime - start));
const show = () => {
  if (!context || !made) return;
  const time = heard();
  element.dataset.heard = time.toFixed(2);
  find('.meter i').style.width = 100 * time / made + '%';
  find('.time').textContent = `${Math.floor(time)} of ${Math.floor(made)} s`;
  // Heard to the end: the clip itself is there now.
  if (context.currentTime > start + made + (ended ? 0.3 : 4)) { find('.live').hidden = true; clearInterval(timer); }
};
const reset = () => {
  sources.forEach((source) => { source.onended = null; try { source.stop(); } catch {} });
  sources = []; made = 0; next = -1; start = 0; element.dataset.heard = 0;
  clearInterval(timer);
  find('.live').hidden = true;
};
const pause = (on) => {
  const button = find('[data-do=toggle]');
  if (on) context.suspend(); else unlock();
  button.textContent = on ? '▶' : '❚❚';
  button.setAttribute('aria-label', on ? 'Play the sound' : 'Pause the sound');
};
const add = (text, rate, channels) => {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0)), values = new Int16Array(bytes.buffer);
  const buffer = context.createBuffer(channels, values.length / channels, rate);
  for (let c = 0; c < channels; c++) {
    const wave = buffer.getChannelData(c);
    for (let i = 0; i < wave.length; i++) wave[i] = values[i * channels + c] / 32768;
  }
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(out);
  // Late sound makes a pause, never an overlap.
  if (!made) start = context.currentTime + 0.1;
  else if (start + made < context.currentTime) start = context.currentTime + 0.05 - made;
  source.start(start + made);
  made += buffer.duration;
  sources.push(source);
};
const take = () => {
  let value;
  try { value = JSON.parse(props.value || '{}'); } catch { return; }
  if (value.run !== run) { run = value.run; reset(); if (context) pause(false); }
  ended = Boolean(value.ended);
  if (!value.parts || !value.parts.length) return;
  unlock();
  find('.live').hidden = false;
  for (const [number, text] of value.parts) {
    if (number > next) { add(text, value.rate, value.channels); next = number; }
  }
  clearInterval(timer);
  timer = setInterval(show, 200);
};
element.addEventListener('click', (event) => {
  if (event.target.dataset && event.target.dataset.do === 'toggle') pause(context.state === 'running');
});
watch('value', take);
