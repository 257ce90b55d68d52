"""Requests: timelines and prompts."""

import pytest

from demo.request import TimelineEntry, clean_prompt, format_timeline, parse_timeline
from musicgen.errors import InputError


def test_a_timeline_is_read_and_written() -> None:
    sections = parse_timeline("0:20 strings only\n\n 7.5s - drums\n1:05.5 end: all\n")
    assert sections == (
        TimelineEntry(7.5, "drums"),
        TimelineEntry(20.0, "strings only"),
        TimelineEntry(65.5, "end: all"),
    )
    assert parse_timeline(format_timeline(sections)) == sections
    for text in ("drums", "0:10", "x:10 drums", "-5 drums"):
        with pytest.raises(InputError, match="not a time and a description"):
            parse_timeline(text)
    with pytest.raises(InputError, match="two lines at 10 s"):
        parse_timeline("0:10 a\n10 b")


def test_a_prompt_is_cleaned() -> None:
    assert clean_prompt(" a\x00b\n\tc\ud800 é 😀 ") == "a b c é 😀"
    assert clean_prompt(None) == ""
    clean_prompt("\ud800").encode()
