"""Several takes, best first: the same clips as alone, in the order of the evaluation's own scores."""

import re
import sys
from pathlib import Path

import pytest
import torch

import musicgen
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.metrics.chroma_similarity import agreement
from evaluation.pipeline import scoring
from evaluation.suites.items import Item
from evaluation.suites.suite import load_suite
from musicgen import audio, chroma, optional_packages, ranking
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.chords import ChordChart
from musicgen.engine import batch_size
from musicgen.errors import InputError
from musicgen.ranking import RANKERS, MelodyRanker
from musicgen.request import GenerationRequest
from musicgen.samples import Writer
from musicgen.settings import Settings
from tests.conftest import GOLDEN

SMALL = "facebook/musicgen-small"
MELODY = GOLDEN / "chroma" / "melody_a.wav"
PROMPT = "slow calm piano music"
pytestmark = pytest.mark.usefixtures("published_models")


def run(*arguments: str | Path | float) -> int:
    return main([str(argument) for argument in arguments])


def clap_scores(folder: Path, clips: dict[str, Audio]) -> dict[str, float]:
    """The CLAP scores by the evaluation's own pipeline, from files."""
    writer, items = Writer(folder / "clips", "takes"), []
    for name, clip in clips.items():
        writer.add(name, clip, prompt=PROMPT)
        audio.write(folder / f"{name}.flac", clip)
        items.append(Item(name, PROMPT, folder / f"{name}.flac"))
    cache = Cache(folder / "cache")
    results = scoring.score(load_suite("synth"), items, [folder / "clips"], Embedders(), cache, metrics=["clap_mini"])
    return dict(results.systems[0].score("clap_mini").clips)


def test_takes_are_the_clips_of_their_seeds_in_the_order_of_the_evaluation(tmp_path: Path) -> None:
    model = musicgen.load("mini")
    done: list[tuple[int, int]] = []
    found = musicgen.generate_takes(model, PROMPT, 2.0, takes=4, seed=5, progress=lambda *now: done.append(now))
    assert sorted(take.seed for take in found) == [5, 6, 7, 8]
    for take in found:
        torch.testing.assert_close(take.wave, model.generate([PROMPT], 2.0, seed=take.seed)[0], atol=1e-4, rtol=0)
    scores = clap_scores(tmp_path, {str(take.seed): Audio(take.wave, model.sample_rate) for take in found})
    assert [take.seed for take in found] == sorted((5, 6, 7, 8), key=lambda seed: -scores[str(seed)])
    for take in found:
        assert take.score == pytest.approx(scores[str(take.seed)], abs=1e-3)  # files have 16 bits
    assert done[-1][0] == done[-1][1]
    assert done == sorted(done)


def test_takes_that_do_not_fit_into_memory_at_once_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = musicgen.load(SMALL)
    whole = musicgen.generate_takes(model, "drums", 0.5, takes=5, rank="none", seed=1)
    monkeypatch.setattr(batch_size, "MOST_ON_CPU", 2)
    done: list[tuple[int, int]] = []
    part = musicgen.generate_takes(
        model, "drums", 0.5, takes=5, rank="none", seed=1, progress=lambda *now: done.append(now)
    )
    assert [take.seed for take in whole] == [take.seed for take in part] == [1, 2, 3, 4, 5]
    for one, other in zip(whole, part, strict=True):
        torch.testing.assert_close(one.wave, other.wave, atol=1e-4, rtol=0)
    assert done[-1][0] == done[-1][1]
    assert {total for _, total in done} == {done[-1][1]}


def test_the_melody_ranking_is_the_chroma_similarity_of_the_evaluation() -> None:
    """For a recording, a melody that is repeated, and (for chords, which it cannot compare) by hand."""
    model = musicgen.load("facebook/musicgen-melody")
    tune = audio.read(MELODY)
    found = musicgen.generate_takes(model, "piano", 1.5, takes=3, rank="melody", seed=2, melody=tune, separate=False)
    assert [take.score for take in found] == sorted((take.score for take in found), reverse=True)
    reference = chroma.chroma(tune.mono().resampled(chroma.SAMPLE_RATE).wave[0]).numpy()
    for take in found:
        wave = take.wave[0]
        expected = agreement(reference, chroma.chroma(wave).numpy(), len(wave)).similarity
        assert take.score == pytest.approx(expected, abs=1e-9)

    time = torch.arange(64_000) / 32_000
    note = Audio((2 * torch.pi * 261.63 * time).sin()[None] * 0.3, 32_000)  # C
    for chords, share in (("C", 1.0), ("Am", 1.0), ("G", 0.0)):
        request = GenerationRequest.of_one("", 2.0, conditions={"melody": ChordChart(chords)})
        assert MelodyRanker().score(note, request, model) == share


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": "clap", "prompt": None}, "the ranking 'clap' compares with the description, and there is none"),
        ({"rank": "melody"}, "the ranking 'melody' compares with a melody or chords, and there is none"),
        ({"rank": "clpa"}, "unknown ranking 'clpa': did you mean clap?"),
        ({"takes": 0}, "takes is 0: it must be a whole number from 1 to 64"),
        ({"takes": True}, "takes is True"),
        ({"takes": 1000}, "takes is 1000"),
        ({"duration": -1.0}, "duration is -1 s"),
    ],
)
def test_what_cannot_be_ranked_is_refused_before_the_first_step(arguments: dict, message: str) -> None:
    model = musicgen.load(SMALL)
    with pytest.raises(InputError, match=re.escape(message)):
        musicgen.generate_takes(model, **({"prompt": "drums", "duration": 1.0} | arguments), progress=pytest.fail)


def test_a_ranking_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loudest:
        def check(self, request: GenerationRequest) -> None: ...

        def label(self, model: musicgen.MusicGen) -> str:  # noqa: ARG002
            return "RMS"

        def score(self, clip: Audio, request: GenerationRequest, model: musicgen.MusicGen) -> float:  # noqa: ARG002
            return float(clip.wave.square().mean())

    monkeypatch.setitem(RANKERS, "loudest", Loudest)
    found = musicgen.generate_takes(musicgen.load(SMALL), "drums", 0.5, takes=4, rank="loudest", seed=1)
    levels = [float(take.wave.square().mean()) for take in found]
    assert levels == sorted(levels, reverse=True)


def test_without_the_evaluation_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RANKERS, "clap", raising=False)
    monkeypatch.setattr(optional_packages, "name", lambda package: f"no_{package}")
    said = "the ranking 'clap' needs no_evaluation, which is not installed: pip install \"musicgen[evaluation]\""
    with pytest.raises(InputError, match=re.escape(said)):
        ranking.ranker("clap")


def test_the_shell_writes_takes_best_first(tmp_path: Path, capsys) -> None:
    command = ("generate", PROMPT, "", "-m", "mini", "-d", 1, "--seed", 3, "--takes", 3, "--no-loudness")
    assert run(*command, "-o", tmp_path / "out", "--rank", "none") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{stem}{take}.wav"
        for stem in ("00-slow-calm-piano-music", "01-unconditional")
        for take in ("", "-take2", "-take3")
    }
    seeds = [
        Settings.of_file(tmp_path / "out" / f"01-unconditional{take}.wav").seed for take in ("", "-take2", "-take3")
    ]
    assert seeds == [6, 7, 8]

    capsys.readouterr()
    (tmp_path / "best-take2.wav").write_bytes(b"somebody's")
    command = ("generate", PROMPT, "-m", "mini", "-d", 1, "--seed", 3, "--takes", 3, "--no-loudness")
    assert run(*command, "-o", tmp_path / "best.wav") == 0
    printed = capsys.readouterr().out.splitlines()
    scores = [float(re.search(r"CLAP \(mini\) (-?\d\.\d{3})$", line)[1]) for line in printed]
    assert scores == sorted(scores, reverse=True)
    files = [tmp_path / name for name in ("best.wav", "best-take2-2.wav", "best-take3.wav")]
    assert [line.split("  ")[0] for line in printed] == [str(file) for file in files]
    assert (tmp_path / "best-take2.wav").read_bytes() == b"somebody's"
    model = musicgen.load("mini")
    takes_ = musicgen.generate_takes(model, PROMPT, 1.0, takes=3, seed=3)
    for file, take in zip(files, takes_, strict=True):
        assert Settings.of_file(file).seed == take.seed
        torch.testing.assert_close(audio.read(file).wave, take.wave.clamp(-1, 1), atol=2 / 32_768, rtol=0)
    assert run("generate", "--from-file", files[0], "-o", tmp_path / "again.wav") == 0
    torch.testing.assert_close(
        audio.read(tmp_path / "again.wav").wave, audio.read(files[0]).wave, atol=2 / 32_768, rtol=0
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--takes", "0"], "takes is 0"),
        (["x", "--rank", "clap"], "--rank orders several takes: pass --takes N, too"),
        (["x", "--takes", "2", "--rank", "clpa"], "did you mean clap?"),
        (["x", "--takes", "2", "--rank", "melody"], "there is none: rank by clap or none"),
        (["", "--takes", "2", "--rank", "clap"], "there is none: rank by melody or none"),
        (["x", "--takes", "2", "--play"], "--takes cannot be used with --play: leave one of them out"),
        (["x", "--takes", "2", "-o", "-"], "--output - is one clip, but there are 2 clips"),
        (["x", "y", "--takes", "2", "-o", "a.wav"], "a.wav is one file, but there are 2 prompts"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("generate", *arguments, "-m", SMALL, "-d", 1) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_ranking_by_name_is_loaded_when_it_is_asked_for() -> None:
    """`import musicgen` and a ranking by melody need no evaluation: what provides "clap" is a module's name."""
    assert ranking.PROVIDED["clap"][0] == "evaluation.rankers"
    assert isinstance(ranking.ranker("melody"), MelodyRanker)
    assert ranking.ranker("none") is None
    assert ranking.ranker("clap") is not None
    assert "evaluation.rankers" in sys.modules
