"""One module for each command: its options, and its calls of the other rooms."""
