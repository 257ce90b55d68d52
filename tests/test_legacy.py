"""Exports of audiocraft's first release, made by the reference's own `export_legacy` from training checkpoints."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import musicgen
from musicgen.checkpoint.audiocraft_layout import LM_FILE, TOKENIZER_FILE
from musicgen.model import MusicGen
from tests.conftest import GOLDEN, TEXTS

FOLDER = GOLDEN / "legacy"
GREEDY = musicgen.GenerationOptions(do_sample=False, guidance_scale=3.0)


def loaded(kind: str, folder: Path, *, first_release: bool) -> MusicGen:
    """The export of a kind, and the tokeniser beside it. The first release wrote neither a version nor that it is an export."""
    folder.mkdir()
    for source in (FOLDER / kind / LM_FILE, FOLDER / TOKENIZER_FILE):
        package = torch.load(source, weights_only=True)
        if first_release:
            del package["version"], package["exported"]
        torch.save(package, folder / source.name)
    return musicgen.load(folder)


@pytest.mark.parametrize("first_release", [False, True])
@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_greedy_codes_are_the_references(hub_cache, tmp_path: Path, kind: str, first_release: bool) -> None:  # noqa: ARG001
    model = loaded(kind, tmp_path / "model", first_release=first_release)
    golden = load_file(FOLDER / "golden.safetensors")
    assert (model.channels, model.max_duration, model.lm.config.codebook_size) == (1 + (kind == "stereo"), 30.0, 2048)
    codes = model.generate_codes(TEXTS[:1], 0.24, options=GREEDY)
    assert torch.equal(codes, golden[f"{kind}/codes"].long())
    if kind == "mono":
        torch.testing.assert_close(model.decode(codes), golden["mono/wave"], atol=1e-5, rtol=0)


def test_an_export_is_written_anew(hub_cache, tmp_path: Path) -> None:  # noqa: ARG001
    model = loaded("mono", tmp_path / "model", first_release=True)
    codes = model.generate_codes(TEXTS[:1], 0.24, options=GREEDY)
    for layout in ("transformers", "audiocraft"):
        musicgen.save(model, tmp_path / layout, layout)
        again = musicgen.load(tmp_path / layout)
        assert torch.equal(again.generate_codes(TEXTS[:1], 0.24, options=GREEDY), codes)
