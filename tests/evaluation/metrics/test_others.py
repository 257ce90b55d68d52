"""CLAP, chroma, perplexity, memorisation, diagnostics: golden numbers, brute force, known cases."""

import json
import math

import numpy as np
import pytest
import torch

from evaluation.clips import diagnostics
from evaluation.metrics import chroma_similarity, clap, memorisation, perplexity
from musicgen import audio, chroma
from musicgen.audio import Audio
from musicgen.errors import InputError
from tests.conftest import GOLDEN


def test_clap_is_pytorchs_cosine():
    rng = np.random.default_rng(0)
    texts, sounds = rng.normal(size=(5, 16)), rng.normal(size=(5, 16))
    expected = torch.nn.functional.cosine_similarity(torch.from_numpy(texts), torch.from_numpy(sounds), eps=1e-8)
    assert clap.score(texts, sounds) == pytest.approx(float(expected.mean()))
    windows = rng.normal(size=(3, 16))
    assert clap.similarity(texts[0], windows) == pytest.approx(
        np.mean([clap.similarity(texts[0], window[None]) for window in windows])
    )
    assert clap.similarity(texts[0], np.zeros((1, 16))) == 0
    with pytest.raises(InputError, match=r"\[16\] and \[1, 4\]"):
        clap.similarity(texts[0], np.zeros((1, 4)))


def golden_agreement(generated, reference, samples, cut=None):
    files = {file.stem: audio.read(file).wave[0] for file in (GOLDEN / "chroma").glob("*.wav")}
    files["silence"] = torch.zeros(96_000)
    files["noise_pad"] = torch.nn.functional.pad(files["noise"], (0, 64_000))
    soft = [chroma.chroma(files[name][:cut]).numpy() for name in (reference, generated)]
    return chroma_similarity.agreement(*soft, samples)


GOLDEN_CASES = {
    "melody_a_vs_melody_a": [("melody_a", "melody_a", 160_000)],
    "melody_b_vs_melody_a": [("melody_b", "melody_a", 160_000)],
    "noise_vs_melody_a_first3s": [("noise", "melody_a", 96_000, 96_000)],
    "silence_vs_melody_a_first3s": [("silence", "melody_a", 96_000, 96_000)],
    "melody_b_vs_melody_a_size_100000": [("melody_b", "melody_a", 100_000)],
    "batch2_[b,noise_pad]_vs_[a,a]_sizes_[160000,96000]": [
        ("melody_b", "melody_a", 160_000),
        ("noise_pad", "melody_a", 96_000),
    ],
}


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_chroma_agrees_with_audiocrafts_numbers(name):
    golden = json.loads((GOLDEN / "chroma" / "chroma.json").read_text())["metric_pred_vs_target"][name]
    agreement = chroma_similarity.merge(golden_agreement(*case) for case in GOLDEN_CASES[name])
    assert agreement.similarity == pytest.approx(golden["argmax"], abs=1e-6)
    assert agreement.frames == golden["frames_counted"]


def test_chroma_counts_silence():
    melody, silence = (
        chroma.chroma(audio.read(GOLDEN / "chroma" / "melody_a.wav").wave[0]),
        chroma.chroma(torch.zeros(160_000)),
    )
    same = chroma_similarity.agreement(silence.numpy(), silence.numpy(), 160_000)
    assert same.similarity == 1  # as audiocraft; so the share is told
    assert (same.silent_reference, same.silent_generated, same.sounding_similarity) == (same.frames, same.frames, 0)
    mixed = chroma_similarity.agreement(melody.numpy(), silence.numpy(), 160_000)
    assert mixed.silent_reference == 0
    assert mixed.silent_generated == mixed.frames
    assert chroma_similarity.merge([same, mixed]).frames == 2 * same.frames
    with pytest.raises(InputError, match="12"):
        chroma_similarity.agreement(np.zeros((3, 11)), np.zeros((3, 12)), 100)


def test_perplexity_is_pytorchs_cross_entropy():
    rng = np.random.default_rng(1)
    batches, each = [], []
    for size in (2, 3):
        logits, codes = rng.normal(size=(size, 4, 7, 11)), rng.integers(0, 11, (size, 4, 7))
        mask = rng.random((size, 4, 7)) < 0.8
        batches.append(perplexity.cross_entropy(logits, np.where(mask, codes, 999), mask))
        losses = [
            torch.nn.functional.cross_entropy(
                torch.from_numpy(logits[:, k][mask[:, k]]), torch.from_numpy(codes[:, k][mask[:, k]])
            )
            for k in range(4)
        ]
        each.append(torch.stack(losses).mean().exp())
    result = perplexity.perplexity(batches)
    assert result.audiocraft == pytest.approx(float(torch.stack(each).mean()))
    assert result.pooled != pytest.approx(result.audiocraft, rel=1e-9)
    assert len(result.codebooks) == 4
    uniform = perplexity.cross_entropy(np.zeros((1, 2, 5, 32)), np.zeros((1, 2, 5), int), np.ones((1, 2, 5), bool))
    assert perplexity.perplexity([uniform]).audiocraft == pytest.approx(32)
    with pytest.raises(InputError, match=r"0\.\.31"):
        perplexity.cross_entropy(np.zeros((1, 1, 1, 32)), np.full((1, 1, 1), 40), np.ones((1, 1, 1), bool))


def test_memorisation_by_hand():
    truth = np.arange(50).reshape(5, 10)
    continued = truth.copy()
    continued[1, 0] = 99  # 90 %
    continued[2, :2] = 99  # 80 %, still a match
    continued[3, :3] = 99  # 70 %
    result = memorisation.matches(truth, continued)
    assert result == memorisation.Matches(5, 2, 4)
    assert memorisation.merge([result, result]).shares == (0.4, 0.8)
    assert memorisation.equal_shares(truth, continued) == pytest.approx([1, 0.9, 0.8, 0.7, 1])
    with pytest.raises(InputError, match="whole numbers"):
        memorisation.matches(truth / 2, continued)


def tone(seconds=1.0, rate=8000, level=0.5):
    return level * torch.sin(torch.arange(int(seconds * rate)) * 2 * math.pi * 440 / rate)[None]


def test_diagnostics_of_known_clips():
    plain = diagnostics.diagnose(Audio(tone(), 8000))
    assert plain.peak == pytest.approx(20 * math.log10(0.5), abs=0.1)
    assert (plain.clipped, plain.silence, plain.silent, plain.duration) == (0, 0, False, 1.0)
    silent = diagnostics.diagnose(Audio(torch.zeros(2, 8000), 8000))
    assert silent.silent
    assert silent.peak == silent.loudness == -math.inf
    half = diagnostics.diagnose(Audio(torch.cat([tone(), torch.zeros(1, 8000)], dim=1), 8000))
    assert half.silence == pytest.approx(0.5)
    assert diagnostics.diagnose(Audio((tone() * 4).clamp(-1, 1), 8000)).clipped > 0.5
    short = diagnostics.diagnose(Audio(tone(0.1), 8000))
    assert not short.silent
    table = diagnostics.summary([plain, silent])
    assert (table["silent_clips"], table["shortest"], table["duration"]) == (1, 1.0, 1.0)


def test_duplicates_name_the_first():
    assert diagnostics.duplicates({"a": "1", "b": "2", "c": "1", "d": "1"}) == {"c": "a", "d": "a"}
