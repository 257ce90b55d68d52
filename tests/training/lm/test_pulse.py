"""Heads that beat at the tempo which a text names."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

import musicgen
from musicgen.conditioners.condition import join
from musicgen.errors import InputError
from musicgen.model import MusicGen
from musicgen.training.corpus import compose
from musicgen.training.corpus.sidecar import sidecar
from musicgen.training.lm import pulse
from musicgen.training.lm.config import Text
from musicgen.training.lm.shards import Sample

FRAMES = 200
TEXT = Text(merge=0.8, merge_field=0.9, drop_words=0.0)


def clips(first: int, count: int) -> list[Sample]:
    """Pieces' metadata with random codes."""
    random = np.random.default_rng(first)
    pieces = [compose(seed, duration=15.0) for seed in range(first, first + count)]
    told = [sidecar(piece, name="x", sample_rate=32_000, soundfont="x.sf2", captions=8) for piece in pieces]
    return [Sample(random.integers(1024, size=(4, 300)).astype(np.int16), None, fields) for fields in told]


@pytest.fixture(scope="module")
def plain() -> MusicGen:
    return musicgen.load("mini", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def beating(plain: MusicGen) -> MusicGen:
    model = copy.deepcopy(plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulse, "STEPS", 100)
        pulse.pulse(model, clips(0, 150), TEXT, seed=0)
    return model


def clock(model: MusicGen, head: int, texts: list[str], codes: torch.Tensor) -> torch.Tensor:
    """[B, S]: the fitted head's first value, from the first layer's own weights."""
    config = model.lm.config
    width = config.dim // config.num_heads
    attention = model.lm.blocks[0].cross_attention
    condition = model.text(texts)
    seen: list[torch.Tensor] = []
    hook = attention.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    sequence = model.pattern.layout(FRAMES).build(codes, config.special_token)[:, :, :FRAMES]
    model.lm(sequence, join(condition, None, cross_attention=True))
    hook.remove()
    keys, values = (part[:, head] for part in attention.project(condition.values))
    queries = attention.query(seen[0])[..., head * width : (head + 1) * width]
    scores = (queries @ keys.transpose(1, 2)) / width**0.5
    weights = scores.masked_fill(~condition.mask[:, None], -torch.inf).softmax(dim=-1)
    return (weights @ values)[..., 0]


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(one.numpy(), other.numpy(), strict=True)]))


@torch.inference_mode()
def test_the_heads_beat_at_the_named_tempo(beating: MusicGen, plain: MusicGen) -> None:
    """On texts and codes that the fit has not seen."""
    unseen = clips(5_000_000, 24)
    bpms = [sample.metadata["bpm"] for sample in unseen]
    texts = [f"{sample.metadata['genre']} with drums, {bpm} bpm" for sample, bpm in zip(unseen, bpms, strict=True)]
    codes = torch.from_numpy(np.stack([sample.codes[:, :FRAMES] for sample in unseen]).astype(np.int64))
    for head, offset in enumerate(pulse.OFFSETS):
        heard = clock(beating, head, texts, codes)[:, :100]
        right = torch.stack([pulse.target(bpm, 100, 50.0, offset) for bpm in bpms])
        wrong = torch.stack([pulse.target(1.25 * bpm, 100, 50.0, offset) for bpm in bpms])
        assert correlation(heard, right) > max(0.0, correlation(heard, wrong)) + 0.15
        assert abs(correlation(clock(plain, head, texts, codes)[:, :100], right)) < 0.15


def test_only_the_heads_change(beating: MusicGen, plain: MusicGen) -> None:
    fitted = len(pulse.OFFSETS) * plain.lm.config.dim // plain.lm.config.num_heads
    before, after = plain.lm.state_dict(), beating.lm.state_dict()
    for name, weight in before.items():
        if name.startswith("blocks.0.cross_attention"):
            rest = (slice(None), slice(fitted, None)) if "out" in name else slice(fitted, plain.lm.config.dim)
            assert torch.equal(weight[rest], after[name][rest]), name
            assert not torch.equal(weight, after[name]), name
        else:
            assert torch.equal(weight, after[name]), name


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("jazz, 120 bpm", True), ("jazz at 120BPM", True), ("120 beats per minute", True), ("genre: jazz. bpm: 120", True),
        ("jazz, 1120 bpm", False), ("bpm: 1200", False), ("fast jazz from 120", False),
    ],
)  # fmt: skip
def test_where_a_text_names_its_tempo(text: str, named: bool) -> None:
    assert pulse.names_tempo(text, 120) is named


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [({"bpm": 120}, "bpm and downbeats"), ({"bpm": 120, "downbeats": [0.0]}, r"clips of 4 s")],
)
def test_music_without_beats_cannot_be_fitted(plain: MusicGen, metadata: dict[str, Any], reason: str) -> None:
    short = Sample(np.zeros((4, 100), np.int16), None, metadata)
    with pytest.raises(InputError, match=reason):
        pulse.pulse(plain, [short], TEXT, seed=0)


def test_melody_models_have_no_such_heads() -> None:
    melody = musicgen.load("mini-melody", device="cpu", precision="float32")
    with pytest.raises(InputError, match="no cross-attention"):
        pulse.pulse(melody, clips(0, 1), TEXT, seed=0)
