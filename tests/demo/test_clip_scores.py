"""Scores of clips."""

from pathlib import Path

import pytest
import torch

from demo.clip_scores import ClipScorer
from musicgen import audio
from musicgen.audio import Audio


def test_clip_scores_are_those_of_the_evaluation(tmp_path: Path) -> None:
    """The same clip and caption through the evaluation's own run give the same CLAP score."""
    from evaluation.embedders.cache import Cache
    from evaluation.embedders.registry import Embedders
    from evaluation.pipeline import scoring
    from evaluation.suites.items import Item
    from evaluation.suites.suite import load_suite
    from musicgen.samples import Writer

    captions = {"a": "calm piano", "b": "heavy rock"}
    writer, items = Writer(tmp_path / "clips", "ours"), []
    for seed, (name, caption) in enumerate(captions.items()):
        noise = torch.randn(1, 320_000, generator=torch.Generator().manual_seed(seed)) * 0.1
        clip = Audio(noise.cumsum(dim=1).sin() * 0.3, 32_000)
        writer.add(name, clip, prompt=caption, seed=seed, settings={})
        audio.write(tmp_path / f"{name}.flac", clip)
        items.append(Item(name, caption, tmp_path / f"{name}.flac"))
    results = scoring.score(
        load_suite("synth"), items, [tmp_path / "clips"], Embedders(), Cache(tmp_path / "cache"), metrics=["clap_mini"]
    )
    expected = results.systems[0].score("clap_mini").clips
    for name, caption in captions.items():
        file = next(file for file in (tmp_path / "clips").rglob("*.*") if file.stem.startswith(name))
        (clap, chroma_figure) = ClipScorer().score(file, caption, 0.25)
        assert clap.value == pytest.approx(expected[name], abs=1e-4)
        assert chroma_figure.value == 0.25
    assert ClipScorer().score(file, "", None) == []
