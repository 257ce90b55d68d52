"""A span made anew: what is outside stays, the candidates are the model's own, and the one is taken that fits what follows."""

import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import musicgen
from musicgen import audio
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.chords import ChordChart
from musicgen.clip_repainting import span_request
from musicgen.engine import Scheduler
from musicgen.errors import InputError
from musicgen.model import MusicGen
from musicgen.repainting import Repainted, repaint, span_layout
from musicgen.request import GenerationRequest
from musicgen.settings import REPAINTED, STOPPED_EARLY, Settings, SourceFile
from tests import standins
from tests.conftest import GOLDEN

SMALL = "facebook/musicgen-small"
MELODY = GOLDEN / "chroma" / "melody_a.wav"
RATE, HOP = 50, 640


@pytest.fixture(scope="module", autouse=True)
def models(hub_cache: Path, audiocraft_folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tiny random models under the published names."""
    for name, stereo in ((SMALL, False), ("facebook/musicgen-stereo-small", True)):
        folder = standins.write(standins.transformers_model(stereo=stereo), tmp_path_factory.mktemp("model"))
        standins.publish(hub_cache, name, folder)
    standins.publish(hub_cache, "facebook/musicgen-melody", audiocraft_folder("melody"))


@pytest.fixture(scope="module")
def model(models) -> MusicGen:  # noqa: ARG001
    return musicgen.load(SMALL)


@pytest.fixture(scope="module")
def codes(model: MusicGen) -> torch.Tensor:
    """[K, T] of a clip of 3 s."""
    return model.generate_codes(["drums"], 3.0, seed=1)[0]


def likelihood(model: MusicGen, codes: torch.Tensor, begin: int, prompt: str | None) -> float:
    """Mean log-likelihood of the codes from frame `begin` on, step by step with a KV cache: as generation computes it."""
    layout = model.pattern.layout(codes.shape[1])
    sequence = layout.build(codes[None], model.lm.config.special_token)
    conditions = model.guided(GenerationRequest.of_one(prompt, seed=0)).conditions.of(slice(0, 1))
    predict = model.lm.start(conditions, 1, layout.num_steps)
    total, count = 0.0, 0
    with torch.no_grad():
        for step in range(1, layout.num_steps + 1):
            logits = predict(sequence[:, :, step - 1 : step])[0].double().log_softmax(dim=-1)
            for codebook, frame in (layout.steps == step).nonzero().tolist():
                if frame >= begin:
                    total += float(logits[codebook, codes[codebook, frame]])
                    count += 1
    return total / count


def test_only_the_span_changes_and_the_best_candidate_is_taken(model: MusicGen, codes: torch.Tensor) -> None:
    done: list[tuple[int, int]] = []
    made = model.repaint(codes, 1.0, 2.0, "piano", candidates=4, seed=7, progress=lambda *now: done.append(now))
    assert made.span == (50, 100)
    assert made.codes.shape == codes.shape
    torch.testing.assert_close(made.codes[:, :50], codes[:, :50], rtol=0, atol=0)
    torch.testing.assert_close(made.codes[:, 100:], codes[:, 100:], rtol=0, atol=0)
    assert bool((made.codes[:, 50:100] != codes[:, 50:100]).any())
    # Each candidate is the continuation of the left that its seed gives alone.
    assert list(made.log_likelihoods) == [7, 8, 9, 10]
    for seed, found in made.log_likelihoods.items():
        plan = model.plan_generation(GenerationRequest.of_one("piano", 2.0, seed=seed), codes[None, :, :50])
        for _ in model._steps(plan):
            pass
        whole = torch.cat([plan.codes[0], codes[:, 100:]], dim=1)
        assert found == pytest.approx(likelihood(model, whole, 100, "piano"), abs=1e-4)
        if seed == made.seed:
            torch.testing.assert_close(made.codes, whole, rtol=0, atol=0)
    assert made.log_likelihoods[made.seed] == max(made.log_likelihoods.values())
    assert made.original == pytest.approx(likelihood(model, codes, 100, "piano"), abs=1e-4)
    assert done[-1][0] == done[-1][1] == len(done)


def test_more_candidates_fit_no_worse(model: MusicGen, codes: torch.Tensor) -> None:
    """Candidates of a seed are the first ones of a larger number; batches of them change nothing."""
    fits = []
    for count, size in ((1, None), (4, 1), (4, 3), (8, None)):
        made = model.repaint(codes, 1.0, 1.5, "piano", candidates=count, seed=3, batch_size=size)
        fits.append(made.log_likelihoods[made.seed])
    assert fits[0] <= fits[1] == pytest.approx(fits[2], abs=1e-5)
    assert fits[2] <= fits[3] + 1e-5


@pytest.mark.parametrize("name", [SMALL, "facebook/musicgen-stereo-small"])
def test_samples_beyond_the_reach_of_the_decoder_are_those_of_the_clip(name: str) -> None:
    model = musicgen.load(name)
    torch.manual_seed(1)
    wave = torch.rand(model.channels, 3 * 32_000 + 333) - 0.5
    made = model.repaint((wave, 32_000), 1.0, 2.0, "piano", candidates=2, seed=1)
    reach = max(5, model.tokenizer.stream_decoder().delay) * HOP
    assert made.wave.shape == wave.shape
    for kept in (slice(0, 32_000 - reach), slice(64_000 + reach, None)):
        torch.testing.assert_close(made.wave[:, kept], wave[:, kept], rtol=0, atol=0)
    inside = slice(32_000, 64_000)
    torch.testing.assert_close(made.wave[:, inside], model.decode(made.codes[None])[0].cpu()[:, inside], rtol=0, atol=0)
    torch.testing.assert_close(
        made.codes[:, :50], model.tokenizer.encode(wave[None, :, : 150 * HOP])[0, :, :50], rtol=0, atol=0
    )


def drawn(model: MusicGen, clip: torch.Tensor, start: float, end: float, fill: torch.Tensor) -> Repainted:
    """A clip whose only candidate for the span is `fill` [K, n]."""

    def draw(request: GenerationRequest, left: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG001
        return fill[None] if left is None else torch.cat([left, fill[None]], dim=2)

    return repaint(model, clip, start, end, GenerationRequest.of_one("x", seed=0), draw, candidates=1)


def test_a_span_that_stays_as_it_was_leaves_the_clip_as_it_was(model: MusicGen, codes: torch.Tensor) -> None:
    """The identity: the same codes give the same waveform, without a step at the seams."""
    made = drawn(model, codes, 1.0, 2.0, codes[:, 50:100])
    torch.testing.assert_close(made.wave, model.decode(codes[None])[0].cpu(), atol=1e-5, rtol=0)
    assert made.log_likelihoods[0] == pytest.approx(made.original)


def test_the_clip_before_and_behind_is_heard_where_it_was_when_it_becomes_longer(
    model: MusicGen, codes: torch.Tensor
) -> None:
    wave = model.decode(codes[None])[0].cpu()
    made = model.repaint((wave, 32_000), -0.5, 0.0, "piano", candidates=3, seed=2)
    assert made.span == (0, 25)
    assert made.original is None  # nothing was there
    assert len(made.log_likelihoods) == 3
    added, reach = 25 * HOP, max(5, model.tokenizer.stream_decoder().delay) * HOP
    assert made.wave.shape[1] == wave.shape[1] + added
    torch.testing.assert_close(made.wave[:, added + reach :], wave[:, reach:], rtol=0, atol=0)
    encoded = model.tokenizer.encode(wave[None])[0]
    torch.testing.assert_close(made.codes[:, 25:], encoded, rtol=0, atol=0)
    # A span across the beginning makes what was there anew, too.
    across = model.repaint(codes, -0.5, 0.5, "piano", candidates=2, seed=2)
    assert across.span == (0, 50)
    torch.testing.assert_close(across.codes[:, 50:], codes[:, 25:], rtol=0, atol=0)


def test_the_end_of_a_clip_has_nothing_to_fit(model: MusicGen, codes: torch.Tensor) -> None:
    made = model.repaint(codes, 2.0, 3.0, "piano", candidates=8, seed=4)
    assert (made.seed, made.log_likelihoods, made.original) == (4, {}, None)
    torch.testing.assert_close(made.codes[:, :100], codes[:, :100], rtol=0, atol=0)


def test_a_clip_longer_than_the_window(model: MusicGen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is in the window around the span is seen: a change far away changes nothing."""
    monkeypatch.setattr(model, "max_duration", 3.0)
    codes = model.generate_codes(["drums"], 8.0, seed=1)[0]
    made = model.repaint(codes, 4.0, 5.0, "piano", candidates=2, seed=1)
    other = codes.clone()
    other[:, : 3 * RATE] = 0
    other[:, 6 * RATE :] = 1
    again = model.repaint(other, 4.0, 5.0, "piano", candidates=2, seed=1)
    torch.testing.assert_close(made.codes[:, 200:250], again.codes[:, 200:250], rtol=0, atol=0)
    assert made.log_likelihoods == again.log_likelihoods
    near = codes.clone()
    near[:, 3 * RATE :] = near[:, 3 * RATE :].flip(1)
    assert model.repaint(near, 4.0, 5.0, "piano", candidates=2, seed=1).log_likelihoods != made.log_likelihoods


def test_a_melody_goes_on_in_the_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window's conditions are those of its place in the clip: a rotated melody without the part before it is the same."""
    model = musicgen.load("facebook/musicgen-melody")
    monkeypatch.setattr(model, "max_duration", 2.0)
    clip = (torch.rand(1, 6 * 32_000, generator=torch.Generator().manual_seed(1)) - 0.5, 32_000)
    tune = audio.read(MELODY)
    made = model.repaint(clip, 3.5, 4.0, "piano", candidates=2, seed=1, melody=tune, separate=False)
    begin = 2.75  # of the window of 2 s around the span
    codes = model.tokenizer.encode(clip[0][None])[0]
    frames = round(begin * RATE)
    melody = model.melody.prepare(tune, separate=False).shift(frames / RATE)
    plan = model.plan_generation(
        GenerationRequest.of_one(
            "piano", 4.0 - frames / RATE, seed=made.seed, melody=None, conditions={"melody": melody}
        ),
        codes[None, :, frames : round(3.5 * RATE)],
    )
    for _ in model._steps(plan):
        pass
    torch.testing.assert_close(made.codes[:, 175:200], plan.codes[0, :, -25:], rtol=0, atol=0)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_the_window_holds_the_span_and_as_much_around_it_as_fits(data: st.DataObject) -> None:
    context = data.draw(st.integers(60, 1500))
    total = data.draw(st.integers(1, 3000))
    start = data.draw(st.integers(max(-200, RATE - context), total - 1))
    end = data.draw(st.integers(max(0, start + 1), min(total, start + context - RATE)))
    where = span_layout(start / RATE, end / RATE, total, RATE, context)
    whole = total + where.added
    assert where.added == max(0, -start)
    assert (where.start, where.end) == (start + where.added, end + where.added)
    assert 0 <= where.first <= where.start < where.end <= where.last <= whole
    assert where.last - where.first == min(context, whole)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (1.0, 1.0, "the span 1:1 is empty"),
        (2.0, 1.0, "the span 2:1 is empty"),
        (-2.0, -1.0, "the span -2:-1 ends before the clip begins: it must reach 0 s"),
        (2.0, 3.5, "the span 2:3.5 reaches beyond the clip of 3.00 s: to make it longer, continue it"),
        (9.0, 10.0, "reaches beyond the clip"),
        (-40.0, 0.0, "is 40 s long: 29 s at most fit into the model's window"),
        (float("nan"), 1.0, "start is nan: it must be a finite number"),
        (1.0, "x", "end is 'x': it must be a finite number"),
    ],
)
def test_a_span_that_cannot_be(model: MusicGen, codes: torch.Tensor, start: float, end: float, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        model.repaint(codes, start, end, "x", progress=pytest.fail)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": 0}, "candidates is 0: it must be a whole number from 1 to 64"),
        ({"candidates": 65}, "candidates is 65"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"timeline": "0:01 x"}, "a timeline is for a whole clip, and not for a span of it"),
        ({"loop": True}, "a loop is for a whole clip"),
        ({"continue_from": (torch.zeros(1, 3200), 32_000)}, "audio to continue is for a whole clip"),
        (
            {"clip": torch.zeros(3, 100, dtype=torch.int64)},
            "codes are whole numbers [4, frames], not [3, 100] torch.int64",
        ),
        ({"clip": torch.zeros(1, 32_000)}, "codes are whole numbers [4, frames], not [1, 32000] torch.float32"),
        ({"clip": torch.full((4, 100), 64)}, "a code is 64: the codes of this model lie between 0 and 63"),
        ({"clip": (torch.full((1, 64_000), torch.nan), 32_000)}, "the clip holds NaN or infinite samples"),
        ({"clip": (torch.zeros(1, 600), 32_000)}, "the clip is 0.019 s long: a frame of this model is 0.020 s"),
        ({"clip": "missing.wav"}, "missing.wav: no such audio file"),
        ({"melody": MELODY}, "follows text only"),
    ],
)
def test_what_cannot_be_repainted(model: MusicGen, codes: torch.Tensor, arguments: dict, message: str) -> None:
    given = {"clip": codes, "start": 1.0, "end": 1.5, "prompt": "x", "progress": pytest.fail} | arguments
    with pytest.raises(InputError, match=re.escape(message)):
        model.repaint(**given)


def run(*arguments: str | Path | float) -> int:
    return main([str(argument) for argument in arguments])


def test_the_shell_repaints_a_clip_with_its_own_settings(tmp_path: Path, capsys) -> None:
    file = tmp_path / "clip.wav"
    assert run("generate", "drums", "-m", SMALL, "-d", 3, "--seed", 1, "--top-k", 20, "-o", file) == 0
    out = tmp_path / "new.wav"
    assert run("repaint", file, "--span", "1:2", "--seed", 7, "--candidates", 3, "-o", out) == 0
    printed = capsys.readouterr().out.splitlines()[-1]
    found = audio.read(out).wave
    model = musicgen.load(SMALL)
    made = model.repaint(file, 1.0, 2.0, "drums", candidates=3, seed=7, options={"top_k": 20})
    torch.testing.assert_close(found, made.wave.clamp(-1, 1), atol=2 / 32_768, rtol=0)
    torch.testing.assert_close(found[:, :24_000], audio.read(file).wave[:, :24_000], atol=0, rtol=0)
    kept = made.log_likelihoods
    assert (
        f"fit {max(kept.values()):.3f}, the worst of {len(kept)} {min(kept.values()):.3f}, before {made.original:.3f}"
        in printed
    )
    stored = Settings.of_file(out)
    assert (stored.prompt, stored.options.top_k, stored.seed) == ("drums", 20, made.seed)
    assert stored.beyond == ("the span 1:2 of clip.wav made anew",)

    assert run("generate", "--from-file", out, "-o", tmp_path / "again.wav") == 2
    assert "a span of another clip was made anew in it: musicgen repaint makes it again" in capsys.readouterr().err

    assert run("repaint", file, "strings", "--span", "-0.5:0", "--candidates", 2, "-o", tmp_path / "longer.flac") == 0
    assert audio.read(tmp_path / "longer.flac").duration == pytest.approx(3.5)
    assert Settings.of_file(tmp_path / "longer.flac").prompt == "strings"


def test_the_shell_takes_any_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write("tune.ogg", Audio(audio.read(MELODY).wave[:, :96_000], 32_000))
    assert run("repaint", "tune.ogg", "--span=1:1.5", "-m", SMALL, "--seed", 2, "--candidates", 1) == 0
    (made,) = (tmp_path / "outputs").iterdir()
    assert made.name == "00-tune-1-1-5-2.wav"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip.wav", "--span", "8"], "'8' is no span: it must be START:END in seconds, like 8:12 or -4:0"),
        (["clip.wav", "--span", "a:b"], "'a:b' is no span"),
        (["clip.wav", "--span"], "expected one argument"),
        (["clip.wav", "--span", "2:9"], "the span 2:9 reaches beyond the clip of 3.00 s"),
        (
            ["clip.wav", "--span", "1:2", "-o", "clip.wav"],
            "clip.wav is the clip itself, which it would overwrite",
        ),
        (["missing.wav", "--span", "1:2"], "missing.wav: no such audio file"),
        (["clip.wav", "--span", "1:2", "--candidates", "0"], "candidates is 0"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write("clip.wav", Audio(torch.rand(1, 96_000) - 0.5, 32_000))
    code = run("repaint", *arguments, "-m", SMALL)
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


def test_the_scheduler_makes_the_same_span_beside_other_clips(model: MusicGen, codes: torch.Tensor) -> None:
    alone = model.repaint(codes, 1.0, 1.5, "piano", candidates=5, seed=3)
    done: list[tuple[int, int]] = []
    with Scheduler(model, slots=2) as scheduler:
        other = scheduler.submit("drums", 2.0, seed=9)
        made = scheduler.repaint(codes, 1.0, 1.5, "piano", candidates=5, seed=3, progress=lambda *now: done.append(now))
        assert other.result().shape[1] == 64_000
        torch.testing.assert_close(made.codes, alone.codes, rtol=0, atol=0)
        assert made.log_likelihoods == pytest.approx(alone.log_likelihoods)
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]
        cancellation = Cancellation()
        cancellation.cancel()
        with pytest.raises(Cancelled):
            scheduler.repaint(codes, 1.0, 1.5, "piano", cancellation=cancellation)


def test_models_in_passes_are_refused(model: MusicGen, codes: torch.Tensor) -> None:
    class Passes(type(model.generator)):
        autoregressive = False

    kept = model.generator
    try:
        model.generator = Passes()
        with pytest.raises(InputError, match="generates in passes over all frames"):
            model.repaint(codes, 1.0, 2.0, "x")
    finally:
        model.generator = kept


CHORDS = "C G,E7 Am F"


@pytest.fixture(scope="module")
def melody_model(models) -> MusicGen:  # noqa: ARG001
    return musicgen.load("facebook/musicgen-melody")


def test_the_shell_and_python_keep_the_chords_of_a_clip(melody_model: MusicGen, tmp_path: Path, capsys) -> None:
    """The same codes as with the chords given, other ones than without them; and a span made anew twice keeps them."""
    file, out, again = (tmp_path / f"{name}.wav" for name in ("clip", "new", "again"))
    made = ("-m", "facebook/musicgen-melody", "--seed", 1)
    assert run("generate", "drums", *made, "-d", 3, "--chords", CHORDS, "--bpm", 200, "-o", file) == 0
    assert run("repaint", file, "--span", "1:2", "--seed", 7, "--candidates", 2, "-o", out) == 0
    assert "warning" not in capsys.readouterr().err
    arguments = {"candidates": 2, "seed": 7}
    given = melody_model.repaint(file, 1.0, 2.0, "drums", chords=CHORDS, bpm=200, **arguments)
    own = musicgen.repaint_clip(melody_model, file, 1.0, 2.0, **arguments)
    torch.testing.assert_close(own.codes, given.codes, rtol=0, atol=0)
    assert own.log_likelihoods == given.log_likelihoods
    assert melody_model.repaint(file, 1.0, 2.0, "drums", **arguments).log_likelihoods != own.log_likelihoods
    torch.testing.assert_close(audio.read(out).wave, own.wave.clamp(-1, 1), atol=2 / 32_768, rtol=0)
    stored = Settings.of_file(out)
    assert stored.chords == ChordChart(CHORDS, 200)
    assert run("repaint", out, "--span", "0:1", "--bpm", 100, "--candidates", 1, "-o", again) == 0
    assert Settings.of_file(again).chords == ChordChart(CHORDS, 100)
    # What is given comes first.
    other = musicgen.repaint_clip(melody_model, file, 1.0, 2.0, "piano", chords="D", options={"top_k": 3}, **arguments)
    expected = melody_model.repaint(file, 1.0, 2.0, "piano", chords="D", options={"top_k": 3}, **arguments)
    assert other.log_likelihoods == expected.log_likelihoods


def test_what_a_clip_was_made_with_and_is_not_given_is_a_warning(
    melody_model: MusicGen, tmp_path: Path, capsys
) -> None:
    file, out = tmp_path / "clip.wav", tmp_path / "new.wav"
    made = ("-m", "facebook/musicgen-melody", "--seed", 1, "--no-separation")
    assert run("generate", "drums", *made, "-d", 2, "--melody", MELODY, "-o", file) == 0
    said = f"{file} was made with the melody 'melody_a.wav', which is not given: the span follows the rest alone"
    command = ("repaint", file, "--span", "1:1.5", "--seed", 7, "--candidates", 2)
    capsys.readouterr()
    assert run(*command, "-o", out) == 0
    assert capsys.readouterr().err.splitlines()[0] == f"warning: {said}"
    assert Settings.of_file(out).melody is None
    with pytest.warns(UserWarning, match=re.escape(said)):
        alone = musicgen.repaint_clip(melody_model, file, 1.0, 1.5, seed=7, candidates=2)
    expected = melody_model.repaint(file, 1.0, 1.5, "drums", seed=7, candidates=2)
    assert alone.log_likelihoods == expected.log_likelihoods
    assert run(*command, "--melody", MELODY, "-o", out, "--force") == 0
    assert "warning" not in capsys.readouterr().err
    stored = Settings.of_file(out)
    assert (stored.melody.name, stored.separate) == ("melody_a.wav", False)
    followed = melody_model.repaint(file, 1.0, 1.5, "drums", seed=7, candidates=2, melody=str(MELODY), separate=False)
    torch.testing.assert_close(audio.read(out).wave, followed.wave.clamp(-1, 1), atol=2 / 32_768, rtol=0)
    # An error is said alone: what is missing matters to a span that is made.
    assert run(*command, "-o", out) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {out} is there already: choose another --output, or pass --force to replace it"
    ]


def test_chords_are_in_time_before_the_beginning(melody_model: MusicGen) -> None:
    """A clip that is made longer at its beginning by a progression has the chords that a clip of that length has."""
    clip = (torch.rand(1, 3 * 32_000, generator=torch.Generator().manual_seed(1)) - 0.5, 32_000)
    chart = ChordChart("C F", bpm=240)  # a progression of 2 s
    assert chart.seconds == 2
    seen: list[torch.Tensor] = []

    def draw(request: GenerationRequest, left: torch.Tensor | None) -> torch.Tensor:
        assert left is None
        seen.append(request.conditions["melody"].chroma(40))
        return torch.zeros(1, 4, round(request.duration * RATE), dtype=torch.int64)

    for start in (-2.0, -1.0):
        repaint(melody_model, clip, start, 0.0, GenerationRequest.of_one("x", seed=0, melody=chart), draw, candidates=1)
    step = 4096 / 32_000
    for before, found in zip((2.0, 1.0), seen, strict=True):
        times = [Fraction(index) * Fraction(step) - Fraction(before) for index in range(40)]
        wanted = [sorted(classes) for classes in chart.at(times)]
        heard = [frame.nonzero()[:, 0].tolist() for frame in found]
        # A chord begins within a frame of its time.
        late = [index for index in range(40) if heard[index] not in wanted[max(0, index - 1) : index + 2]]
        assert not late
        assert sum(one == two for one, two in zip(heard, wanted, strict=True)) >= 35


@pytest.mark.parametrize(("start", "expected"), [(-1.0, "drums"), (0.0, "drums"), (1.9, "drums"), (2.0, "strings")])
def test_a_span_follows_the_description_of_its_time(start: float, expected: str) -> None:
    stored = Settings("0", SMALL, "drums", 3.0, 1, timeline="0:02 strings", conditions={"energy": "0.5"})
    wanted = span_request(stored, start)
    assert (wanted.request.prompts, wanted.request.conditions, wanted.missing) == ((expected,), {"energy": "0.5"}, ())
    assert not wanted.request.timeline
    other = span_request(stored, start, "piano", conditions={"energy": "1"})
    assert (other.request.prompts, other.request.conditions) == (("piano",), {"energy": "1"})


def test_files_and_edits_that_made_a_clip_are_missing() -> None:
    stored = Settings(
        "0", SMALL, "drums", 3.0, 1, conditions={"style": SourceFile("song.mp3", "0" * 64)},
        beyond=("the melody as the page's editor had it", STOPPED_EARLY, f"the span 1:2 {REPAINTED}"),
    )  # fmt: skip
    wanted = span_request(stored, 0.0)
    assert wanted.missing == ("the melody as the page's editor had it", "the style 'song.mp3'")
    assert span_request(stored, 0.0, style="other.mp3").missing == ("the melody as the page's editor had it",)
    assert span_request(None, 0.0, "x").missing == ()
    stranger = Settings("0", SMALL, "drums", 3.0, 1, conditions={"style": str(MELODY), "energy": "1"})
    assert span_request(stranger, 0.0).request.conditions == {"energy": "1"}
    assert span_request(stranger, 0.0).missing == (f"the style {str(MELODY)!r}",)
