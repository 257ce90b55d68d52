"""One pattern step after the other: MusicGen and AudioGen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from musicgen.generate import Runner, Step, generate_codes
from musicgen.generators.base import Generator
from musicgen.generators.registry import register
from musicgen.guidance import Guided
from musicgen.lm import LanguageModel
from musicgen.options import PAPER_GUIDANCE, GenerationOptions
from musicgen.patterns import Pattern
from musicgen.sampling import ClipStream
from musicgen.windows import Window


@register("autoregressive")
class AutoregressiveGenerator(Generator):
    """See `musicgen.generate`.

    Args:
        guidance_scale: The model's own, for requests that leave it to the model.
    """

    autoregressive = True
    foreign = dict.fromkeys(
        ("decoding_steps", "masked_temperature", "masked_top_p", "masked_guidance"),
        "this model generates step by step, the option is for MAGNeT models",
    )

    def __init__(self, guidance_scale: float = PAPER_GUIDANCE) -> None:
        self.defaults = GenerationOptions(guidance_scale=guidance_scale)

    def num_steps(self, pattern: Pattern, window: Window, options: GenerationOptions) -> int:  # noqa: ARG002
        layout = pattern.layout(window.length)
        return layout.num_steps + 1 - layout.first_step_of_frame(window.known)

    def steps(
        self,
        lm: LanguageModel,
        pattern: Pattern,
        guidance: Guided,
        num_frames: int,
        options: GenerationOptions,
        streams: Sequence[ClipStream],
        prompt: torch.Tensor | None = None,
        runner: Runner | None = None,
    ) -> Iterator[Step]:
        return generate_codes(lm, pattern, guidance, num_frames, options, streams, prompt, runner)
