"""The readable path: conditions -> codes, one pattern step after the other. The oracle of every faster one.

    sequence [B, K, S + 1]   starts as special tokens where the pattern has no code, UNKNOWN where one is to come
    step s                   logits of index s - 1, guided, sampled, written where the sequence is UNKNOWN

It knows nothing of descriptions, audio or windows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from musicgen.conditioners.condition import Condition, join, stack
from musicgen.lm import Conditions, LanguageModel
from musicgen.options import GenerationOptions
from musicgen.patterns import Pattern
from musicgen.sampling import ClipStream, sample

UNKNOWN = -1


@dataclass(frozen=True)
class Step:
    """What one step of the model brought.

    done, total: pattern steps made and in all; codes: [B, K, n] of the frames that are complete now, in order, often n = 1,
    or 0 where the pattern completes none.
    """

    done: int
    total: int
    codes: torch.Tensor


@dataclass(frozen=True)
class Guided:
    """The rows that guidance compares, `groups` for each clip, stacked group after group: conditional first, null last."""

    conditions: Conditions
    groups: int

    def mix(self, logits: torch.Tensor, options: GenerationOptions) -> torch.Tensor:
        """[groups * B, ...] -> [B, ...] by the options' scales."""
        rows = logits.unflatten(0, (self.groups, -1))
        if self.groups == 1:
            return rows[0]
        null = rows[-1]
        if self.groups == 2:
            return null + options.guidance_scale * (rows[0] - null)
        melody_scale = options.melody_guidance_scale
        assert melody_scale is not None
        both, melody = rows[0], rows[1]
        return null + melody_scale * (melody - null) + options.guidance_scale * (both - melody)


def guided(
    text: Condition,
    null_text: Condition,
    melody: Condition | None,
    null_melody: Condition | None,
    options: GenerationOptions,
    *,
    cross_attention: bool,
) -> Guided:
    """The rows for a batch. `null_text` is what guidance leads away from: zero vectors, or the negative prompt."""
    texts, melodies = [text], [melody]
    if melody is not None and options.melody_guidance_scale is not None:
        texts += [null_text, null_text]
        melodies += [melody, null_melody]
    elif options.guidance_scale != 1.0:
        texts.append(null_text)
        melodies.append(null_melody)
    stacked = None if melody is None else stack([m for m in melodies if m is not None])
    return Guided(join(stack(texts), stacked, cross_attention=cross_attention), len(texts))


@torch.no_grad()
def generate_codes(
    lm: LanguageModel,
    pattern: Pattern,
    guidance: Guided,
    num_frames: int,
    options: GenerationOptions,
    streams: Sequence[ClipStream],
    prompt: torch.Tensor | None = None,
) -> Iterator[Step]:
    """Codes of B = len(streams) clips of `num_frames` frames, step by step; with a `prompt` [B, K, P], P < num_frames, those
    of the frames that follow it. Nothing is computed before the first step is asked for."""
    special, num_codebooks = lm.config.special_token, lm.config.num_codebooks
    device = lm.embedding.weight.device
    layout = pattern.layout(num_frames)
    known = 0 if prompt is None else prompt.shape[2]
    codes = torch.full((len(streams), num_codebooks, num_frames), UNKNOWN, dtype=torch.int64, device=device)
    if prompt is not None:
        codes[:, :, :known] = prompt
    sequence = layout.build(codes, special)
    uniforms = torch.stack([stream.uniforms(layout.num_steps, num_codebooks) for stream in streams])

    complete_at = layout.steps.amax(dim=0).tolist()
    start, complete = layout.first_step_of_frame(known), known
    rows = guidance.groups * len(streams)
    cache = lm.new_cache(rows, guidance.conditions.prefix_length + layout.num_steps)
    entered = 0
    for step in range(start, layout.num_steps + 1):
        inputs = sequence[:, :, entered:step].repeat(guidance.groups, 1, 1)
        logits = guidance.mix(lm(inputs, guidance.conditions, cache)[:, :, -1].float(), options)
        entered = step
        drawn = sample(logits, options, uniforms[:, step - 1])
        column = sequence[:, :, step]
        sequence[:, :, step] = torch.where(column == UNKNOWN, drawn, column)
        new = bisect_right(complete_at, step, lo=complete)
        finished = layout.steps[:, complete:new].to(device).expand(len(streams), -1, -1)
        yield Step(step - start + 1, layout.num_steps + 1 - start, sequence.gather(2, finished))
        complete = new
