"""Audio folders in, tables out: reads files, and never holds a model."""
