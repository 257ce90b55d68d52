"""Timelines of prompts, the sections of a clip, and loops."""

import time

import pytest
import torch

import musicgen
from musicgen import audio, sections
from musicgen.audio import Audio
from musicgen.engine import Scheduler
from musicgen.errors import InputError
from musicgen.loops import make_loop
from musicgen.request import GenerationRequest
from musicgen.timeline import TimelineEntry, format_timeline, parse, prompt_schedule
from tests.conftest import GOLDEN

TUNE = GOLDEN / "chroma" / "melody_a.wav"
MELODIES = {
    "nothing": {},
    "chroma frames": {"melody": torch.nn.functional.one_hot(torch.arange(12), 12).float()},
    "a recording": {"melody": TUNE, "separate": False},
}


@pytest.fixture(scope="module")
def model() -> musicgen.MusicGen:
    return musicgen.load("mini-melody", "cpu", "float32")


def test_a_timeline_is_parsed_and_formatted() -> None:
    entries = parse("0:20 strings only\n\n 7.5s - drums\n1:05.5 end: all\n90 2/4 time, piano | bass")
    assert entries == (
        TimelineEntry(7.5, "drums"),
        TimelineEntry(20.0, "strings only"),
        TimelineEntry(65.5, "end: all"),
        TimelineEntry(90.0, "2/4 time, piano | bass"),
    )
    assert parse(format_timeline(entries)) == entries
    assert parse("0:lofi|20:drum and bass | 1:30: 808s") == (
        TimelineEntry(0.0, "lofi"),
        TimelineEntry(20.0, "drum and bass"),
        TimelineEntry(90.0, "808s"),
    )
    assert parse("12 strings") == (TimelineEntry(12.0, "strings"),)
    assert parse("12 s strings") == (TimelineEntry(12.0, "strings"),)


@pytest.mark.parametrize(
    "text", ["drums", "0:10", "x:10 drums", "-5 drums", "10drums", "1" + " " * 50_000, "1:" + "2" * 99]
)
def test_what_is_no_timeline_is_one_short_line(text: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="is not a time and a description") as caught:
        parse(text)
    assert len(str(caught.value)) < 200
    assert time.monotonic() - start < 1


def test_times_that_cannot_be() -> None:
    with pytest.raises(InputError, match="two entries at 10 s"):
        parse("0:10 a|10 b")
    with pytest.raises(InputError, match="100001 characters: 100000 at most"):
        parse("x" * 100_001)
    with pytest.raises(InputError, match="an entry at 12 s, but the clip is 10 s long"):
        GenerationRequest.of("a", 10.0, timeline=[(12, "b")])
    with pytest.raises(InputError, match="nan"):
        GenerationRequest.of("a", 10.0, timeline=[(float("nan"), "b")])
    with pytest.raises(InputError, match=r"'strings' is not \(seconds, prompt\)"):
        GenerationRequest.of("a", 10.0, timeline=["strings"])


def test_the_schedule_begins_at_zero() -> None:
    entries = (TimelineEntry(10.0, "b"), TimelineEntry(30.0, "c"))
    assert prompt_schedule("a", entries, 20.0) == (TimelineEntry(0.0, "a"), TimelineEntry(10.0, "b"))
    assert prompt_schedule("a", (TimelineEntry(0.0, "z"),), 20.0) == (TimelineEntry(0.0, "z"),)
    assert prompt_schedule(None, (), 20.0) == (TimelineEntry(0.0, ""),)


def test_sections_of_a_timeline() -> None:
    request = GenerationRequest.of("a", 40.0, timeline="10 b|30 c")
    assert sections.plan_sections(request, 50.0, 30.0) == [
        sections.Section(0, 500, 0, "a"),
        sections.Section(500, 1500, 500, "b"),
        sections.Section(1500, 2000, 600, "c"),
    ]
    assert sections.plan_sections(request, 50.0, 30.0, continued_seconds=12.0) == [
        sections.Section(0, 1500, 0, "b"),
        sections.Section(1500, 2000, 600, "c"),
    ]


@pytest.mark.parametrize("over", MELODIES)
def test_the_sections_of_a_timeline_are_one_clip(model: musicgen.MusicGen, over: str) -> None:
    plain = {"seed": 1, **MELODIES[over]}
    steps: list[tuple[int, int]] = []
    timeline = "1 b|2 c"
    wave = model.generate("a", 3.0, timeline=timeline, progress=lambda *step: steps.append(step), **plain)[0]
    assert wave.shape == (1, 96_000)
    assert steps[-1] == (150, 150)
    assert [one for one, _ in steps] == sorted(one for one, _ in steps)
    # Until the first change it is what the first prompt alone gives, and after it other music.
    assert wave[:, :32_000].equal(model.generate("a", 1.0, **plain)[0])
    assert not wave[:, 64_000:].equal(model.generate("a", 3.0, **plain)[0][:, 64_000:])
    # Streams of the model and of the scheduler are the same clip, whatever the length of their chunks.
    for chunk in (0.5, 0.7):
        streamed = torch.cat(list(model.stream("a", 3.0, chunk=chunk, timeline=timeline, **plain)), dim=1)
        assert (streamed - wave).abs().max() < 1e-5
    with Scheduler(model, slots=1) as scheduler:
        streamed = torch.cat(list(scheduler.stream("a", 3.0, timeline=timeline, **plain)), dim=1)
    assert (streamed - wave).abs().max() < 1e-5
    if over == "nothing":
        two = model.generate(["x", "a"], 3.0, timeline=timeline, seed=[7, 1])
        assert two.shape == (2, 1, 96_000)
        assert (two[1] - wave).abs().max() < 1e-5


def test_a_section_is_a_continuation_of_the_codes_before_it(model: musicgen.MusicGen) -> None:
    """The second section by hand: the loop of `generate_codes` with the first one's codes as the prompt."""
    wave = model.generate("a", 2.0, timeline="1 b", seed=1)
    first = model.generate_codes("a", 1.0, seed=1)
    plan = model.plan_generation(GenerationRequest.of("b", 2.0, seed=2), first)
    list(model._steps(plan))
    second = model.decode(plan.codes)
    # After the fade, and outside the reach of what the decoder saw otherwise.
    assert (wave[:, :, 33_000:] - second[:, :, 33_000:]).abs().max() < 1e-5
    assert plan.codes[:, :, :50].equal(first)


def test_a_continuation_with_a_timeline_begins_with_the_audio(model: musicgen.MusicGen) -> None:
    given = Audio(audio.read(TUNE).wave[:, :16_000], 32_000)
    for value in (given, [given]):
        wave = model.generate("a", 2.0, seed=1, continue_from=value, timeline=[(1.0, "b")])[0]
        assert wave[:, :32_000].equal(model.generate("a", 1.0, seed=1, continue_from=given)[0])
    with pytest.raises(InputError, match="2 clips to continue for 3 prompts"):
        model.generate(["a", "b", "c"], 2.0, continue_from=[given, given], timeline="1 b")


def test_a_melody_goes_on_where_the_section_begins(model: musicgen.MusicGen) -> None:
    melody = model.melody.prepare(TUNE, separate=False)
    assert model.melody.shift(melody, 1.0).wave.equal(melody.wave.roll(-32_000))
    frames = model.melody.prepare(torch.nn.functional.one_hot(torch.arange(12), 12).float())
    assert model.melody.shift(frames, 3 * 4096 / 32_000).frames.argmax(1).tolist() == [*range(3, 12), 0, 1, 2]
    assert model.melody.prepare(melody) is melody


def test_codes_have_no_timeline_and_streams_no_loop(model: musicgen.MusicGen) -> None:
    with pytest.raises(InputError, match=r"a timeline is made of waveforms: use MusicGen\.generate"):
        model.generate_codes("a", 2.0, timeline="1 b")
    for arguments in ({"loop": True}, {"loop": True, "timeline": "1 b"}):
        with pytest.raises(InputError, match="made of waveforms"):
            model.stream("a", 2.0, **arguments)
    with pytest.raises(InputError, match=r"x\.wav"):
        model.stream("a", 2.0, timeline="1 b", melody="x.wav")  # at once, not with the first chunk


def test_the_step_between_two_sections_fades_out() -> None:
    after = sections.fade_step(torch.tensor([[0.5]]), torch.zeros(1, 3_200), 32_000)
    assert after[0, 0] == 0.5
    assert after.diff().abs().max() < 0.01
    assert after[0, 320:].abs().max() == 0


def test_a_loop_ends_where_it_begins(model: musicgen.MusicGen) -> None:
    t = torch.arange(320_000) / 32_000
    rising = Audio((t / 10)[None], 32_000)
    loop = make_loop(rising)
    assert loop.duration == 9.0
    assert abs(float(loop.wave[0, 0] - loop.wave[0, -1])) < 0.001
    waves = model.generate(["a", "b"], 2.0, seed=3, loop=True)
    plain = model.generate(["a", "b"], 2.0, seed=3)
    assert waves.shape == (2, 1, 48_000)
    assert waves[1].equal(make_loop(Audio(plain[1], 32_000)).wave)
    sectioned = {"seed": 3, "timeline": "1 b"}
    plain = model.generate("a", 2.0, **sectioned)
    assert model.generate("a", 2.0, loop=True, **sectioned)[0].equal(make_loop(Audio(plain[0], 32_000)).wave)
