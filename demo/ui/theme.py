"""How the page looks: one accent, one column on a phone, light and dark."""

import gradio as gr

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
#heading h1 { font-size: 1.7rem; margin: 0.4rem 0 0; letter-spacing: -0.02em; }
#heading p { margin: 0.1rem 0 0.2rem; color: var(--body-text-color-subdued); }
#notes, #notes * { font-size: 0.85rem; color: var(--body-text-color-subdued); }
#cost, #cost * { font-size: 0.85rem; color: var(--body-text-color-subdued); margin: 0; }
#actions button { min-height: 44px; }
.status { padding: 2px 2px 6px; min-height: 3.2rem; }
.status p { margin: 0 0 6px; }
.status .bar { height: 6px; border-radius: 3px; background: var(--border-color-primary); overflow: hidden; }
.status .bar div { height: 100%; background: var(--color-accent); transition: width 0.4s; }
figure.sound { margin: 0 0 10px; }
figure.sound img { width: 100%; height: 74px; border-radius: 6px; background: var(--background-fill-secondary); }
figure.sound.chroma img { height: 60px; image-rendering: pixelated; }
figure.sound figcaption { font-size: 0.8rem; color: var(--body-text-color-subdued); margin-bottom: 3px; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  #actions button { min-height: 48px; }
  .row { flex-wrap: wrap; }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
"""

HEAD = """
<meta name="viewport" content="width=device-width, initial-scale=1">
<script>
// A clip of this program dropped anywhere on the page restores its settings, unless it falls into a field of its own.
(() => {
  const field = (node) => node.closest && node.closest('#melody-file, #continue-file, #restore');
  document.addEventListener('dragover', (event) => { if (!field(event.target)) event.preventDefault(); });
  document.addEventListener('drop', (event) => {
    const files = event.dataTransfer && event.dataTransfer.files;
    if (field(event.target) || !files || !files.length) return;
    event.preventDefault();
    const input = document.querySelector('#restore input[type=file]');
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
    return gr.themes.Soft(
        primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", font=fonts, font_mono=mono
    ).set(
        block_shadow="none",
        button_primary_shadow="none",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
    )
