"""The autoregressive generation loop: conditions -> codes, one pattern step at a time (paper sections 2.1 and 2.2).

    sequence [B, K, S + 1]   initially the special token where the pattern has no code, UNKNOWN where one is to be sampled
    step s                   logits at index s - 1, classifier-free guidance, sampling, written where the sequence is UNKNOWN

With `LanguageModel` as the runner this is the reference path, against which the engine is tested.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from musicgen.guidance import Guided
from musicgen.lm import Conditions, LanguageModel
from musicgen.options import GenerationOptions
from musicgen.patterns import Pattern
from musicgen.sampling import ClipStream, sample

UNKNOWN = -1


@dataclass(frozen=True)
class Step:
    """The result of one pattern step.

    Attributes:
        done: Steps made.
        total: Steps in all.
        codes: int64 [B, K, n] of the frames that this step completed, in order: often n = 1, or 0 where the pattern
            completes none.
    """

    done: int
    total: int
    codes: torch.Tensor


class WindowRun:
    """The state of generating one window: the next inputs of the model, and where sampled codes are written.

    B = len(streams) clips of `num_frames` frames; the first P frames are given by a `prompt` [B, K, P], P < num_frames.
    """

    def __init__(
        self,
        pattern: Pattern,
        num_frames: int,
        streams: Sequence[ClipStream],
        special: int,
        device: torch.device,
        prompt: torch.Tensor | None = None,
    ) -> None:
        self.layout = pattern.layout(num_frames)
        known = 0 if prompt is None else prompt.shape[2]
        codes = torch.full((len(streams), pattern.num_codebooks, num_frames), UNKNOWN, dtype=torch.int64, device=device)
        if prompt is not None:
            codes[:, :, :known] = prompt
        self.sequence = self.layout.build(codes, special)
        uniforms = [stream.uniforms(self.layout.num_steps, pattern.num_codebooks) for stream in streams]
        self._uniforms = torch.stack(uniforms)
        self._steps = self.layout.steps.to(device)
        self._complete_at = self.layout.steps.amax(dim=0).tolist()
        self._start = self.step = self.layout.first_step_of_frame(known)
        self._complete = known
        self._entered = 0

    @property
    def total(self) -> int:
        """Number of steps, without those of the prompt."""
        return self.layout.num_steps + 1 - self._start

    @property
    def finished(self) -> bool:
        return self.step > self.layout.num_steps

    def inputs(self) -> torch.Tensor:
        """int64 [B, K, n], the steps that the model has not seen: many for the prefill, then one at a time."""
        inputs = self.sequence[:, :, self._entered : self.step]
        self._entered = self.step
        return inputs

    def uniforms(self) -> torch.Tensor:
        """float64 [B, K], the random numbers of the present step."""
        return self._uniforms[:, self.step - 1]

    def advance(self, drawn: torch.Tensor) -> Step:
        """Write sampled codes [B, K] where the sequence is UNKNOWN, and advance to the next step."""
        column = self.sequence[:, :, self.step]
        self.sequence[:, :, self.step] = torch.where(column == UNKNOWN, drawn, column)
        new = bisect_right(self._complete_at, self.step, lo=self._complete)
        finished = self._steps[:, self._complete : new]
        codes = self.sequence.gather(2, finished.expand(self.sequence.shape[0], -1, -1))
        self._complete = new
        self.step += 1
        return Step(self.step - self._start, self.total, codes)


class Runner(Protocol):
    """Executes a language model: the PyTorch module, or the engine."""

    def start(
        self, conditions: Conditions, rows: int, capacity: int, clips: int = 1
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """See `LanguageModel.start`."""
        ...

    def is_batch_invariant(self, *rows: int) -> bool:
        """Whether a row has the same logits bit for bit in batches of any of these numbers of rows."""
        ...


@torch.no_grad()
def generate_codes(
    lm: LanguageModel,
    pattern: Pattern,
    guidance: Guided,
    num_frames: int,
    options: GenerationOptions,
    streams: Sequence[ClipStream],
    prompt: torch.Tensor | None = None,
    runner: Runner | None = None,
) -> Iterator[Step]:
    """Generate one window of B = len(streams) clips. Lazy: nothing is computed before the first step is requested.

    Args:
        lm: The language model.
        pattern: Its codebook interleaving pattern.
        guidance: The conditions of all rows.
        num_frames: T, prompt included.
        options: Sampling.
        streams: One random stream a clip.
        prompt: int64 [B, K, P], P < T, frames that are given.
        runner: What executes the language model; None runs the module itself.

    Yields:
        One Step for each pattern step; their codes concatenated are the T - P frames after the prompt.
    """
    run = WindowRun(pattern, num_frames, streams, lm.config.special_token, lm.embedding.weight.device, prompt)
    conditions, rows = guidance.conditions, guidance.groups * len(streams)
    predict = (lm if runner is None else runner).start(conditions, rows, run.layout.num_steps, len(streams))
    while not run.finished:
        logits = predict(run.inputs().repeat(guidance.groups, 1, 1))
        yield run.advance(sample(guidance.mix(logits), options, run.uniforms()))
