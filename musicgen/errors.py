"""The errors that the package raises on purpose.

Each message is one line for the person who caused it: the value, the limit and the likely cause.
The command line prints it and exits with code 2; the demo shows it in the page.
"""


class MusicGenError(Exception):
    """Anything the package refuses to do."""


class InputError(MusicGenError, ValueError):
    """A value that the caller passed: a prompt, a duration, a melody, an option."""


class CheckpointError(MusicGenError):
    """Weights that are unknown, missing, damaged, unsafe to read, or of another shape than their configuration."""
