"""Attention initialisation: one head in each of the first layers attends to the melody frame of the current step.

In a melody model, step s must attend to frame s / 6.4 of the prefix, at a distance that grows along the clip. The gradient of
the cross-entropy finds this alignment slowly, because a head that attends to other frames gives no information about the next
code. So the query and key weights of one head in each of the first layers are fitted before training, on random codes and
melodies, in seconds: first by ridge regression on sinusoids of the frame index, then by the cross-entropy between the attention
and a narrow Gaussian window around the frame. Value and output weights are left to training.

The distance between music and melody must not depend on the text, so texts must have a fixed length.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from musicgen import chroma
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.text import T5Conditioner
from musicgen.errors import InputError
from musicgen.lm import Conditions
from musicgen.model import MusicGen
from musicgen.tokenizers import frames_of
from musicgen.transformer import Block

OFFSETS = (0.0, 1.0)
"""For layers 0 and 1: how many chroma frames (of 1/8 s) ahead of the predicted code the head attends."""
HEAD = 0
WIDTH = 0.7
"""Standard deviation of the target window, in chroma frames."""
CLIPS, BATCH, STEPS, LEARNING_RATE = 16, 4, 300, 3e-3
RIDGE = 1e-2
SHARPNESS = 16.0


def initialize_melody_attention(model: MusicGen, seed: int) -> None:
    """Initialise one head of each of the first layers of a melody model, in place and deterministically.

    Raises:
        InputError: The model has no melody, no fixed text length, or too few layers.
    """
    melody, text, lm = model.melody, model.text, model.lm
    if melody is None or not isinstance(text, T5Conditioner) or text.length == 0:
        raise InputError("start.align is for melody models whose texts have a fixed length: set text.length")
    if len(OFFSETS) > lm.config.num_layers:
        raise InputError(f"start.align changes {len(OFFSETS)} layers, and {model.name} has {lm.config.num_layers}")
    generator = torch.Generator().manual_seed(seed)
    sequence, condition = _random_batch(model, generator)
    melodies = melody.project(_random_melodies(melody.length, generator))
    conditions = model.fuser({"melody": melodies, "text": condition})
    # Steps count codes: the vector at step s predicts the codes of frame s.
    frames = torch.arange(sequence.shape[2]) / (float(model.frame_rate) * chroma.HOP / chroma.SAMPLE_RATE)
    for layer, offset in enumerate(OFFSETS):
        entering = _entering(model, layer, sequence, conditions)
        query, key = _fit(entering, frames + offset, melody.length, lm.config.dim // lm.config.num_heads, generator)
        _replace(model, layer, query, key, generator)


def _random_batch(model: MusicGen, generator: torch.Generator) -> tuple[torch.Tensor, Condition]:
    """A sequence [B, K, S] of random codes, and the null text condition."""
    config, text = model.lm.config, model.text
    assert isinstance(text, T5Conditioner)
    shape = (CLIPS, config.num_codebooks, frames_of(model.tokenizer, model.max_duration))
    codes = torch.randint(config.codebook_size, shape, generator=generator)
    sequence = model.pattern.layout(shape[2]).build(codes, config.special_token)
    values = torch.zeros(CLIPS, text.length, config.dim)
    return sequence, Condition(values, torch.ones(values.shape[:2], dtype=torch.bool))


def _random_melodies(length: int, generator: torch.Generator) -> torch.Tensor:
    classes = torch.randint(chroma.NUM_CHROMA, (CLIPS, length), generator=generator)
    return nn.functional.one_hot(classes, chroma.NUM_CHROMA).float()


@torch.no_grad()
def _entering(model: MusicGen, layer: int, sequence: torch.Tensor, conditions: Conditions) -> torch.Tensor:
    """The input of the layer's self-attention: [B, P + S, D]."""
    seen: list[torch.Tensor] = []
    block = model.lm.blocks[layer]
    assert isinstance(block, Block)
    hook = block.norm_self.register_forward_hook(lambda *call: seen.append(call[2]))
    model.lm(sequence, conditions)
    hook.remove()
    return seen[0].float()


def _fit(
    entering: torch.Tensor, wanted: torch.Tensor, length: int, width: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit query and key weights, each [width, D].

    Args:
        entering: [B, P + S, D], inputs of the attention.
        wanted: float32 [S], the (fractional) chroma frame that each step should attend.
        length: Chroma frames of the melody.
        width: Of a head.
        generator: Chooses the batches.
    """
    steps = wanted.shape[0]
    prefix = entering.shape[1] - steps
    dim = entering.shape[2]
    targets = torch.zeros(entering.shape[1], width)  # of the keys: 0 after the melody
    targets[:length] = _waves(torch.arange(length).float(), width, dim)
    key = _ridge(entering, targets) * math.sqrt(SHARPNESS)
    query = _ridge(entering[:, prefix:], _waves(wanted, width, dim)) * math.sqrt(SHARPNESS)

    distance = torch.arange(length)[None] - wanted[:, None]
    window = nn.functional.pad(torch.exp(-0.5 * (distance / WIDTH) ** 2), (0, entering.shape[1] - length))
    inside = wanted <= length - 1  # the last steps are beyond the melody's end
    window = window[inside] / window[inside].sum(dim=1, keepdim=True)
    future = torch.ones(steps, entering.shape[1], dtype=torch.bool).triu(prefix + 1)[inside]
    weights = [query.requires_grad_(), key.requires_grad_()]
    optimiser = torch.optim.Adam(weights, lr=LEARNING_RATE)
    for _ in range(STEPS):
        some = entering[torch.randint(len(entering), (BATCH,), generator=generator)]
        scores = (some[:, prefix:][:, inside] @ query.T) @ (some @ key.T).transpose(1, 2) / math.sqrt(width)
        attention = scores.masked_fill(future, -math.inf).log_softmax(dim=-1).masked_fill(future, 0.0)
        loss = -(window * attention).sum(dim=-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return query.detach(), key.detach()


def _waves(frames: torch.Tensor, width: int, dim: int) -> torch.Tensor:
    """Frames [n] -> features [n, width]: cosines and sines, whose inner product is largest between equal frames, and a
    constant, which separates the melody from all other positions. Their frequencies are a subset of those of the position
    embedding (`sinusoid`), from about 1 to 10000^(-1/3) a frame; lower ones do not resolve the frames of a melody."""
    pairs, last = width // 2 - 1, dim // 2 - 1
    spacing = max(1, round(last / (3 * pairs)))
    rates = 10_000.0 ** (-spacing * torch.arange(1, pairs + 1) / last)
    angles = frames[:, None] * rates
    constant = torch.full((len(frames), 1), math.sqrt(pairs))
    waves = torch.cat([angles.cos(), angles.sin(), constant], dim=1)
    return nn.functional.pad(waves, (0, width - waves.shape[1]))


def _ridge(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Ridge regression: weights [width, D] from inputs [B, n, D] to targets [n, width]."""
    x = inputs.flatten(0, 1).double()
    y = targets.repeat(len(inputs), 1).double()
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, x.T @ y).T.float().contiguous()


@torch.no_grad()
def _replace(model: MusicGen, layer: int, query: torch.Tensor, key: torch.Tensor, generator: torch.Generator) -> None:
    """Set query and key weights of the head, and draw small value and output weights."""
    config = model.lm.config
    width = config.dim // config.num_heads
    block = model.lm.blocks[layer]
    assert isinstance(block, Block)
    attention = block.self_attention
    rows = slice(HEAD * width, (HEAD + 1) * width)
    value = torch.empty(width, config.dim).normal_(0.0, 1 / math.sqrt(config.dim), generator=generator)
    out = torch.empty(config.dim, width).normal_(0.0, 1 / math.sqrt(2 * config.num_layers * width), generator=generator)
    for part, weight in zip(attention.qkv.weight.chunk(3), (query, key, value), strict=True):
        part[rows] = weight
    attention.out.weight[:, rows] = out
