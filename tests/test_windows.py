"""Whole frames, exactly, for every duration."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.errors import InputError
from musicgen.tokenizers import frames_of
from musicgen.windows import Window, plan

ENCODEC = SimpleNamespace(sample_rate=32_000, hop=640)


def check(windows: list[Window], total: int, known: int, context: int) -> None:
    made = known
    for window in windows:
        assert 0 < window.length <= context
        assert window.start + window.known == made  # continues where the last one ended
        assert window.known < window.length  # and adds something
        made = window.start + window.length
    assert made == total


def test_every_duration_to_two_minutes_gives_the_frames_asked_for() -> None:
    for fiftieths in range(5, 6001):
        for duration in (fiftieths / 50, round(fiftieths * 0.02, 2), float(f"{fiftieths * 2 / 100:.2f}")):
            assert frames_of(ENCODEC, duration) == fiftieths
        check(plan(fiftieths, 0, context=1500, stride=900), fiftieths, 0, 1500)


def test_windows_are_the_references() -> None:
    # 0.64 s windows, stride 0.32 s, 1.12 s at 50 Hz: 32, 32 and 24 frames, prompted by the previous window's last 16.
    assert plan(56, 0, context=32, stride=16) == [Window(0, 32, 0), Window(16, 32, 16), Window(32, 24, 16)]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_windows_cover_the_piece(data: st.DataObject) -> None:
    context = data.draw(st.integers(1, 100))
    stride = data.draw(st.integers(1, context))
    total = data.draw(st.integers(1, 1000))
    known = data.draw(st.integers(0, total - 1))
    check(plan(total, known, context, stride), total, known, context)


def test_nothing_left_to_generate() -> None:
    with pytest.raises(InputError, match="50 frames are given of a clip of 50"):
        plan(50, 50, 1500, 900)
