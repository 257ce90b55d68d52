// A clip of this program dropped anywhere on the page restores its settings, unless it falls into a field of its own.
(() => {
  // Gradio names its drop areas otherwise than they read, which confuses who speaks to their computer.
  const name = () => document.querySelectorAll('button[aria-label][aria-dropeffect]').forEach((area) => {
    const text = area.innerText.replace(/\s+/g, ' ').trim();
    if (text && area.getAttribute('aria-label') !== text) area.setAttribute('aria-label', text);
  });
  new MutationObserver(name).observe(document, { subtree: true, childList: true });
  // On a phone the result is below all the fields: who asks for music is taken there.
  document.addEventListener('click', (event) => {
    const status = document.querySelector('#status');
    if (!status || !event.target.closest || !event.target.closest('#go')) return;
    if (status.getBoundingClientRect().bottom > innerHeight) status.scrollIntoView({ block: 'start' });
  });
  const field = (node) => node.closest && node.closest('#melody-file, #continue-file, #restore');
  document.addEventListener('dragover', (event) => { if (!field(event.target)) event.preventDefault(); });
  document.addEventListener('drop', (event) => {
    const files = event.dataTransfer && event.dataTransfer.files;
    if (field(event.target) || !files || !files.length) return;
    event.preventDefault();
    const input = document.querySelector('input[type=file][data-testid^="Restore the settings"]');
    if (!input) return;
    const one = new DataTransfer();
    one.items.add(files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
  });
})();
