"""Sampling options of a generation: an immutable, validated dataclass, which does not import PyTorch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from musicgen.errors import InputError
from musicgen.suggestions import did_you_mean

MAX_DURATION = 600.0
"""The longest clip that one call generates, in seconds, so that a typing error does not run for a day."""

OWN_SCALES = {"melody": "melody_guidance_scale", "style": "style_guidance_scale"}
"""Condition -> the option with its separate guidance scale; `condition_guidance` has those of all other conditions."""
MAX_DECODING_STEPS = 1000
"""The most passes per codebook, so that a typing error does not run for a day."""
MAX_LOOP_BARS = 256
"""More than the longest clip has."""
STYLE_SECONDS = (1.5, 4.5)
"""The shortest and the longest style excerpt, those of MusicGen-Style's training."""
STYLE_CODEBOOKS = 6
"""The most codebooks that the quantiser of a style has."""

PAPER_GUIDANCE = 3.0
"""The guidance scale of the paper (section 3.1), for models without a default of their own."""

LIMITERS = ("none", "true-peak")
"""How a clip's peaks are kept below the ceiling. none: its whole gain is lowered, and it stays quieter than was asked for;
true-peak: that of `musicgen.limiter`. What a name does never changes, since settings in files name it."""

LOOP_CUTS = ("end", "bars")
"""Where a seamless loop is cut. end: as long as the clip allows, its end mixed into its beginning; bars: at whole bars, by the
measured beats. What a name does never changes, since settings in files name it."""


@dataclass(frozen=True)
class GenerationOptions:
    """Sampling and guidance. The defaults are the paper's (section 3.1); None means the model's default.

    NumPy numbers are converted to Python numbers.
    """

    do_sample: bool = True
    """Sample from the distribution; False takes the most likely code (greedy)."""
    temperature: float = 1.0
    """Divides the logits: below 1 is safer, above 1 is wilder."""
    top_k: int = 250
    """Keep the k most likely codes; 0 keeps all."""
    top_p: float = 0.0
    """After top-k, keep the smallest set of codes whose probability reaches p; 0 keeps all."""
    guidance_scale: float | None = None
    """Classifier-free guidance: null + scale * (conditional - null). 1 switches it off; None as the model says (3, the
    paper's, unless the model comes with another)."""
    melody_guidance_scale: float | None = None
    """A separate scale for the melody: null + melody_scale * (melody only - null) + scale * (both - melody only).
    None guides both by `guidance_scale`; equal scales give the same music as None, at the cost of a third row."""
    style_guidance_scale: float | None = None
    """The same for the style of MusicGen-Style, which calls it double guidance: with its alpha and beta, this is alpha and
    `guidance_scale` is alpha * beta (3 and 15 for its 3 and 5)."""
    condition_guidance: tuple[tuple[str, float], ...] = ()
    """The same for a further condition of the model: its name and its scale, also as a dict. One condition can have a
    scale of its own."""
    style_seconds: float | None = None
    """Seconds of the style excerpt, 1.5 to 4.5; None for the model's default (3). The clip's seed determines its position."""
    style_codebooks: int | None = None
    """Codebooks of the style's quantiser, 1 to 6; None for the model's default (3). Fewer codebooks give freer music."""
    decoding_steps: tuple[int, ...] | None = None
    """MAGNeT: passes per codebook; None for the model's default (20, 10, 10, 10). More passes are slower and sound better."""
    masked_temperature: float | None = None
    """MAGNeT: temperature of the first pass of a codebook, which decreases to 0; None for the model's default (3)."""
    masked_top_p: float | None = None
    """MAGNeT: top-p; None for the model's default (0.9)."""
    masked_guidance: tuple[float, float] | None = None
    """MAGNeT: guidance scale of the first and the last pass of a codebook; None for the model's default (10, 1)."""
    negative_prompt: str | None = None
    """A description to steer away from, which replaces the null text. Needs a guidance scale other than 1."""
    window_overlap: float = 0.4
    """For clips longer than the model's context: share of a window that is the prompt of the next one (12 of 30 s)."""

    def __post_init__(self) -> None:
        self._set("temperature", check_number("temperature", self.temperature, low=1e-3, high=100.0))
        for name in ("guidance_scale", *OWN_SCALES.values()):
            if getattr(self, name) is not None:
                self._set(name, check_number(name, getattr(self, name), low=0.0, high=100.0))
        self._check_condition_guidance()
        if self.style_seconds is not None:
            low, high = STYLE_SECONDS
            self._set("style_seconds", check_number("style_seconds", self.style_seconds, low=low, high=high))
        if self.style_codebooks is not None:
            count = self.style_codebooks
            if isinstance(count, bool) or not isinstance(count, Integral) or not 1 <= count <= STYLE_CODEBOOKS:
                raise InputError(f"style_codebooks is {count!r}: it must be a whole number from 1 to {STYLE_CODEBOOKS}")
            self._set("style_codebooks", int(count))
        self._check_masked()
        self._set("top_p", check_number("top_p", self.top_p, low=0.0, high=1.0))
        self._set("window_overlap", check_number("window_overlap", self.window_overlap, low=0.0, high=0.9))
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, Integral) or self.top_k < 0:
            raise InputError(f"top_k is {self.top_k!r}: it must be a whole number, 0 (keep all) or more")
        self._set("top_k", int(self.top_k))
        if getattr(self.do_sample, "shape", ()) or self.do_sample not in (True, False):
            raise InputError(f"do_sample is {self.do_sample!r}: it must be True or False")
        self._set("do_sample", bool(self.do_sample))
        if self.negative_prompt is not None:
            self._set("negative_prompt", check_text("negative_prompt", self.negative_prompt))
        if self.negative_prompt and self.guidance_scale == 1.0 and not self.own_scales:
            raise InputError("a negative_prompt acts through guidance: guidance_scale must not be 1")

    def _check_condition_guidance(self) -> None:
        given = self.condition_guidance
        try:
            pairs = dict(given)
        except (TypeError, ValueError):
            raise InputError(
                f"condition_guidance is {given!r}: it must be a scale for each name, like {{'energy': 2.0}}"
            ) from None
        for name, scale in pairs.items():
            check_text("a condition's name", name)
            if name in OWN_SCALES:
                raise InputError(f"condition_guidance names the {name}: its scale is {OWN_SCALES[name]}")
            pairs[name] = check_number(f"the guidance of {name}", scale, low=0.0, high=100.0)
        self._set("condition_guidance", tuple(sorted(pairs.items())))

    def _check_masked(self) -> None:
        if self.decoding_steps is not None:
            steps = self.decoding_steps
            whole = isinstance(steps, (tuple, list)) and all(
                isinstance(n, Integral) and not isinstance(n, bool) and 1 <= n <= MAX_DECODING_STEPS for n in steps
            )
            if not whole or not steps:
                raise InputError(
                    f"decoding_steps is {steps!r}: it must be a list of whole numbers from 1 to {MAX_DECODING_STEPS}, one a "
                    "codebook"
                )
            self._set("decoding_steps", tuple(int(n) for n in steps))
        if self.masked_temperature is not None:
            self._set(
                "masked_temperature", check_number("masked_temperature", self.masked_temperature, low=0.01, high=100.0)
            )
        if self.masked_top_p is not None:
            self._set("masked_top_p", check_number("masked_top_p", self.masked_top_p, low=0.0, high=1.0))
        if self.masked_guidance is not None:
            scales = self.masked_guidance
            if not isinstance(scales, (tuple, list)) or len(scales) != 2:
                raise InputError(f"masked_guidance is {scales!r}: it must be two scales, the first and the last")
            self._set(
                "masked_guidance", tuple(check_number("masked_guidance", one, low=0.0, high=100.0) for one in scales)
            )

    @property
    def own_scales(self) -> dict[str, float]:
        """Name of each condition with a separate guidance scale -> that scale."""
        found = {condition: getattr(self, name) for condition, name in OWN_SCALES.items()}
        return {condition: scale for condition, scale in found.items() if scale is not None} | dict(
            self.condition_guidance
        )

    def scales_among(self, names: Iterable[str]) -> dict[str, float]:
        """The conditions of a model with a separate guidance scale -> that scale; at most one.

        Args:
            names: The conditions of the model.

        Raises:
            InputError: Several conditions have a separate scale, or the model does not have a named condition.
        """
        every = frozenset(names)
        for name, _ in self.condition_guidance:
            if name not in every:
                raise InputError(
                    f"condition_guidance names {name!r}, a condition that the model does not have: {did_you_mean(name, every)}"
                )
        own = {name: scale for name, scale in self.own_scales.items() if name in every}
        if len(own) > 1:
            raise InputError(
                f"{' and '.join(own)} have guidance scales of their own: one condition of a model can have one"
            )
        return own

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """The options as plain values, for a file's metadata."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationOptions:
        """The inverse of `as_dict`. Unknown names raise an error that lists the known ones."""
        if not isinstance(values, Mapping):
            raise InputError(f"the options are {values!r}: a GenerationOptions, or a dict of its fields")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(map(str, set(values) - set(known)))
        if unknown:
            raise InputError(f"unknown generation options {unknown}: the options are {known}")
        return cls(**values)


def check_duration(duration: object) -> float:
    """`duration` in seconds, if it is a length that one call can generate."""
    seconds = _float(duration)
    if not math.isfinite(seconds):
        raise InputError(f"duration is {duration!r}: it must be a number of seconds")
    if not 0 < seconds <= MAX_DURATION:
        raise InputError(f"duration is {seconds:g} s: it must be above 0 and at most {MAX_DURATION:g} s")
    return seconds


def check_limiter(name: str) -> str:
    """`name`, if it is one of LIMITERS."""
    if name not in LIMITERS:
        raise InputError(f"unknown limiter {str(name)[:20]!r}: one of {', '.join(LIMITERS)}")
    return name


def check_loop_cut(name: str) -> str:
    """`name`, if it is one of LOOP_CUTS."""
    if name not in LOOP_CUTS:
        raise InputError(f"unknown cut of a loop {str(name)[:20]!r}: one of {', '.join(LOOP_CUTS)}")
    return name


def check_loop_bars(bars: int | None) -> int | None:
    """`bars`, if a loop can have that many; None for as many as fit."""
    if bars is not None and (isinstance(bars, bool) or not isinstance(bars, int) or not 1 <= bars <= MAX_LOOP_BARS):
        raise InputError(f"loop_bars is {bars!r}: it must be a whole number from 1 to {MAX_LOOP_BARS}")
    return bars


def check_number(name: str, value: object, *, low: float, high: float) -> float:
    """`value` as a float, if it is a finite number from `low` to `high`; `name` begins the error's line."""
    found = _float(value)
    if not math.isfinite(found):
        raise InputError(f"{name} is {value!r}: it must be a finite number")
    if not low <= found <= high:
        raise InputError(f"{name} is {found:g}: it must lie between {low:g} and {high:g}")
    return found


def _float(value: object) -> float:
    """A number as a float; NaN for other values."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_text(name: str, value: object) -> str:
    """`value`, if it is text that can be written as UTF-8.

    Bytes in a shell argument that are not UTF-8 become lone surrogates, which tokenisers and files do not accept.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} is {value!r}: it must be text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        shown = value[max(0, error.start - 20) : error.end + 20]
        raise InputError(
            f"{name} holds bytes that are no UTF-8 text, at {shown!r}: was it typed or stored in another encoding?"
        ) from error
    return str(value)
