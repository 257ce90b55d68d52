"""The embedded checkpoints: they load with no network, transformers reads the same folders, and they met their thresholds."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

import musicgen
from musicgen import audio, catalog, chroma
from musicgen.audio import Audio
from musicgen.model import MusicGen
from musicgen.training import quality

NAMES = ("mini", "mini-melody", "mini-stereo-melody")
MEGABYTES = 64


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> MusicGen:
    return musicgen.load(request.param, "cpu")


def test_three_models_of_a_few_megabytes_with_a_card() -> None:
    assert tuple(catalog.embedded()) == NAMES
    assert sum(file.stat().st_size for file in catalog.PRETRAINED.rglob("*") if file.is_file()) < MEGABYTES * 1e6
    for name in NAMES:
        card = (catalog.PRETRAINED / name / "README.md").read_text()
        for section in ("## Data", "## Training", "## Quality", "## Limits"):
            assert section in card
        assert (catalog.PRETRAINED / name / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_transformers_gives_the_same_logits(model: MusicGen) -> None:
    folder = Path(catalog.PRETRAINED / model.name)
    kind = MusicgenForConditionalGeneration if model.melody is None else MusicgenMelodyForConditionalGeneration
    theirs = kind.from_pretrained(folder, dtype=torch.float32).eval()
    texts = ["a calm piano piece", "fast heavy metal with electric guitars at 150 bpm"]
    fixed = {"padding": "max_length", "max_length": model.text.length} if model.text.length else {"padding": True}
    tokens = AutoTokenizer.from_pretrained(folder)(texts, **fixed, return_tensors="pt")
    k, entries = model.lm.config.num_codebooks, model.lm.config.codebook_size
    codes = torch.randint(0, entries, (2, k, 9), generator=torch.Generator().manual_seed(0))
    arguments: dict[str, torch.Tensor] = {}
    condition = None
    if model.melody is not None:
        model.text.mask_padding = False  # transformers leaves padding of a prefix visible
        frames = torch.eye(12).repeat(8, 1)[: model.melody.length].expand(2, -1, -1)
        assert frames.shape[1] == model.melody.length
        arguments["input_features"] = frames
        condition = model.melody.project(frames)
    with torch.no_grad():
        expected = theirs(**tokens, **arguments, decoder_input_ids=codes.flatten(0, 1)).logits[:, -9:].view(2, k, 9, -1)
        ours = model.lm(codes, model.fuser({"text": model.text(texts), "melody": condition}))
    model.text.mask_padding = True
    torch.testing.assert_close(ours, expected, atol=2e-3, rtol=1e-3)


def test_they_make_music(model: MusicGen) -> None:
    """Not silent, not clipped, several pitches; the same from the same seed; stereo is stereo."""
    wave = model.generate(["fast rock song with electric guitars"], 3.0, seed=5)[0]
    assert torch.equal(wave, model.generate(["fast rock song with electric guitars"], 3.0, seed=5)[0])
    clip = Audio(wave, model.sample_rate)
    assert audio.loudness(clip) > -50
    assert float((wave.abs() >= 0.999).float().mean()) < 1e-3
    assert chroma.of_audio(clip).argmax(-1).unique().numel() > 1
    if model.channels == 2:
        assert float((wave[0] - wave[1]).square().mean()) > 1e-3 * float(wave.square().mean())


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_what_was_measured_and_which_thresholds_were_missed(name: str) -> None:
    """`python -m musicgen.training.quality` measured it on 100 held-out compositions."""
    results = json.loads((catalog.PRETRAINED / name / "quality.json").read_text())
    card = (catalog.PRETRAINED / name / "README.md").read_text()
    assert all(row["n"] == 100 for row in results["rows"].values())
    assert quality.thresholds_table(results) in card
    rows = results["rows"]
    best = rows.get("caption and melody", rows["caption"])
    assert best["silent"] + best["clipped"] + best["one_note"] <= 2
    # The caption is heard at all: better than another composition's caption.
    assert rows["caption"]["genre"] > rows["shuffled captions"]["genre"]
