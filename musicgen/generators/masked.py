"""Masked generation (MAGNeT, Ziv et al. 2024): all frames of a codebook in a few passes, codebook by codebook.

    pass i of n    the spans of the least certain codes, a share of cos(pi/2 * i/(n-1)), are masked and sampled again

Attention is bidirectional. In the first codebook each frame attends to all others; in the further codebooks, which depend less
on distant frames, only to its neighbours. Temperature and guidance scale decrease from pass to pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch

from musicgen.errors import CheckpointError, InputError
from musicgen.generate import Runner, Step
from musicgen.generators.base import Generator
from musicgen.generators.registry import register
from musicgen.generators.spans import ARRANGEMENTS, SCORES, OverlappingSpans, SeparateSpans, Spans
from musicgen.guidance import Guided
from musicgen.lm import LanguageModel
from musicgen.options import PAPER_GUIDANCE, GenerationOptions
from musicgen.patterns import Pattern
from musicgen.sampling import ClipStream, sample
from musicgen.windows import Window

LOWEST_TEMPERATURE = 1e-2
_INSTEAD = "this model generates in passes over all frames (MAGNeT), "


@register("masked")
class MaskedGenerator(Generator):
    """MAGNeT's decoding.

    Args:
        frames: Of the training segments: the model generates that many, and a shorter clip is cut from them.
        span: Frames that are masked together.
        reach: Frames to each side that a frame attends in all codebooks but the first; None for all.
        decoding_steps: Passes for each codebook.
        temperature: Of the first pass of a codebook; it falls linearly to 0.
        top_p: As of `GenerationOptions`.
        guidance: Scale at the beginning and at the end of a codebook; it falls with the share of masked spans.
        arrangement: Of the spans: one behind the other ("separate"), or one from each frame on ("overlapping").
        score: Of a separate span: "max" or "product" of its codes' probabilities.

    Raises:
        CheckpointError: A setting is out of range.
    """

    autoregressive = False
    timeline = f"{_INSTEAD}and has no timeline: pass one prompt for the whole clip"
    foreign: ClassVar[Mapping[str, str]] = {
        "temperature": f"{_INSTEAD}pass masked_temperature",
        "top_k": f"{_INSTEAD}and samples by masked_top_p",
        "top_p": f"{_INSTEAD}pass masked_top_p",
        "guidance_scale": f"{_INSTEAD}pass masked_guidance, the first and the last scale",
        "melody_guidance_scale": f"{_INSTEAD}and follows text only",
        "style_guidance_scale": f"{_INSTEAD}and follows text only",
        "condition_guidance": f"{_INSTEAD}and follows text only",
        "window_overlap": f"{_INSTEAD}within one window",
    }

    def __init__(
        self,
        frames: int,
        *,
        span: int = 3,
        reach: int | None = 5,
        decoding_steps: Sequence[int] = (20, 10, 10, 10),
        temperature: float = 3.0,
        top_p: float = 0.9,
        guidance: Sequence[float] = (10.0, 1.0),
        arrangement: str = ARRANGEMENTS[0],
        score: str = SCORES[0],
    ) -> None:
        for what, value, known in (("spans", arrangement, ARRANGEMENTS), ("scores of spans", score, SCORES)):
            if value not in known:
                raise CheckpointError(f"masked generation with the {what} {value!r}: one of {', '.join(known)}")
        if not 1 <= span <= frames or (reach is not None and reach < 0):
            raise CheckpointError(f"masked generation of {frames} frames in spans of {span} with a reach of {reach}")
        self.num_frames, self.span, self.reach = frames, span, reach
        self.arrangement, self.score = arrangement, score
        # Checked as a request's are. The guidance scale asks for both rows, which each pass mixes by a scale of its own.
        self.defaults = GenerationOptions(
            guidance_scale=PAPER_GUIDANCE,
            decoding_steps=tuple(decoding_steps),
            masked_temperature=temperature,
            masked_top_p=top_p,
            masked_guidance=(guidance[0], guidance[1]),
        )

    @property
    def usable(self) -> int:
        """Frames that a generation gives: whole spans where these are separate."""
        return self.num_frames if self._overlapping else self.num_frames // self.span * self.span

    @property
    def _overlapping(self) -> bool:
        # Spans of one frame do not overlap.
        return self.arrangement == "overlapping" and self.span > 1

    def _spans(self, batch: int, known: int, device: torch.device) -> Spans:
        shape = (batch, self.usable, self.span, known, device)
        return OverlappingSpans(*shape) if self._overlapping else SeparateSpans(*shape, self.score)

    def frames(self, total: int, context: int) -> int:
        if total > context:
            raise InputError(
                f"the clip has {total} frames and the model's window {context}: {_INSTEAD}and makes no longer clips"
            )
        return min(total, self.usable)

    def num_steps(self, pattern: Pattern, window: Window, options: GenerationOptions) -> int:  # noqa: ARG002
        return sum(self._passes(options, pattern.num_codebooks))

    def steps(
        self,
        lm: LanguageModel,
        pattern: Pattern,
        guidance: Guided,
        num_frames: int,
        options: GenerationOptions,
        streams: Sequence[ClipStream],
        prompt: torch.Tensor | None = None,
        runner: Runner | None = None,  # noqa: ARG002 (executes autoregressive models)
    ) -> Iterator[Step]:
        passes, done = self._passes(options, pattern.num_codebooks), 0
        known = 0 if prompt is None else prompt.shape[2]
        shape = (len(streams), pattern.num_codebooks, self.usable)
        codes = torch.full(shape, lm.config.special_token, dtype=torch.int64, device=lm.embedding.weight.device)
        if prompt is not None:
            codes[:, :, :known] = prompt
        for codebook, count in enumerate(passes):
            for _ in self._codebook(lm, codes, codebook, count, guidance, options, streams, known):
                done += 1
                if done < sum(passes):
                    yield Step(done, sum(passes), codes[:, :, :0])
        yield Step(done, done, codes[:, :, known:num_frames])

    @torch.no_grad()
    def _pass(
        self, lm: LanguageModel, codes: torch.Tensor, codebook: int, guidance: Guided, scale: float
    ) -> torch.Tensor:
        """The guided logits [B, T, N] of a codebook, float32."""
        reach = None if codebook == 0 else self.reach
        logits = lm.bidirectional(codes.repeat(guidance.groups, 1, 1), guidance.conditions, reach)[:, codebook].float()
        given, null = logits.unflatten(0, (guidance.groups, -1))[[0, -1]]
        return null + (given - null) * scale

    def _codebook(
        self,
        lm: LanguageModel,
        codes: torch.Tensor,
        codebook: int,
        passes: int,
        guidance: Guided,
        options: GenerationOptions,
        streams: Sequence[ClipStream],
        known: int,
    ) -> Iterator[None]:
        """Fill one codebook of the codes [B, K, T], whose first `known` frames are given; yields after each pass."""
        row, special = codes[:, codebook], lm.config.special_token
        given = row[:, :known].clone()
        spans = self._spans(row.shape[0], known, row.device)
        assert options.masked_guidance is not None
        assert options.masked_temperature is not None
        assert options.masked_top_p is not None
        first, last = options.masked_guidance
        shares = torch.cos(torch.linspace(0, 1, passes) * (math.pi * 0.5))
        for index, share in enumerate(shares):
            row[spans.mask(share)] = special
            row[:, :known] = given
            open_frames = row == special

            scale = float(share) * first + (1 - float(share)) * last
            logits = self._pass(lm, codes, codebook, guidance, scale)
            temperature = options.masked_temperature * ((passes - 1 - index) / passes)
            temperature = max(temperature, LOWEST_TEMPERATURE)
            sampling = GenerationOptions(options.do_sample, temperature, top_k=0, top_p=options.masked_top_p)
            uniforms = torch.stack([stream.uniforms(self.usable, stream.together)[:, 0] for stream in streams])
            drawn = sample(logits, sampling, uniforms)
            row.copy_(torch.where(open_frames, drawn, row))
            certain = torch.softmax(logits / temperature, dim=-1).gather(2, drawn[..., None])[..., 0]
            spans.update(certain, open_frames)
            yield

    def _passes(self, options: GenerationOptions, num_codebooks: int) -> tuple[int, ...]:
        passes = options.decoding_steps
        assert passes is not None
        if len(passes) != num_codebooks:
            raise InputError(
                f"decoding_steps has {len(passes)} numbers of passes: the model has {num_codebooks} codebooks"
            )
        return passes

    def config(self) -> dict[str, Any]:
        own = self.defaults
        return {
            "frames": self.num_frames, "span": self.span, "reach": self.reach,
            "decoding_steps": list(own.decoding_steps or ()), "temperature": own.masked_temperature,
            "top_p": own.masked_top_p, "guidance": list(own.masked_guidance or ()),
            "arrangement": self.arrangement, "score": self.score,
        }  # fmt: skip
