"""One module per command: its options, and its calls of the other subpackages."""
