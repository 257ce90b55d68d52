"""The web page: `service` makes the music, `ui` holds the widgets."""
