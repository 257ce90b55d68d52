"""How a clip is drawn from the model: frozen, checked once, free of torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from musicgen.errors import InputError

MAX_DURATION = 600.0
"""The longest clip that one call generates, in seconds: a typing error should not run for a day."""


@dataclass(frozen=True)
class GenerationOptions:
    """Sampling and guidance. The defaults are the paper's (section 3.1)."""

    do_sample: bool = True
    """Draw from the distribution; False takes the most likely code (greedy)."""
    temperature: float = 1.0
    """Divides the logits: below 1 is safer, above 1 is wilder."""
    top_k: int = 250
    """Keep the k most likely codes; 0 keeps all."""
    top_p: float = 0.0
    """After top-k, keep the smallest set of codes whose probability reaches p; 0 keeps all."""
    guidance_scale: float = 3.0
    """Classifier-free guidance: null + scale * (conditional - null). 1 switches it off."""
    melody_guidance_scale: float | None = None
    """A separate scale for the melody: null + melody_scale * (melody only - null) + scale * (both - melody only).
    None guides both by `guidance_scale`; equal scales give the same music as None, at the cost of a third row."""
    negative_prompt: str | None = None
    """A description of what to steer away from: it takes the place of the null text. Needs a guidance scale other than 1."""
    window_overlap: float = 0.4
    """Pieces longer than the model's context: the share of a window that is kept as the next one's prompt (12 of 30 s)."""

    def __post_init__(self) -> None:
        _finite("temperature", self.temperature, low=1e-3, high=100.0)
        _finite("guidance_scale", self.guidance_scale, low=0.0, high=100.0)
        if self.melody_guidance_scale is not None:
            _finite("melody_guidance_scale", self.melody_guidance_scale, low=0.0, high=100.0)
        _finite("top_p", self.top_p, low=0.0, high=1.0)
        _finite("window_overlap", self.window_overlap, low=0.0, high=0.9)
        if not isinstance(self.top_k, int) or isinstance(self.top_k, bool) or self.top_k < 0:
            raise InputError(f"top_k is {self.top_k!r}: it must be a whole number, 0 (keep all) or more")
        if self.negative_prompt is not None and not isinstance(self.negative_prompt, str):
            raise InputError(f"negative_prompt is {self.negative_prompt!r}: it must be text")
        if self.negative_prompt and self.guidance_scale == 1.0 and self.melody_guidance_scale is None:
            raise InputError("a negative_prompt acts through guidance: guidance_scale must not be 1")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file's metadata."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GenerationOptions:
        """The inverse of `as_dict`. Unknown names are an error that lists the known ones."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(f"unknown generation options {unknown}: the options are {known}")
        return cls(**values)


def check_duration(duration: float) -> float:
    """`duration` in seconds, if it is a length that one call can generate."""
    if isinstance(duration, bool) or not isinstance(duration, (int, float)) or not math.isfinite(duration):
        raise InputError(f"duration is {duration!r}: it must be a number of seconds")
    if not 0 < duration <= MAX_DURATION:
        raise InputError(f"duration is {duration:g} s: it must be above 0 and at most {MAX_DURATION:g} s")
    return float(duration)


def _finite(name: str, value: float, *, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}: it must be a finite number")
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}: it must lie between {low:g} and {high:g}")
