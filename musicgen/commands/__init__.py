"""The command line, one module per command: `add_arguments` defines its arguments, `run` executes it."""
