"""One file a command: its options, and what it does with them. The work is in the modules beside this folder."""
