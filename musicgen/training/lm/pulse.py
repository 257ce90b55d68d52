"""Cross-attention heads that begin as a clock: they beat at the tempo that the text names.

What a text says of the tempo is hard to learn from music's loss: the model would have to find that a number in the text is
the rate of something, and one bar later the music itself tells its tempo to any model that only continues it. Here two
heads of the first layer are fitted beforehand, in a minute. Their attention to the words of a text is a sum of the position
embedding's waves near the named tempo, weighted by the text, so that the first head's output rises on every beat of the
first seconds, the second's between the beats. What the model does with it is left to training, on crops that begin with a
bar (`data.begin: bars`); the music keeps its own time later, where the waves of the position embedding drift apart.

The text encoder stays as it is. Texts are paired with codes of other music, so that the clock cannot listen to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from musicgen.conditioners.condition import join
from musicgen.conditioners.text import T5Conditioner
from musicgen.errors import InputError
from musicgen.model import MusicGen
from musicgen.training.lm.batches import LEAD_IN
from musicgen.training.lm.config import Text
from musicgen.training.lm.descriptions import describe
from musicgen.training.lm.shards import Sample
from musicgen.transformer import Block, CrossAttention, sinusoid

OFFSETS = (0.0, 0.5)
"""Of the heads 0, 1: beats after the beat."""
SECONDS = 4.0
"""How long the clock should be right."""
WIDTH = 0.03
"""Seconds: the standard deviation of a pulse."""
SLOWEST, FASTEST = 40.0, 260.0
"""Beats a minute that the waves cover."""
CLIPS, BATCH, STEPS = 48, 32, 600
QUERY_RATE, KEY_RATE = 1e-3, 5e-3
RIDGE = 1e-2
SHARPNESS = 3.0
GAIN = 0.2
"""Of the head's output, a coordinate: entries of the residual stream are about 1."""


@dataclass(frozen=True)
class Head:
    """query, key: [head width, D]; value: [D], whose product with a text's vectors is what attention adds up."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor

    def output(self, entering: torch.Tensor, vectors: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """entering [B, S, D], text vectors [B, L, D] with their mask -> [B, S]."""
        scores = (entering @ self.query.T) @ (vectors @ self.key.T).transpose(1, 2) / math.sqrt(len(self.query))
        attention = scores.masked_fill(~real[:, None], -math.inf).softmax(dim=-1)
        return (attention @ (vectors @ self.value).unsqueeze(-1)).squeeze(-1)


def pulse(model: MusicGen, clips: Sequence[Sample], options: Text, seed: int) -> None:
    """Change two heads of the first layer of a text model in place, deterministically. `clips`: music whose metadata has
    bpm and downbeats; `options`: how its texts are written."""
    text, lm = model.text, model.lm
    if not isinstance(text, T5Conditioner) or not lm.config.cross_attention:
        raise InputError("start.pulse is for text models: a melody model has no cross-attention")
    if len(OFFSETS) >= lm.config.num_heads:
        raise InputError(
            f"start.pulse changes {len(OFFSETS)} heads, and {model.name} has {lm.config.num_heads}: that leaves none"
        )
    timed = [clip for clip in clips if clip.metadata.get("bpm") and clip.metadata.get("downbeats")]
    if not timed:
        raise InputError("start.pulse needs clips whose metadata has bpm and downbeats: leave it out")
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    block = lm.blocks[0]
    assert isinstance(block, Block)
    assert block.cross_attention is not None
    entering = _entering(model, block, _sequence(model, timed, random))
    for number, offset in enumerate(OFFSETS):
        head = _first(model, entering, generator)
        _fit(head, entering, text, _Texts(timed, options, float(model.frame_rate), offset, random))
        _replace(block.cross_attention, number, head, generator)


def target(bpm: float, steps: int, frame_rate: float, offset: float = 0.0) -> torch.Tensor:
    """What the clock should say at each step [S] of music that begins with a bar: 1 on a beat, 0 far from it."""
    beats = ((torch.arange(steps) + 0.5) / frame_rate - LEAD_IN) * bpm / 60 - offset
    away = (beats - beats.round()) * 60 / bpm
    return torch.exp(-0.5 * (away / WIDTH) ** 2)


def names_tempo(text: str, bpm: float) -> bool:
    """Whether the tempo stands in the text as a number."""
    return re.search(rf"\b{bpm:g} ?(bpm|beats)|bpm: {bpm:g}\b", text.lower()) is not None


class _Texts:
    """Texts and what the clock should say to them: nothing where the tempo is not named."""

    def __init__(
        self, clips: Sequence[Sample], options: Text, frame_rate: float, offset: float, random: np.random.Generator
    ) -> None:
        self.clips, self.options, self.frame_rate, self.offset, self.random = clips, options, frame_rate, offset, random

    def batch(self, steps: int) -> tuple[list[str], torch.Tensor]:
        """BATCH texts and targets [BATCH, S]."""
        metadata = [self.clips[i].metadata for i in self.random.integers(len(self.clips), size=BATCH)]
        texts = [describe(fields, self.options, self.random) or " " for fields in metadata]
        wanted = [
            target(fields["bpm"], steps, self.frame_rate, self.offset)
            if names_tempo(text, fields["bpm"])
            else torch.zeros(steps)
            for text, fields in zip(texts, metadata, strict=True)
        ]
        return texts, torch.stack(wanted)


def _sequence(model: MusicGen, clips: Sequence[Sample], random: np.random.Generator) -> torch.Tensor:
    """[CLIPS, K, S]: the codes of random crops, as the language model reads them."""
    frames = round(SECONDS * float(model.frame_rate))
    long = [clip for clip in clips if clip.codes.shape[1] >= frames]
    if not long:
        raise InputError(f"start.pulse needs clips of {SECONDS:g} s, and there is none")
    crops = []
    for i in random.integers(len(long), size=CLIPS):
        start = int(random.integers(long[i].codes.shape[1] - frames + 1))
        crops.append(torch.from_numpy(long[i].codes[:, start : start + frames].astype(np.int64)))
    return model.pattern.layout(frames).build(torch.stack(crops), model.lm.config.special_token)[:, :, :frames]


@torch.no_grad()
def _entering(model: MusicGen, block: Block, sequence: torch.Tensor) -> torch.Tensor:
    """What the first block's cross-attention reads, whatever the text: [CLIPS, S, D]."""
    seen: list[torch.Tensor] = []
    assert block.norm_cross is not None
    hook = block.norm_cross.register_forward_hook(lambda *call: seen.append(call[2]))
    model.lm(sequence, join(model.text([None] * len(sequence)), None, cross_attention=True))
    hook.remove()
    return seen[0].float()


def _first(model: MusicGen, entering: torch.Tensor, generator: torch.Generator) -> Head:
    """The head that fitting starts with: queries are the position embedding's waves, as well as they can be read off."""
    dim = model.lm.config.dim
    width = dim // model.lm.config.num_heads
    waves = _waves(entering.shape[1], dim, float(model.frame_rate))[:, :width]
    x = entering.flatten(0, 1).double()
    gram = x.T @ x + RIDGE * len(x) * torch.eye(dim, dtype=torch.float64)
    query = torch.linalg.solve(gram, x.T @ waves.repeat(len(entering), 1).double()).T.float()
    query = nn.functional.pad(query, (0, 0, 0, width - len(query)))
    return Head(
        SHARPNESS * query,
        torch.empty(width, dim).normal_(0.0, 0.02, generator=generator),
        torch.empty(dim).normal_(0.0, 0.05, generator=generator),
    )


def _waves(steps: int, dim: int, frame_rate: float) -> torch.Tensor:
    """The waves [S, 2 n] of the position embedding whose rates are possible tempos, fastest first."""
    half = dim // 2
    rates = 10_000.0 ** (-torch.arange(half) / (half - 1)) * frame_rate * 60 / (2 * math.pi)
    chosen = ((rates > SLOWEST) & (rates < FASTEST)).nonzero().squeeze(1)
    embedding = sinusoid(torch.arange(steps), dim)
    return embedding[:, torch.stack([chosen, chosen + half], dim=1).flatten()]


def _fit(head: Head, entering: torch.Tensor, text: T5Conditioner, texts: _Texts) -> None:
    """Change the head in place."""
    for weight in (head.query, head.key, head.value):
        weight.requires_grad_()
    groups = [{"params": [head.query], "lr": QUERY_RATE}, {"params": [head.key, head.value], "lr": KEY_RATE}]
    optimiser = torch.optim.Adam(groups)
    for _ in range(STEPS):
        written, wanted = texts.batch(entering.shape[1])
        ids, real = text.tokens(written, texts.options.max_tokens)
        with torch.no_grad():
            vectors = text.projection(text.hidden(ids, real)) * real[..., None]
        some = entering[torch.from_numpy(texts.random.integers(len(entering), size=BATCH))]
        loss = (head.output(some, vectors, real) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def _replace(attention: CrossAttention, number: int, head: Head, generator: torch.Generator) -> None:
    """Give the head `number` these queries, keys and the one value, which goes out in a random direction."""
    width, dim = head.query.shape
    rows = slice(number * width, (number + 1) * width)
    attention.query.weight[rows] = head.query
    key, value = attention.key_value.weight.chunk(2)
    key[rows] = head.key
    # The other values of the head are free for training: 0 now.
    value[rows] = nn.functional.pad(head.value[None], (0, 0, 0, width - 1))
    attention.out.weight[:, rows] = torch.empty(dim, width).normal_(0.0, GAIN, generator=generator)
