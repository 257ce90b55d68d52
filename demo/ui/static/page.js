// Scripts of the whole page. A clip that is dropped outside an audio input restores its settings.
(() => {
  // One sound at a time: whatever starts says how it is stopped, and what sounded before is.
  let sounding = null;
  window.soundStarts = (owner, stop) => {
    if (sounding && sounding.owner !== owner) sounding.stop();
    sounding = { owner, stop };
  };
  // Gradio's players have media elements, which are not always part of the document.
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function playAlone() {
    if (!this.srcObject && !this.muted) window.soundStarts(this, () => this.pause());
    return play.call(this);
  };
  // Gradio's drop areas have an accessible name that differs from the visible text, which voice control depends on.
  const setAccessibleNames = () => document.querySelectorAll('button[aria-label][aria-dropeffect]').forEach((area) => {
    const text = area.innerText.replace(/\s+/g, ' ').trim();
    if (text && area.getAttribute('aria-label') !== text) area.setAttribute('aria-label', text);
  });
  new MutationObserver(setAccessibleNames).observe(document, { subtree: true, childList: true });
  // On a phone the result is below the inputs: a click on Generate scrolls to it.
  document.addEventListener('click', (event) => {
    const output = document.querySelector('#output');
    if (!output || !event.target.closest || !event.target.closest('#generate')) return;
    if (output.getBoundingClientRect().top > innerHeight - 120) output.scrollIntoView({ block: 'start' });
  });
  const audioInput = (node) => node.closest && node.closest('#melody-file, #midi-file, #style-file, #continue-file, #restore');
  document.addEventListener('dragover', (event) => { if (!audioInput(event.target)) event.preventDefault(); });
  document.addEventListener('drop', (event) => {
    const files = event.dataTransfer && event.dataTransfer.files;
    if (audioInput(event.target) || !files || !files.length) return;
    event.preventDefault();
    const input = document.querySelector('input[type=file][data-testid^="Restore the settings"]');
    if (!input) return;
    const transfer = new DataTransfer();
    transfer.items.add(files[0]);
    input.files = transfer.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
  });
})();
