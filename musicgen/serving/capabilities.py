"""Checks whether a model supports a request, by what is known about the model before it is loaded.

Requests that fail here are refused before a job is accepted. None in a `ModelInfo` means that a property is not known before
the model is loaded; it is then checked by the model. The module imports PyTorch only if an option is not at its default.
"""

from __future__ import annotations

from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.serving.models import CONDITIONS_WITH_INPUTS, ModelInfo
from musicgen.serving.request import ClipRequest


def check(request: ClipRequest, info: ModelInfo) -> None:
    """Check a request against its model.

    Args:
        request: what to generate.
        info: of its model.

    Raises:
        InputError: the model cannot follow it.
    """
    _check_inputs(request, info)
    _check_length(request, info)
    _check_options(request.options, info)
    if request.decoder == "mbd" and info.multi_band is False:
        raise InputError(
            f"decoder 'mbd' decodes the codes of EnCodec at 32 kHz, and {info.name} has another tokeniser: choose 'codec'"
        )


def _check_inputs(request: ClipRequest, info: ModelInfo) -> None:
    name = info.name
    if (request.melody is not None or request.frames is not None) and info.melody is False:
        raise InputError(f"{name} follows no melody: choose a melody model, or remove the melody")
    if request.chords is not None and info.melody is False:
        raise InputError(f"{name} follows no chords: choose a melody model, or remove the chords")
    if request.style is not None and info.style is False:
        raise InputError(
            f"{name} follows no style: choose a model that does, such as facebook/musicgen-style, or remove the style"
        )
    unknown = [one for one, _ in request.conditions if info.conditions is not None and one not in info.conditions]
    if unknown:
        others = f"it follows {', '.join(info.conditions or ())}" if info.conditions else "it has no further conditions"
        raise InputError(f"{name} follows no condition {unknown[0][:40]!r}: {others}")


def _check_length(request: ClipRequest, info: ModelInfo) -> None:
    if info.longest is None:
        return
    at_once = f"{info.name} makes all of a clip at once: choose another model"
    if request.span is not None:
        raise InputError(f"{at_once} to make a part of it anew")
    if request.timeline:
        raise InputError(f"{at_once} for a timeline, or pass one prompt for the whole clip")
    if request.duration > info.longest:
        raise InputError(
            f"{info.name} makes {info.longest:g} s at most, in one piece: choose a shorter duration, or another model"
        )


def _check_options(options: GenerationOptions, info: ModelInfo) -> None:
    if options == GenerationOptions():
        return
    if info.generator is not None:
        from musicgen import generators

        generators.of_kind(info.generator, info.name).check(options)
    has = {"text": True, "melody": info.melody, "style": info.style}
    if info.conditions is not None and None not in has.values():
        options.scales_among([one for one in CONDITIONS_WITH_INPUTS if has[one]] + list(info.conditions))
