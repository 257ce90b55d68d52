"""The readable path: conditions -> codes, one pattern step after the other. The oracle of every faster one.

    sequence [B, K, S + 1]   starts as special tokens where the pattern has no code, UNKNOWN where one is to come
    step s                   logits of index s - 1, guided, sampled, written where the sequence is UNKNOWN

It knows nothing of prompts, audio or windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from musicgen.conditioners.condition import Condition, join, stack
from musicgen.lm import Conditions, LanguageModel
from musicgen.options import GenerationOptions
from musicgen.patterns import Pattern
from musicgen.sampling import ClipStream, sample

UNKNOWN = -1

StepCallback = Callable[[int, int], None]
"""Called with (steps done, steps in all); an exception it raises ends the generation."""


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
    on_step: StepCallback | None = None,
) -> torch.Tensor:
    """Codes [B, K, num_frames] for B = len(streams) clips, continuing `prompt` [B, K, P], P < num_frames, if given."""
    special, num_codebooks = lm.config.special_token, lm.config.num_codebooks
    device = lm.embedding.weight.device
    layout = pattern.layout(num_frames)
    codes = torch.full((len(streams), num_codebooks, num_frames), UNKNOWN, dtype=torch.int64, device=device)
    start = 1
    if prompt is not None and prompt.shape[2] > 0:
        codes[:, :, : prompt.shape[2]] = prompt
        start = layout.first_step_of_frame(prompt.shape[2])
    sequence = layout.build(codes, special)
    uniforms = torch.stack([stream.uniforms(layout.num_steps, num_codebooks) for stream in streams])

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
        if on_step is not None:
            on_step(step - start + 1, layout.num_steps + 1 - start)
    return layout.revert(sequence, UNKNOWN)[0]
