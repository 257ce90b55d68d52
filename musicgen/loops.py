"""Seamless loops: clips that are cut at bar lines by their measured beats, or that keep as much of the clip as possible."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from musicgen import rhythm
from musicgen.audio import Audio
from musicgen.chords import ChordChart
from musicgen.errors import InputError
from musicgen.options import check_loop_bars

CROSSFADE_SECONDS = 1.0
BEATS_PER_BAR = 4
"""Where no metre is known."""


@dataclass(frozen=True)
class Loop:
    """A clip that repeats. bpm, bars: as measured, None where it was not cut at bars."""

    audio: Audio
    bpm: float | None = None
    bars: int | None = None

    @property
    def text(self) -> str:
        """Its bars and tempo as text."""
        return "" if self.bpm is None else f"{self.bars} bar{'s' if self.bars != 1 else ''} at {self.bpm:.1f} bpm"

    @property
    def measured(self) -> dict[str, float]:
        """The values that a file's settings store."""
        return {} if self.bpm is None or self.bars is None else {"bpm": round(self.bpm, 2), "bars": self.bars}


def beats_of(chart: ChordChart | None) -> int:
    """The beats of a bar of a chart: in 3/4 3, in 6/8 and 12/8 2 and 4 dotted ones; BEATS_PER_BAR without a chart."""
    if chart is None:
        return BEATS_PER_BAR
    number, unit = map(int, chart.metre.split("/"))
    return number // 3 if unit == 8 and number % 3 == 0 else number


def make_loop(audio: Audio, seconds: float = CROSSFADE_SECONDS) -> Audio:
    """Make a clip a seamless loop: an equal-power crossfade of its end into its beginning.

    Args:
        audio: The clip.
        seconds: Length of the crossfade, at most a quarter of the clip.

    Returns:
        The loop, shorter than the clip by the crossfade.
    """
    length = min(round(seconds * audio.rate), audio.wave.shape[1] // 4)
    if length < 2:
        return audio
    angle = torch.linspace(0, torch.pi / 2, length)
    head, tail = audio.wave[:, :length].cpu(), audio.wave[:, -length:].cpu()
    mixed = head * angle.sin() + tail * angle.cos()
    return Audio(torch.cat([mixed, audio.wave[:, length:-length].cpu()], dim=1), audio.rate)


def cut_at_bars(audio: Audio, bars: int | None = None, beats_per_bar: int = BEATS_PER_BAR) -> Loop:
    """Make a clip a seamless loop of whole bars, which begins on a beat.

    Args:
        audio: The clip.
        bars: Of the loop; None for the largest power of two that fits.
        beats_per_bar: Of the metre.

    Returns:
        The loop. Its length is exactly `bars` bars at its bpm; up to a beat of what surrounds it is mixed into the seam.

    Raises:
        InputError: No beats are heard, or the clip is shorter than that.
    """
    check_loop_bars(bars)
    beats = rhythm.measure(audio)
    if beats is None:
        raise InputError("no beats are heard in the clip: its end can be looped into its beginning instead")
    bar = beats.period * beats_per_bar
    fitting = int((audio.duration - beats.first) / bar + 1e-6)
    if fitting < (bars or 1):
        raise InputError(
            f"{bars or 1} bar{'s' if (bars or 1) > 1 else ''} take {(bars or 1) * bar:.2f} s at {beats.bpm:.1f} bpm, "
            f"and from its first beat on the clip has {audio.duration - beats.first:.2f} s: make it longer"
        )
    count = bars or 1 << (fitting.bit_length() - 1)
    wave = audio.wave.cpu()
    start, length = round(beats.first * audio.rate), round(count * bar * audio.rate)
    end = min(start + length, wave.shape[1])
    start = end - length if end - length >= 0 else 0
    loop = wave[:, start:end].clone()
    beat = round(beats.period * audio.rate)
    behind, ahead = min(beat, wave.shape[1] - end), min(beat, start)
    # What goes on behind the loop fades into its beginning, or what leads to it into its end, whichever is longer.
    if behind >= ahead and behind > 1:
        loop[:, :behind] = _crossfaded(wave[:, end : end + behind], loop[:, :behind])
    elif ahead > 1:
        loop[:, -ahead:] = _crossfaded(loop[:, -ahead:], wave[:, start - ahead : start])
    return Loop(Audio(loop, audio.rate), beats.bpm, count)


def _crossfaded(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """From one sound to another [C, T], of even power: two bars of the same music are alike, and would be louder where they
    overlap."""
    angle = torch.linspace(0, torch.pi / 2, first.shape[1])
    norms = float(first.norm() * second.norm())
    likeness = max(0.0, float((first * second).sum()) / norms) if norms > 0 else 0.0
    return (first * angle.cos() + second * angle.sin()) / (1 + likeness * (2 * angle).sin()).sqrt()
