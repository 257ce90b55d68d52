"""The demo page: `service` generates the music, `ui` contains the Gradio components."""
