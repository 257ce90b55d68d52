"""Requests: timelines and prompts."""

import pytest

from musicgen.errors import InputError
from musicgen.serving.request import clean_prompt, parse_timeline
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
