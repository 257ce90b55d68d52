"""Theme, style sheet and scripts of the page."""

import gradio as gr

from . import assets

CSS = assets.read("page.css")

HEAD = f"""
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
/* Gradio hides its link to the API on phones and leaves the divider; the page's own CSS does not reach the footer. */
@media (width <= 640px) {{ footer .divider {{ display: none !important; }} }}
</style>
<script>
{assets.read("event_stream.js")}</script>
<script>
{assets.read("page.js")}</script>
"""


def theme() -> gr.themes.Base:
    """Gradio's default theme with system fonts, because Gradio's own fonts would be downloaded from another server."""
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
