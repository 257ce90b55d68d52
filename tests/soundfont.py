"""A tiny General MIDI soundfont in place of 140 MB: sines and noise, after the SoundFont 2.04 specification."""

import itertools
import struct
from pathlib import Path

import numpy as np

PITCH = 69
"""MIDI key of the samples: A4, 440 Hz, of which 100 samples at 44 kHz are a period."""
RATE = 44_000
PERIOD = 100
PROGRAMS = 128
DRUM_BANK = 128
DRUM_KITS = (0, 8, 16, 24, 25, 32, 40, 48)
"""Those of General MIDI 2 that the corpus plays."""

# Generators, by their numbers in section 8.1.2 of the specification.
SUSTAIN, DECAY, RELEASE, INSTRUMENT, SAMPLE, LOOPED, TUNING = 37, 36, 38, 41, 53, 54, 56
SILENCE = 1000
"""Tenths of a decibel: a sustain level that cannot be heard."""


def timecents(seconds: float) -> int:
    return round(1200 * np.log2(seconds))


def waves() -> list[np.ndarray]:
    """A sine with a quiet octave, and a second of noise: float [samples] within ±1."""
    phase = 2 * np.pi * np.arange(12 * PERIOD) / PERIOD
    sine = (np.sin(phase) + 0.25 * np.sin(2 * phase)) / 1.25
    return [sine, np.random.default_rng(0).uniform(-0.8, 0.8, RATE)]


INSTRUMENTS = [
    ("held sine", 0, {RELEASE: timecents(0.1), LOOPED: 1}),
    ("plucked sine", 0, {DECAY: timecents(4.0), SUSTAIN: SILENCE, RELEASE: timecents(0.2), LOOPED: 1}),
    ("noise", 1, {DECAY: timecents(0.6), SUSTAIN: SILENCE, RELEASE: timecents(0.6), TUNING: 0}),
]
"""(name, number of the wave, generators)."""
PLUCKED = {*range(16), *range(24, 40), *range(45, 48), *range(104, 108)}
"""Programs whose tones die away: keyboards and bells, guitars and basses, plucked strings."""


def write(file: Path) -> Path:
    """Writes the soundfont; returns its path."""
    samples, headers = b"", b""
    for name, wave in zip(("sine", "noise"), waves(), strict=True):
        start, length = len(samples) // 2, len(wave)
        samples += (wave * 32_767).astype("<i2").tobytes() + bytes(
            2 * 46
        )  # the silence that the specification asks for
        loop = (start + PERIOD, start + length - PERIOD)
        headers += struct.pack("<20sIIIIIBbHH", name.encode(), start, start + length, *loop, RATE, PITCH, 0, 0, 1)
    headers += struct.pack("<20sIIIIIBbHH", b"EOS", *([0] * 9))

    presets = [(0, program, 1 if program in PLUCKED else 0) for program in range(PROGRAMS)]
    presets += [(DRUM_BANK, kit, 2) for kit in DRUM_KITS]
    phdr = [
        struct.pack("<20sHHHIII", f"{bank}:{program}".encode(), program, bank, index, 0, 0, 0)
        for index, (bank, program, _) in enumerate(presets)
    ]
    inst = [struct.pack("<20sH", name.encode(), index) for index, (name, _, _) in enumerate(INSTRUMENTS)]
    pbag, pgen = zones([[(INSTRUMENT, instrument)] for _, _, instrument in presets])
    ibag, igen = zones([[*generators.items(), (SAMPLE, wave)] for _, wave, generators in INSTRUMENTS])
    chunks = {
        b"phdr": b"".join(phdr) + struct.pack("<20sHHHIII", b"EOP", 0, 0, len(presets), 0, 0, 0),
        b"pbag": pbag,
        b"pmod": bytes(10),
        b"pgen": pgen,
        b"inst": b"".join(inst) + struct.pack("<20sH", b"EOI", len(INSTRUMENTS)),
        b"ibag": ibag,
        b"imod": bytes(10),
        b"igen": igen,
        b"shdr": headers,
    }
    info = (
        chunk(b"ifil", struct.pack("<HH", 2, 4)) + chunk(b"isng", b"EMU8000\0") + chunk(b"INAM", b"Sines and noise\0")
    )
    body = listed(b"INFO", info) + listed(b"sdta", chunk(b"smpl", samples))
    body += listed(b"pdta", b"".join(itertools.starmap(chunk, chunks.items())))
    file.write_bytes(chunk(b"RIFF", b"sfbk" + body))
    return file


def zones(each: list[list[tuple[int, int]]]) -> tuple[bytes, bytes]:
    """Generators of one zone a preset or instrument -> the bag chunk and the generator chunk."""
    starts = itertools.accumulate(map(len, each), initial=0)
    bag = b"".join(struct.pack("<HH", start, 0) for start in starts)
    return bag, b"".join(struct.pack("<Hh", *generator) for zone in each for generator in zone) + bytes(4)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def listed(kind: bytes, content: bytes) -> bytes:
    return chunk(b"LIST", kind + content)
