"""The quality figures: exact on sounds whose figures are known, and the whole script on a tiny random model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.audio import Audio
from musicgen.training import quality
from musicgen.training.corpus import GENRES, INSTRUMENTS, compose, render
from musicgen.training.corpus.genres import find_genre

PIECE = compose(quality.HELD_OUT_SEED, duration=10.0)


class Knowing:
    """A tagger that always says what the composition is."""

    def tags(self, _: np.ndarray) -> tuple[str, str]:
        return PIECE.genre, PIECE.lead.instrument


def tone(frequency: float, level: float = 0.3, seconds: float = 10.0) -> Audio:
    t = torch.arange(round(seconds * 32_000)) / 32_000
    return Audio((level * torch.sin(2 * torch.pi * frequency * t))[None], 32_000)


def test_a_full_caption_names_all_that_is_measured() -> None:
    for seed, genre in enumerate(GENRES):
        composition = compose(seed, duration=10.0, genre=genre)
        caption = quality.full_caption(composition).lower()
        assert any(word.lower() in caption for word in find_genre(genre).words)
        assert any(name.lower() in caption for name in INSTRUMENTS[composition.lead.instrument].names)
        assert str(composition.bpm) in caption
        assert composition.key.name.split()[1] in caption


def test_melody_agreement_of_known_sounds() -> None:
    a, d = tone(440.0), tone(587.33)
    half = Audio(torch.cat([a.wave[:, :160_000], d.wave[:, 160_000:]], dim=1), 32_000)
    assert quality.examine(a, a, PIECE, Knowing()).melody == 1.0
    assert quality.examine(a, d, PIECE, Knowing()).melody == 0.0
    assert quality.examine(half, a, PIECE, Knowing()).melody == pytest.approx(0.5, abs=0.03)
    # Other rates and channels are brought together first.
    stereo = Audio(a.wave.expand(2, -1).contiguous(), 32_000).resampled(44_100)
    assert quality.examine(stereo, a, PIECE, Knowing()).melody > 0.98


def test_faults_are_seen() -> None:
    reference = tone(440.0)
    silence = quality.examine(Audio(torch.zeros(1, 320_000), 32_000), reference, PIECE, Knowing())
    assert (silence.silent, silence.key, silence.tempo) == (True, False, False)
    loud = quality.examine(Audio(tone(440.0, level=3.0).wave.clamp(-1, 1), 32_000), reference, PIECE, Knowing())
    assert (loud.clipped, loud.one_note, loud.silent) == (True, True, False)
    tune = torch.cat([tone(f, seconds=1.0).wave for f in (262, 330, 392, 440, 494, 523, 587, 659, 698, 784)], dim=1)
    clean = quality.examine(Audio(tune, 32_000), reference, PIECE, Knowing())
    assert (clean.clipped, clean.one_note, clean.silent) == (False, False, False)


def test_side_energy_is_analytic() -> None:
    wave = tone(440.0).wave[0]
    assert quality._side_db(tone(440.0)) is None
    assert quality._side_db(Audio(torch.stack([wave, wave]), 32_000)) == -100.0
    # left only: middle and side are equal
    assert quality._side_db(Audio(torch.stack([wave, 0 * wave]), 32_000)) == pytest.approx(0.0, abs=1e-6)
    # right at half the level: side/middle = 0.5^2 / 1.5^2
    assert quality._side_db(Audio(torch.stack([wave, wave / 2]), 32_000)) == pytest.approx(-9.542, abs=1e-2)


def test_summary_is_the_means_and_the_counts() -> None:
    clips = [
        quality.ClipScores(1.0, True, False, True, True, False, False, False, -6.0),
        quality.ClipScores(0.5, True, True, False, False, True, False, True, -8.0),
    ]
    assert quality.summary(clips) == {
        "melody": 0.75, "genre": 1.0, "lead": 0.5, "tempo": 0.5, "key": 0.5, "silent": 1, "clipped": 0, "one_note": 1,
        "side_db": -7.0, "n": 2,
    }  # fmt: skip


@pytest.mark.usefixtures("real_soundfont")
def test_a_rendered_composition_meets_its_own_caption() -> None:
    reference = Audio(torch.from_numpy(render(PIECE)), 32_000)
    clip = quality.examine(reference, reference, PIECE, Knowing())
    assert clip.melody == 1.0
    assert (clip.silent, clip.clipped, clip.one_note) == (False, False, False)
    assert clip.side_db is not None
    assert -40 < clip.side_db < 0


@pytest.mark.slow
@pytest.mark.usefixtures("renderer")
def test_the_script_measures_a_model(audiocraft_folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(audiocraft_folder("melody"))
    figures = tmp_path / "figures.json"
    assert quality.main([model, "--count", "2", "--tagger", "25", "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(figures.read_text())["rows"]
    tokenised = "references, through the tokeniser"
    assert list(rows) == ["references", tokenised, "caption and melody", "caption", "shuffled captions"]
    assert rows["references"]["summary"]["melody"] == 1.0
    for name, row in rows.items():
        assert len(row["clips"]) == row["summary"]["n"] == 2
        assert f"| {name} | {row['summary']['melody']:.3f} |" in printed
    assert quality.main(["no such model", "--count", "1", "--tagger", "20"]) == 2
