"""One experiment end to end at toy size; verdicts against data whose answer is known."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import musicgen
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from experiments import __main__ as command
from experiments import claims, references, report, rewording, runner, training_data
from experiments import plan as plans
from musicgen import audio, catalog
from musicgen.errors import InputError
from musicgen.training.corpus import INSTRUMENTS, descriptions
from musicgen.training.lm.shards import iterate, read_index
from tests import standins


@pytest.fixture(scope="module")
def results(root: Path):
    """The folder of results of table 2 at toy size: two rows trained, one tested again with the melody."""
    arguments = ["run", "table-2-melody", "--scale", "toy", "--output", str(root / "work"), "--results",
                 str(root / "results"), "--device", "cpu"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "PRETRAINED", root / "pretrained")
        assert command.main(arguments) == 0
        files = sorted((root / "results").rglob("*.json"))
        times = [file.stat().st_mtime_ns for file in files]
        assert command.main(arguments) == 0  # what is there is not made again
    assert [file.stat().st_mtime_ns for file in files] == times
    return root / "results"


def test_what_another_experiment_trained_is_not_trained_again(results: Path, tmp_path: Path) -> None:
    (file,) = results.rglob("text,-tested-with-text-0.json")
    elsewhere = tmp_path / "results" / "another" / "toy" / "row-0.json"
    elsewhere.parent.mkdir(parents=True)
    given = json.loads(file.read_text())
    elsewhere.write_text(json.dumps(given | {"experiment": "another", "row": "row"}))
    arguments = ["run", "table-2-melody", "--scale", "toy", "--row", "text, tested with text", "--output",
                 str(tmp_path / "work"), "--results", str(tmp_path / "results"), "--device", "cpu"]  # fmt: skip
    assert command.main(arguments) == 0
    assert json.loads((tmp_path / "results" / "table-2-melody" / "toy" / file.name).read_text()) == given
    assert not (tmp_path / "work").exists()


KILLED = """
import functools, importlib, os, signal, sys
from pathlib import Path
from experiments import __main__ as command
from musicgen import catalog

catalog.PRETRAINED = Path(sys.argv[1])
module, *path, name = sys.argv[2].split(":")
owner = functools.reduce(getattr, path, importlib.import_module(module))
call = getattr(owner, name)

def call_and_die(*args, **kwargs):
    call(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, call_and_die)
command.main(sys.argv[3:])
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_result(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the training's checkpoint, and after the first clip: the third time it ends."""
    row, pretrained = "text, tested with text", results.parent / "pretrained"
    work, found = tmp_path / "work", tmp_path / "results"
    arguments = ["run", "table-2-melody", "--scale", "toy", "--row", row, "--output", str(work), "--results", str(found),
                 "--corpus", str(results.parent / "work" / "corpus"), "--tokens", str(results.parent / "work" / "tokens"),
                 "--device", "cpu"]  # fmt: skip
    folder = work / "table-2-melody" / "toy" / f"{row.replace(' ', '-')}-0"
    for place in ("musicgen.training.lm.trainer:save_checkpoint", "musicgen.samples:Writer:add"):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(pretrained), place, *arguments], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert not any(found.rglob("*.json"))
    (checkpoint,) = (folder / "checkpoints").iterdir()
    made = checkpoint.stat().st_mtime_ns
    (clip,) = folder.glob("samples-*/*.flac")
    heard = clip.stat().st_mtime_ns
    monkeypatch.setattr(catalog, "PRETRAINED", pretrained)
    assert command.main(arguments) == 0
    assert (checkpoint.stat().st_mtime_ns, clip.stat().st_mtime_ns) == (made, heard)  # neither was made again
    (file,) = found.rglob("*.json")
    (whole,) = results.rglob("text,-tested-with-text-0.json")
    one, other = (json.loads(path.read_text()) for path in (file, whole))
    for fields in (one, other):
        for field in ("train_seconds", "generate_seconds"):
            del fields[field]
    assert one == other


@pytest.fixture(scope="module")
def memorised(results: Path):
    """The folder of results of figure 2b at toy size."""
    root = results.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "PRETRAINED", root / "pretrained")
        arguments = ["run", "figure-2b-memorisation", "--scale", "toy", "--row", "small", "--output", str(root / "work"),
                     "--results", str(root / "memorised"), "--device", "cpu"]  # fmt: skip
        assert command.main(arguments) == 0
    return root / "memorised"


def test_memorisation_is_measured_on_planted_examples(memorised: Path, results: Path, tmp_path: Path) -> None:
    tokens = str(results.parent / "work" / "tokens-planted")
    index = read_index(tokens)
    assert index is not None
    learnt = [sample.metadata["seed"] for sample in iterate(tokens, index.train)]
    # One piece once, one three times, and nine of ten others; the tenth is held out.
    assert sorted(learnt.count(seed) for seed in set(learnt)) == [1] * 10 + [3]
    assert learnt.count(300_001) == 3
    assert [sample.metadata["seed"] for sample in iterate(tokens, index.valid)] == [300_011]
    (file,) = memorised.rglob("*.json")
    found = json.loads(file.read_text())["memorisation"]
    assert set(found) == {"1", "3"}
    assert set(found["3"]) == {"0.5", "1", "2", "3", "5"}
    # A model of two steps knows nothing by heart.
    assert all(cell["examples"] == 1 and cell["exact"] == 0 for cell in found["3"].values())
    pictures = tmp_path / "images"
    pictures.mkdir()
    assert report.write(memorised, tmp_path / "page.md", pictures) == 1
    assert "| small | 3 × | 5 s | 0.00 [0.00, 0.79] |" in (tmp_path / "page.md").read_text()


def test_a_run_tells_all_about_itself(results: Path) -> None:
    found = [json.loads(file.read_text()) for file in sorted(results.rglob("*.json"))]
    assert {one["row"] for one in found} == set(plans.load("table-2-melody").rows)
    for one in found:
        assert one["clips"] == 3
        assert one["steps"] == 103
        assert len(one["perplexity"]["nats"]) == 3
        assert one["perplexity"]["value"] > 1
        assert set(one["scores"]) == {"fad_mini", "kl_mini", "clap_mini", "chroma"}
        assert one["recipe"]["optimisation"]["steps"] == 2
        assert one["validation"]["step"] == 2
        assert one["test"]["references"] == "through the tokeniser"
        assert one["corpus"]["clips"] == 9
        assert one["commit"]
        assert "/" not in one["recipe"]["data"]["path"] + one["recipe"]["data"]["tokens"]
    trained = {one["row"]: one["recipe"]["start"]["melody"] for one in found}
    assert trained == {
        "text, tested with text": False,
        "text and chroma, tested with text": True,
        "text and chroma, tested with both": True,
    }


def test_the_report_shows_every_row_and_claim(results: Path, tmp_path: Path) -> None:
    page, pictures = tmp_path / "experiments.md", tmp_path / "images"
    pictures.mkdir()
    assert report.write(results, page, pictures) == 3
    text = page.read_text()
    plan = plans.load("table-2-melody")
    for row in plan.rows:
        assert f"| {row} | " in text
    assert text.count(", 1 seed; these models' own clips: p = ") == len(plan.claims)
    assert "0.66" in text
    assert ", not run\n" in text
    assert next(pictures.iterdir()).read_bytes()[:4] == b"\x89PNG"
    curves = report.plot(dataclasses.replace(plan, curves=True), report.read(results / "table-2-melody" / "toy", plan))
    assert curves[:4] == b"\x89PNG"


def test_captions_in_other_words_say_the_same_of_the_same_piece() -> None:
    items = load_items(load_suite("synth"))[:12]
    for item in items:
        piece = rewording.composed(item)
        text = rewording.reworded(piece)
        assert INSTRUMENTS[piece.lead.instrument].names[0] in text
        assert not any(text.startswith(told[:12]) for told in descriptions(piece, 16))


def test_references_go_through_the_tokeniser(tmp_path: Path) -> None:
    model = standins_model(tmp_path / "model")
    (item,) = load_items(load_suite("synth"), limit=1)
    (cut,) = references.originals(tmp_path / "cut", [item], 2.0, stereo=False)
    (heard,) = references.tokenised(tmp_path / "heard", [cut], model)
    whole, short, codec = (audio.read(one.file).wave for one in (item, cut, heard))
    assert torch.allclose(short, whole[:, :64_000], atol=1e-4)
    expected = model.tokenizer.decode(model.tokenizer.encode(short[None]))[0]
    assert torch.allclose(codec, expected.clamp(-1, 1), atol=1e-3)


def standins_model(folder: Path) -> musicgen.MusicGen:
    return musicgen.load(str(standins.write(standins.transformers_model(), folder)), "cpu")


def made(values: np.ndarray, seed: int = 0) -> dict:
    """A result whose clips have these values of kl_mini, and whose FAD is known to ± 0.1."""
    clips = {str(index): float(value) for index, value in enumerate(values)}
    mean = float(values.mean())
    shares = dict.fromkeys(clips, 0.01)  # of each clip in the whole: they say nothing of the difference
    return {
        "seed": seed,
        "perplexity": {"value": float(np.exp(mean)), "nats": clips},
        "scores": {
            "kl_mini": {"value": mean, "low": mean, "high": mean, "direction": "lower", "clips": clips},
            "fad_mini": {"value": mean, "low": mean - 0.1, "high": mean + 0.1, "direction": "lower", "clips": shares},
            "chroma": {"value": mean, "low": mean, "high": mean, "direction": "higher", "clips": clips},
        },
    }


def runs(random: np.random.Generator, mean: float, hard: np.ndarray) -> list[dict]:
    """Three seeds; some clips are harder than others for every system."""
    return [made(mean + hard + random.normal(0, 0.2) + random.normal(0, 0.3, hard.shape), seed) for seed in range(3)]


def test_planted_examples_become_a_score() -> None:
    plan = plans.load("figure-2b-memorisation")
    cells = {"1": {"equal": [1.0, 0.5]}, "3": {"equal": [1.0, 1.0]}}
    scores = report._memorisation_scores({"memorisation": {"10": cells}}, plan)["scores"]
    assert list(scores) == ["exact 10 times"]
    assert scores["exact 10 times"]["value"] == 0.75
    assert scores["exact 10 times"]["clips"]["1 s, 1"] == 0.0
    assert report._memorisation_scores({}, plans.load("table-5-size")) == {}


def test_what_the_paper_denies_holds_where_nothing_is_found() -> None:
    found = {name: claims.ClaimTest(0.0, -1.0, 1.0, name) for name in ("yes", "no", "unclear")}
    claim = plans.Claim("x", better="a", than="b", metric="chroma", denied=True)
    said = {name: report._words(claim, one) for name, one in found.items()}
    assert said == report.DENIED
    assert report._words(dataclasses.replace(claim, denied=False), found["no"]) == report.WORDS["no"]


def test_verdicts_find_what_is_there() -> None:
    random = np.random.default_rng(0)
    hard = random.normal(0, 5, 100)
    good, bad = runs(random, 1.0, hard), runs(random, 3.0, hard)
    for metric in ("kl_mini", "perplexity", "fad_mini"):
        assert claims.evaluate_claim(good, bad, metric).holds == "yes"
        assert claims.evaluate_claim(bad, good, metric).holds == "no"
        assert claims.evaluate_claim(good, good, metric).holds == "unclear"
    assert claims.evaluate_claim(good, bad, "chroma").holds == "no"
    assert claims.clip_p_value(good, bad, "fad_mini") is None
    tested = claims.clip_p_value(good, bad, "kl_mini")
    assert tested is not None
    assert tested[0] < 0.001
    assert tested[1] == 300
    found = claims.evaluate_claim(good, bad, "kl_mini")
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(-2.0, abs=0.6)
    with pytest.raises(InputError, match="each seed must have both rows"):
        claims.evaluate_claim(good[:1], bad, "kl_mini")


def test_nothing_is_found_where_nothing_is() -> None:
    """Rows that differ by their seeds alone: about 5 of 100 are taken for a finding."""
    random = np.random.default_rng(1)
    hard = random.normal(0, 5, 60)
    for metric in ("kl_mini", "fad_mini"):
        found = [
            claims.evaluate_claim(runs(random, 1.0, hard), runs(random, 1.0, hard), metric).holds for _ in range(200)
        ]
        assert 0.9 <= found.count("unclear") / 200 < 1


def test_one_seed_has_the_interval_of_its_clips() -> None:
    random = np.random.default_rng(2)
    ours, theirs = random.normal(0, 1, 400), random.normal(1, 1, 400)
    found = claims.evaluate_claim([made(ours)], [made(theirs)], "kl_mini")
    assert found.holds == "yes"
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(2 / 400), rel=0.1)
    assert claims.evaluate_claim([made(ours)], [made(theirs)], "fad_mini").high == pytest.approx(
        ours.mean() - theirs.mean() + np.hypot(0.1, 0.1)
    )


@pytest.mark.parametrize("name", plans.names())
def test_every_plan_is_whole(name: str, tmp_path: Path) -> None:
    plan = plans.load(name)
    if plan.paper:
        assert set(plan.paper["rows"]) == set(plan.rows)
        assert all(len(cells) == len(plan.paper["columns"]) for cells in plan.paper["rows"].values())
    paths = training_data.Paths(tmp_path, tmp_path, tmp_path, tmp_path)
    for scale in map(plans.scale, plans.scales()):
        for name, row in plan.rows.items():
            runner.row_recipe(paths, plan, name, 0, scale)
            if row.tokenizer:
                trained = training_data.tokenizer_recipe(row, scale)
                assert (trained.shape.codebooks, trained.shape.codebook_size) == (4, 1024)
                assert trained.shape.hop == {"encodec": 640, "dac": 384}[trained.family]


def test_what_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run", "table-9"]) == 2
    assert "no experiment 'table-9': one of figure-2b-memorisation" in capsys.readouterr().err
    assert command.main(["run", "table-5-size", "--scale", "huge"]) == 2
    assert "no scale 'huge'" in capsys.readouterr().err
    assert command.main(["run", "table-5-size", "--row", "giant"]) == 2
    assert "no row giant" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claimz": []}, "test has no claimz: did you mean claims"),
        ({"rows": {"a": {"melodi": True}}}, "test has no rows.a.melodi: did you mean rows.a.melody"),
        ({"rows": {"a": {"melody": "yes"}}}, "rows.a.melody is 'yes': it must be true or false"),
        ({"references": "originals"}, "references is 'originals': one of through the tokeniser, original"),
        ({"at": {"cor": {}}}, "at.cor is not a scale: one of core, core-10s, cpu, gpu, toy"),
        (
            {"claims": [{"text": "t", "better": "a", "than": "b", "metric": "chroma"}]},
            "unknown rows or metrics: b, chroma",
        ),
        ({"title": None}, "title is None: it must be text"),
    ],
)
def test_a_mistake_in_a_plan_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict, message: str
) -> None:
    values = {"title": "t", "question": "q", "rows": {"a": {}}, "claims": [], "metrics": []} | change
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setattr(plans, "PLANS", tmp_path)
    with pytest.raises(InputError) as raised:
        plans.load("test")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
