"""Requests: timelines and prompts."""

import contextlib
from pathlib import Path

import pytest

from musicgen.errors import InputError
from musicgen.serving.limits import Limits
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest, clean_prompt, parse_timeline, validate
from musicgen.timeline import TimelineEntry


def test_the_prompts_of_a_timeline_are_cleaned() -> None:
    assert parse_timeline("0:20 strings\t\x00 only") == (TimelineEntry(20.0, "strings only"),)
    assert parse_timeline(None) == ()
    with pytest.raises(InputError, match="not a time and a description"):
        parse_timeline("drums")


def test_a_prompt_is_cleaned() -> None:
    assert clean_prompt(" a\x00b\n\tc\ud800 é 😀 ") == "a b c é 😀"
    assert clean_prompt(None) == ""
    clean_prompt("\ud800").encode()


@pytest.mark.parametrize(
    ("span", "is_empty"), [((-1.0, 0.0), False), ((0.0, 1.0), False), ((2.0, 1.0), True), ((-2.0, -1.0), True)]
)
def test_a_span_may_lie_before_the_beginning(span: tuple[float, float], is_empty: bool) -> None:
    request = ClipRequest("drums", "mini", continue_from=Path("clip.flac"), span=span)
    with pytest.raises(InputError, match="is empty") if is_empty else contextlib.nullcontext():
        validate(request, Limits(), ModelCatalog())
