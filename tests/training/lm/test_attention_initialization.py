"""Heads fitted to look at the melody's frame that belongs to each moment."""

import copy

import pytest
import torch
from torch import nn

import musicgen
from musicgen import chroma
from musicgen.errors import InputError
from musicgen.lm import Conditions, LanguageModel, LMConfig
from musicgen.model import MusicGen
from musicgen.training.lm import attention_initialization
from musicgen.training.lm.initialization import melody_from_text
from musicgen.transformer import SelfAttention
from tests import standins


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> MusicGen:
    """A small melody model of 4 s, its text 8 vectors long: positions need some width to be told apart."""
    folder = standins.write(standins.transformers_model(), tmp_path_factory.mktemp("plain"))
    model = melody_from_text(musicgen.load(folder, device="cpu"), 4.0, seed=0)
    model.text.length = 8
    torch.manual_seed(0)
    model.lm = LanguageModel(LMConfig(96, 2, 2, 4, 64, cross_attention=False)).requires_grad_(False)
    model.melody.projection = nn.Linear(chroma.NUM_CHROMA, 96).requires_grad_(False)
    return model


def attention(model: MusicGen, layer: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [steps, melody frames] of the head for another batch than the fitted one, by the layer's own projections, and
    each step's frame."""
    generator = torch.Generator().manual_seed(seed)
    sequence, text = attention_initialization._random_batch(model, generator)
    classes = torch.randint(chroma.NUM_CHROMA, (len(sequence), model.melody.length), generator=generator)
    melody = model.melody.project(nn.functional.one_hot(classes, chroma.NUM_CHROMA).float())
    prefix = torch.cat([melody.values, text.values], dim=1)
    seen: list[torch.Tensor] = []
    attend: SelfAttention = model.lm.blocks[layer].self_attention
    hook = attend.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        model.lm(sequence, Conditions(prefix=prefix))
        hook.remove()
        q, k, _ = (part.unflatten(-1, (attend.heads, -1))[:, :, 0] for part in attend.qkv(seen[0]).chunk(3, dim=-1))
    scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(
        torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1), -torch.inf
    )
    start = prefix.shape[1]
    frames = torch.arange(sequence.shape[2]) * (32_000 / 50) / chroma.HOP
    return scores.softmax(dim=-1)[:, start:, : model.melody.length].mean(dim=0), frames


def near(model: MusicGen, layer: int, offset: float) -> float:
    """Share of the attention that lies within 1.5 frames of the right one."""
    weights, frames = attention(model, layer, seed=5)
    distance = (torch.arange(weights.shape[1])[None] - frames[:, None] - offset).abs()
    return float((weights * (distance <= 1.5)).sum(dim=1).mean())


def test_the_heads_look_at_the_melody(plain: MusicGen) -> None:
    aligned = copy.deepcopy(plain)
    attention_initialization.initialize_melody_attention(aligned, seed=0)
    for layer, offset in enumerate(attention_initialization.OFFSETS):
        assert near(plain, layer, offset) < 0.12  # by chance: 3 of 32 frames
        assert near(aligned, layer, offset) > 0.4
    again = copy.deepcopy(plain)
    attention_initialization.initialize_melody_attention(again, seed=0)
    for name, weight in again.lm.state_dict().items():
        assert torch.equal(weight, aligned.lm.state_dict()[name]), name
    # Other heads and layers are as they were.
    before, after = (model.lm.blocks[0].self_attention.qkv.weight.chunk(3)[0] for model in (plain, aligned))
    width = plain.lm.config.dim // plain.lm.config.num_heads
    assert torch.equal(before[width:], after[width:])
    assert torch.equal(plain.lm.blocks[-1].ffn_in.weight, aligned.lm.blocks[-1].ffn_in.weight)


def test_texts_of_any_length_cannot_be_aligned(plain: MusicGen) -> None:
    free = copy.deepcopy(plain)
    free.text.length = 0
    with pytest.raises(InputError, match=r"set text\.length"):
        attention_initialization.initialize_melody_attention(free, seed=0)
