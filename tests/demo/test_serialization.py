"""Requests and clips as text in the index: all fields come back."""

import dataclasses
import math
from pathlib import Path

import pytest

from demo import serialization
from musicgen.chords import ChordChart
from musicgen.serving.request import ClipRequest
from musicgen.serving.stored_clip import StoredClip
from musicgen.timeline import TimelineEntry

REQUEST = ClipRequest(
    "drums – “x”", "mini-melody", 3.0, seed=7, variations=2, frames=(0, 11, -1), separate=False,
    chords=ChordChart("C G,E7 Am F", 90.0, "3/4"),
    melody=Path("a b.wav"), timeline=(TimelineEntry(1.0, "strings"), TimelineEntry(2.0, "bass")), loop=True,
    adapters=(("soft", 0.8),), conditions=(("energy", "0.5"),), span=(0.5, 1.5),
)  # fmt: skip


def test_a_request_comes_back() -> None:
    options = dataclasses.replace(REQUEST.options, temperature=0.9, top_p=0.95)
    request = dataclasses.replace(REQUEST, options=options)
    assert serialization.load(ClipRequest, serialization.dump(request)) == request


@pytest.mark.parametrize("loudness", [-14.2, -math.inf])
def test_a_clip_comes_back(loudness: float) -> None:
    """Silence has a loudness that JSON does not have."""
    clip = StoredClip(
        Path("/clips/x.flac"), REQUEST, 8, 3.0, 1, 32_000, loudness, True, (0, 3), marks=("tag",), loop="4 bars"
    )
    assert serialization.load(StoredClip, serialization.dump(clip)) == clip


def test_a_text_of_another_version_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="prompt"):
        serialization.load(ClipRequest, '{"promptt": "drums"}')
