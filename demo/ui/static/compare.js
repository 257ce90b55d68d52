// Plays two clips in sync, one of them muted. The value's format: compare.py.
let selected = 0;
const clips = () => [...element.querySelectorAll('audio')];
const setPressed = (name, on) => element.querySelector(`[data-do="${name}"]`).setAttribute('aria-pressed', String(on));
const load = () => {
  let value = {};
  try { value = JSON.parse(props.value || '{}'); } catch { value = {}; }
  const playing = element.querySelector('[data-do=play]').getAttribute('aria-pressed') === 'true';
  clips().forEach((clip, i) => {
    const url = [value.a, value.b][i] || '';
    if ((clip.getAttribute('src') || '') !== url) {
      if (url) clip.setAttribute('src', url); else clip.removeAttribute('src');
      if (url && playing) clip.play();
    }
    clip.muted = i !== selected;
    clip.ontimeupdate = () => {
      if (i === selected) element.querySelector('.time').textContent = clip.currentTime.toFixed(1) + ' s';
    };
  });
};
element.addEventListener('click', (event) => {
  const name = event.target.dataset && event.target.dataset.do, both = clips();
  if (!name) return;
  if (name === 'play') {
    const start = both[selected].paused;
    both.forEach((clip) => (start && clip.getAttribute('src') ? clip.play() : clip.pause()));
    setPressed('play', start);
    event.target.textContent = start ? 'Pause' : 'Play';
    return;
  }
  const time = both[selected].currentTime;
  selected = Number(name);
  if (Math.abs(both[selected].currentTime - time) > 0.05 && time < both[selected].duration) both[selected].currentTime = time;
  both.forEach((clip, i) => { clip.muted = i !== selected; setPressed(String(i), i === selected); });
});
watch('value', load);
load();
