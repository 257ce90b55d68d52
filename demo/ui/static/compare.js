let now = 0;
const clips = () => [...element.querySelectorAll('audio')];
const press = (name, on) => element.querySelector(`[data-do="${name}"]`).setAttribute('aria-pressed', String(on));
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
    clip.muted = i !== now;
    clip.ontimeupdate = () => {
      if (i === now) element.querySelector('.time').textContent = clip.currentTime.toFixed(1) + ' s';
    };
  });
};
element.addEventListener('click', (event) => {
  const name = event.target.dataset && event.target.dataset.do, both = clips();
  if (!name) return;
  if (name === 'play') {
    const start = both[now].paused;
    both.forEach((clip) => (start && clip.getAttribute('src') ? clip.play() : clip.pause()));
    press('play', start);
    event.target.textContent = start ? 'Pause' : 'Play';
    return;
  }
  const time = both[now].currentTime;
  now = Number(name);
  if (Math.abs(both[now].currentTime - time) > 0.05 && time < both[now].duration) both[now].currentTime = time;
  both.forEach((clip, i) => { clip.muted = i !== now; press(String(i), i === now); });
});
watch('value', load);
load();
