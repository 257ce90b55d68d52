"""Table 3 end to end at toy size: mid and side, and the listening study of its clips."""

import json
import shutil
from pathlib import Path

import anyio.from_thread
import numpy as np
import pytest
import torch
import yaml
from sqlalchemy import select

from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from experiments import __main__ as command
from experiments import plan as plans
from experiments import references, report, stereo
from human_study import __main__ as study_command
from human_study.database import schema, study_database
from human_study.design import manifest
from human_study.web.app import create_app
from musicgen import audio, catalog, samples
from tests.human_study.client import Rater


@pytest.fixture(scope="module")
def stereo_run(root: Path):
    """The folder of the runs of table 3 at toy size, and the folder of its results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "PRETRAINED", root / "pretrained")
        arguments = ["run", "table-3-stereo", "--scale", "toy", "--output", str(root / "work"), "--results",
                     str(root / "stereo"), "--device", "cpu"]  # fmt: skip
        assert command.main(arguments) == 0
    return root / "work", root / "stereo"


def test_stereo_is_scored_in_mid_and_side(stereo_run: tuple[Path, Path], tmp_path: Path) -> None:
    work, results = stereo_run
    found = {one["row"]: one for one in map(json.loads, (file.read_text() for file in results.rglob("*.json")))}
    assert set(found) == set(plans.load("table-3-stereo").rows)
    of_side = {"side_fad_mini", "side_kl_mini"}
    heard = {"fad_mini", "kl_mini", "clap_mini", "coherence", "side_energy"}
    for row, one in found.items():
        # What has no side has no FAD of it.
        assert set(one["scores"]) == (heard | of_side if row in ("stereo partial delay", "stereo delay") else heard)
    clips = samples.read(work / "table-3-stereo" / "toy" / "stereo-delay-0" / "samples-stereo-delay")
    (first, *_) = clips.samples
    left, right = audio.read(clips.file(first)).wave.double()
    heard_reference = audio.read(work / "references-2-2" / f"{first.id}.flac").wave.double()

    def share(one: torch.Tensor, other: torch.Tensor) -> float:
        # 2 (m² + s²) = l² + r², and 4 m s cross terms fall out: the share of (l - r)² / 2 in l² + r².
        return float(((one - other).square().sum() / 2) / (one.square().sum() + other.square().sum()))

    expected = 10 * np.log10(share(left, right) / share(*heard_reference))
    assert found["stereo delay"]["scores"]["side_energy"]["clips"][first.id] == pytest.approx(abs(expected), abs=1e-3)
    mixed = found["stereo partial delay, mixed down"]["scores"]
    assert mixed["fad_mini"]["value"] == pytest.approx(
        found["stereo partial delay"]["scores"]["fad_mini"]["value"], rel=1e-2
    )
    pictures = tmp_path / "images"
    pictures.mkdir()
    report.write(results, tmp_path / "page.md", pictures)
    lines = (tmp_path / "page.md").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("| mono, delay | ") and line.endswith(" × 3 |")]
    assert line.count("| – ") == 2


def test_one_command_builds_a_listening_study(
    stereo_run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    work, _ = stereo_run
    arguments = ["study", "table-3", "--scale", "toy", "--output", str(work), "--items", "2"]
    assert command.main(arguments) == 0
    folder = work / "studies" / "table-3-stereo-toy-0"
    assert str(folder) in capsys.readouterr().out
    # What it wrote, the study's own command reads and builds.
    assert study_command.main(["build", f"{folder}.yaml", "--output", str(folder)]) == 0
    study = manifest.read(folder)
    rated = [clip for clip in study.clips.values() if clip.role == "system"]
    assert len({clip.system for clip in rated}) == 4
    assert {clip.system for clip in rated} == {row.replace(",", "") for row in plans.load("table-3-stereo").rows}
    pages = [page for page in study.pages.values() if page.kind == "rating"]
    assert {page.question for page in pages} == {"OVL", "REL"}
    assert len(pages) == 4  # two captions, two questions
    assert command.main([*arguments[:-1], "50"]) == 2
    assert "--items is 50, and the rows have 3 clips in common" in capsys.readouterr().err
    assert command.main(["study", "table-4-patterns", "--scale", "toy", "--output", str(work)]) == 2
    assert "no clips of the row 'delay' with seed 0: run `python -m experiments run" in capsys.readouterr().err


def test_ratings_come_back_into_the_report(
    stereo_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raters over HTTP, who like the row "stereo delay" best; the means by hand from what they sent."""
    work, results = stereo_run
    options = ["--scale", "toy", "--output", str(tmp_path)]
    ratings = ["ratings", "table-3", *options, "--results", str(results)]
    assert command.main(ratings) == 2
    assert "there is no study: run `python -m experiments study table-3-stereo" in capsys.readouterr().err
    (tmp_path / "table-3-stereo").symlink_to(work / "table-3-stereo")
    (tmp_path / "references-2-2").symlink_to(work / "references-2-2")
    assert command.main(["study", "table-3", *options, "--items", "2"]) == 0
    assert command.main(ratings) == 2
    assert "there are no ratings yet" in capsys.readouterr().err

    # An open study, whose owner has edited its settings.
    folder = tmp_path / "studies" / "table-3-stereo-toy-0"
    settings = yaml.safe_load(folder.with_suffix(".yaml").read_text())
    settings |= {"open_link": True, "headphone_check": "off", "clock": False, "practice": False, "attention_checks": 0}
    folder.with_suffix(".yaml").write_text(yaml.safe_dump(settings))
    shutil.rmtree(folder)
    assert study_command.main(["build", f"{folder}.yaml", "--output", str(folder)]) == 0
    study = manifest.read(folder)
    database = study_database.open_database(study)
    liked = {"reference": 95, "stereo delay": 80, "mono delay": 40}
    sent: dict[tuple[str, str], list[int]] = {}

    def value(trial: dict, clip: dict) -> int:
        clips, tokens = schema.clip, schema.token
        with database.read() as connection:
            query = select(clips.c.name).join(tokens, tokens.c.clip_id == clips.c.id)
            name = connection.execute(query.where(tokens.c.token == clip["token"])).scalar_one()
        system = study.clips[name].system
        rating = liked.get(system, 60) + len(sent) % 3
        sent.setdefault((trial["question"], system), []).append(rating)
        return rating

    try:
        app = create_app(study, database, hosts=("testserver",))
        with anyio.from_thread.start_blocking_portal() as portal:
            for _ in range(2):
                rater = Rater(app, portal)
                rater.start()
                assert rater.rate_all(value)["stage"] != "trial"
    finally:
        database.dispose()
    assert command.main(ratings) == 0
    told = capsys.readouterr().out
    (stored,) = results.rglob("listening/0.json")
    made = json.loads(stored.read_text())
    assert made["raters"] == made["kept"] == 2
    assert set(made["questions"]) == {"OVL", "REL"}
    for question, scores in made["questions"].items():
        assert set(scores) == {*plans.load("table-3-stereo").rows, "reference"}
        for row, score in scores.items():
            given = sent[question, row.replace(",", "")]
            assert score["mean"] == pytest.approx(np.mean(given), abs=0.006)
            assert score["ratings"] == len(given)
    assert sum(map(len, sent.values())) == 2 * 2 * 5  # two raters, two pages, the four rows and the reference
    pictures = tmp_path / "images"
    pictures.mkdir()
    report.write(results, tmp_path / "page.md", pictures)
    (line,) = [line for line in told.splitlines() if line.startswith("| stereo delay |")]
    assert line in (tmp_path / "page.md").read_text().splitlines()
    stored.unlink()


def test_mid_and_side_give_left_and_right_back(tmp_path: Path) -> None:
    wave = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, 32_000))).float()
    clip = audio.Audio(wave, 32_000)
    mid, side = (stereo.part_of(clip, part).wave[0] for part in ("mid", "side"))
    torch.testing.assert_close(torch.stack([mid + side, mid - side]), wave)
    assert not stereo.part_of(audio.Audio(wave[:1], 32_000), "side").wave.any()

    def energy(*channels: torch.Tensor) -> float:
        audio.write(tmp_path / "clip.flac", audio.Audio(torch.stack(channels), 32_000))
        return stereo.side_energy(tmp_path / "clip.flac")

    left = wave[0]
    assert energy(left) == energy(left, left) == stereo.FLOOR
    assert energy(left, -left) == pytest.approx(0, abs=1e-6)
    # One channel alone is half mid and half side.
    assert energy(left, torch.zeros_like(left)) == pytest.approx(10 * np.log10(0.5), abs=1e-3)


def test_left_and_right_are_as_alike_as_they_are(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(0, 0.1, (2, 160_000))

    def similarity(*channels: np.ndarray) -> float:
        file = tmp_path / "clip.flac"
        sound = torch.from_numpy(np.stack(channels)).float()
        audio.write(file, audio.Audio(sound, 32_000))
        return stereo.similarity(file)

    assert similarity(left) == 1
    assert similarity(left, left) == pytest.approx(1, abs=1e-3)
    # Of independent noise: the bias of Welch's estimate, 1 over the number of windows that count.
    assert similarity(left, right) < 0.02
    # Noise of equal power in both: a half of each channel is common, so coherence is (1/2)^2.
    assert similarity(left + right, left + random.normal(0, 0.1, 160_000)) == pytest.approx(0.25, abs=0.03)


@pytest.mark.usefixtures("real_soundfont")
def test_stereo_references_are_rendered_anew(tmp_path: Path) -> None:
    (item,) = load_items(load_suite("synth"), limit=1)
    (short,) = audio.read(item.file).wave[:, :64_000]
    (wide,) = references.originals(tmp_path / "wide", [item], 2.0, stereo=True)
    left, right = audio.read(wide.file).wave
    # The suite's file is the same rendering, mixed down and compressed.
    mixed = (left + right) / 2
    assert float(torch.corrcoef(torch.stack([mixed, short]))[0, 1]) > 0.95
