"""How the page looks: one accent, one column on a phone, light and dark."""

import gradio as gr

CSS = """
.gradio-container { max-width: 1120px !important; margin: 0 auto !important; }
#heading { padding: 4px 2px 0; }
#heading h1 { font-size: 1.75rem; margin: 0; letter-spacing: -0.02em; }
#heading p { margin: 2px 0 0; }
#heading p, #cost, #cost *, #notes, #notes *, figure.sound figcaption { color: var(--body-text-color-subdued); }
#notes, #notes *, #cost, #cost * { font-size: 0.84rem; line-height: 1.5; }
#cost { padding: 0 4px; min-height: 1.3rem; }
#cost p { margin: 0; }
#actions button { min-height: 46px; }
#status, #status > *, #live, #live > * { padding: 0 !important; }
#live:has(.live[hidden]), #measured:not(:has(.figures)):not(:has(p)) { display: none; }
.label-wrap span { text-align: left; }
#notes-part, #notes-part > * { background: transparent; border: none; }
.status { padding: 12px 14px; min-height: 62px; border: 1px solid var(--border-color-primary);
  border-radius: var(--block-radius); background: var(--block-background-fill); }
.status p { margin: 0; color: var(--body-text-color); }
.status .bar { height: 6px; margin-top: 8px; border-radius: 3px; background: var(--border-color-primary);
  overflow: hidden; }
.status .bar div { height: 100%; background: var(--color-accent); transition: width 0.4s; }
figure.sound { margin: 0 0 10px; }
.figures { width: 100%; border-collapse: collapse; font-size: 0.84rem; }
.figures, .figures tr, .figures th, .figures td { border: none !important; }
.figures th, .figures td { text-align: left; padding: 6px 8px; }
.figures tr + tr { border-top: 1px solid var(--border-color-primary) !important; }
.figures td:nth-child(2) { font-variant-numeric: tabular-nums; font-weight: 600; }
figure.sound:last-child { margin-bottom: 0; }
figure.sound img { display: block; width: 100%; height: 74px; border-radius: 6px;
  background: var(--block-background-fill); border: 1px solid var(--border-color-primary); }
figure.sound.chroma img { height: 96px; image-rendering: pixelated; }
figure.sound figcaption { font-size: 0.8rem; margin-bottom: 3px; }
#clips input, #other input { text-overflow: ellipsis; padding-right: 1.8rem; } /* clear of the arrow */
.playback.icon { display: none; }
.timestamps time, .controls span { color: var(--body-text-color-subdued) !important; }
@media (max-width: 640px) {
  .gradio-container > .main { padding: 10px 12px 64px !important; }
  #actions { position: fixed; left: 0; right: 0; bottom: 0; z-index: 20; padding: 6px 12px;
    background: var(--body-background-fill); border-top: 1px solid var(--border-color-primary); }
  #actions button { min-height: 50px; min-width: 90px; }
  #cost { min-height: 2.6rem; }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
"""

HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<script>
// A clip of this program dropped anywhere on the page restores its settings, unless it falls into a field of its own.
(() => {
  // Gradio names its drop areas otherwise than they read, which confuses who speaks to their computer.
  const name = () => document.querySelectorAll('button[aria-label][aria-dropeffect]').forEach((area) => {
    const text = area.innerText.replace(/\\s+/g, ' ').trim();
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
</script>
"""


def theme() -> gr.themes.Base:
    """Gradio's own fonts would come from another server: the visitor's system has some."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
    subdued = {"body_text_color_subdued": "*neutral_600", "body_text_color_subdued_dark": "*neutral_400"}
    return gr.themes.Default(
        primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", radius_size="lg", font=fonts, font_mono=mono
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_shadow="none",
        block_title_text_weight="600",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_400",
        **subdued,
    )
