// Plays the audio of a clip during its generation. The value's format: live.py.
let context = null, output = null, runId = null, lastNumber = 0, startTime = 0, receivedSeconds = 0;
let sources = [], timer = null, ended = false, skippedSeconds = 0;
const find = (selector) => element.querySelector(selector);
// Browsers allow playback only after a user gesture: the click on Generate.
const unlock = () => {
  if (!context) {
    context = new AudioContext();
    output = context.createMediaStreamDestination();
    find('audio').srcObject = output.stream;
    context.onstatechange = showState;
    showState();
  }
  context.resume();
  find('audio').play().catch(() => {});
};
document.addEventListener('click', (event) => {
  if (event.target.closest && event.target.closest('#generate')) unlock();
});
const playedSeconds = () => Math.max(0, Math.min(receivedSeconds, context.currentTime - startTime));
const updateMeter = () => {
  if (!context || !receivedSeconds) return;
  const time = playedSeconds();
  element.dataset.played = time.toFixed(2);
  find('.meter i').style.width = 100 * time / receivedSeconds + '%';
  find('.time').textContent = `${Math.floor(skippedSeconds + time)} of ${Math.floor(skippedSeconds + receivedSeconds)} s`;
  // At the end the player is hidden: the finished clip is shown.
  if (context.currentTime > startTime + receivedSeconds + (ended ? 0.3 : 4)) {
    find('.live').hidden = true;
    clearInterval(timer);
  }
};
const reset = () => {
  sources.forEach((source) => { source.onended = null; try { source.stop(); } catch {} });
  sources = []; receivedSeconds = 0; lastNumber = -1; startTime = 0; element.dataset.played = 0;
  clearInterval(timer);
  find('.live').hidden = true;
};
const showState = () => {
  const playing = context.state === 'running', button = find('[data-do=toggle]');
  button.textContent = playing ? '❚❚' : '▶';
  button.setAttribute('aria-label', playing ? 'Pause the sound' : 'Play the sound');
};
const pause = (paused) => {
  if (paused) { context.suspend(); return; }
  unlock();
  window.soundStarts(element, () => (ended ? reset() : pause(true)));
};
const schedule = (text, rate, channels) => {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0)), values = new Int16Array(bytes.buffer);
  const buffer = context.createBuffer(channels, values.length / channels, rate);
  for (let c = 0; c < channels; c++) {
    const samples = buffer.getChannelData(c);
    for (let i = 0; i < samples.length; i++) samples[i] = values[i * channels + c] / 32768;
  }
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(output);
  // A late chunk causes a gap, never an overlap.
  if (!receivedSeconds) startTime = context.currentTime + 0.1;
  else if (startTime + receivedSeconds < context.currentTime) startTime = context.currentTime + 0.05 - receivedSeconds;
  source.start(startTime + receivedSeconds);
  receivedSeconds += buffer.duration;
  sources.push(source);
};
const onValue = () => {
  let value;
  try { value = JSON.parse(props.value || '{}'); } catch { return; }
  if (value.run !== runId) { runId = value.run; reset(); }
  ended = Boolean(value.ended);
  skippedSeconds = value.skipped || 0;
  if (!value.chunks || !value.chunks.length) return;
  if (!receivedSeconds) pause(false);
  find('.live').hidden = false;
  for (const [number, text] of value.chunks) {
    if (number > lastNumber) { schedule(text, value.rate, value.channels); lastNumber = number; }
  }
  clearInterval(timer);
  timer = setInterval(updateMeter, 200);
};
element.addEventListener('click', (event) => {
  if (event.target.dataset && event.target.dataset.do === 'toggle') pause(context.state === 'running');
});
watch('value', onValue);
