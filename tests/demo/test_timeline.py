"""Sections of a timeline, and loops."""

import dataclasses
from pathlib import Path

import pytest
import torch

from demo import timeline
from demo.request import PageRequest, TimelineEntry
from musicgen import audio
from musicgen.audio import Audio
from musicgen.engine import Scheduler
from tests.conftest import GOLDEN

TUNE = GOLDEN / "chroma" / "melody_a.wav"


def test_sections_of_a_timeline() -> None:
    request = PageRequest("a", "mini", 40.0, timeline=(TimelineEntry(10.0, "b"), TimelineEntry(30.0, "c")))
    assert timeline.plan_sections(request, 50.0, 30.0) == [
        timeline.Section(0, 500, 0, "a"),
        timeline.Section(500, 1500, 500, "b"),
        timeline.Section(1500, 2000, 600, "c"),
    ]
    assert timeline.plan_sections(request, 50.0, 30.0, continued_seconds=12.0) == [
        timeline.Section(0, 1500, 0, "b"),
        timeline.Section(1500, 2000, 600, "c"),
    ]


@pytest.mark.parametrize("over", ["nothing", "a melody", "a continuation"])
def test_the_sections_of_a_timeline_are_one_clip(tmp_path: Path, over: str) -> None:
    from musicgen import checkpoint

    scheduler = Scheduler(checkpoint.load("mini-melody", "cpu"), slots=1, chunk=timeline.CHUNK_SECONDS)
    audio.write(tmp_path / "begun.wav", Audio(audio.read(TUNE).wave[:, :16_000], 32_000))
    given = {"a melody": {"frames": tuple(range(12))}, "a continuation": {"continue_from": tmp_path / "begun.wav"}}
    plain = PageRequest("a", "mini-melody", 1.0, **given.get(over, {}))
    request = dataclasses.replace(plain, duration=3.0, timeline=(TimelineEntry(1.0, "b"), TimelineEntry(2.0, "c")))
    steps: list[tuple[int, int]] = []
    wave = torch.cat(list(timeline.stream(scheduler, request, 1, lambda *step: steps.append(step))), dim=1)
    assert wave.shape == (1, 96_000)
    assert steps[-1] == (150, 150)
    assert [one for one, _ in steps] == sorted(one for one, _ in steps)
    # until the first change it is what the description alone gives
    alone = torch.cat(list(timeline.stream(scheduler, plain, 1, lambda *_: None)), dim=1)
    assert wave[:, :32_000].equal(alone)
    # and after it something else: the same piece goes on otherwise under one description
    same = torch.cat(
        list(timeline.stream(scheduler, dataclasses.replace(plain, duration=3.0), 1, lambda *_: None)), dim=1
    )
    assert not wave[:, 64_000:].equal(same[:, 64_000:])
    scheduler.close()


def test_the_step_between_two_sections_fades_out() -> None:
    after = timeline._fade_step(torch.tensor([[0.5]]), torch.zeros(1, 3_200), 32_000)
    assert after[0, 0] == 0.5
    assert after.diff().abs().max() < 0.01
    assert after[0, 320:].abs().max() == 0


def test_a_loop_ends_where_it_begins() -> None:
    t = torch.arange(320_000) / 32_000
    rising = Audio((t / 10)[None], 32_000)
    loop = timeline.make_loop(rising)
    assert loop.duration == 9.0
    assert abs(float(loop.wave[0, 0] - loop.wave[0, -1])) < 0.001
