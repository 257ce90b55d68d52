"""Transcribers: a recording -> its notes.

    pyin           monophonic: the strongest voice (`pyin.py`)
    basic-pitch    polyphonic, by a network whose package is optional (`basic_pitch.py`)

Other modules can add transcribers with `register`.
"""

from musicgen.notes import Note, midi_bytes
from musicgen.transcribers import basic_pitch, pyin
from musicgen.transcribers.registry import DEFAULT, Transcriber, find, installed, names, register

for _provided in (pyin.TRANSCRIBER, basic_pitch.TRANSCRIBER):
    register(_provided)

__all__ = ["DEFAULT", "Note", "Transcriber", "find", "installed", "midi_bytes", "names", "register"]
