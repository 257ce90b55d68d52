"""The demo page: `service` generates the music, `ui` has the Gradio components."""
