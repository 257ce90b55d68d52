"""Table 3 end to end at toy size: mid and side, and the listening study of its clips."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from experiments import __main__ as command
from experiments import plan as plans
from experiments import references, report, stereo
from human_study import __main__ as study_command
from human_study.design import manifest
from musicgen import audio, catalog, samples


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
