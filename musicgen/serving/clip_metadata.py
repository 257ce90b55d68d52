"""Generation settings as text, in the comment tag of a clip's file and in a link to the page.

The comment has the format of `musicgen.settings`, which the command line reads too, with one more key for settings that only
the page has.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicgen import __version__
from musicgen.catalog import DECODERS, check_decoder
from musicgen.chords import ChordChart
from musicgen.errors import InputError
from musicgen.midi import is_midi
from musicgen.options import LIMITERS, LOOP_CUTS, GenerationOptions, check_limiter, check_loop_cut, check_text
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import FILES, NUM_CHROMA, ClipRequest, parse_conditions
from musicgen.timeline import TimelineEntry

KEY = "demo"
"""The key of the settings that only the page has."""
OPTIONS = (
    "temperature", "top_k", "top_p", "guidance_scale", "melody_guidance_scale", "style_guidance_scale", "style_seconds",
    "style_codebooks", "negative_prompt",
)  # fmt: skip
"""The generation options that the page has fields for."""
MAX_LINK_LENGTH = 8_000
"""Characters of a link's settings. Longer URLs are not supported by all browsers and proxies."""
MAX_LINK_BYTES = 200_000
"""Decompressed bytes of a link's settings."""
MAX_NAME_LENGTH = 200
"""Of an audio file's name in a link."""
_DIGITS = "0123456789ab"


def make_comment(
    request: ClipRequest,
    seed: int,
    *,
    local_model: bool = False,
    complete: bool = True,
    adapter_hashes: Mapping[str, str] | None = None,
    watermark: bool = False,
    measured: Mapping[str, Any] | None = None,
) -> str:
    """The text of the comment tag, with which the clip can be generated again.

    Args:
        request: the request; its precision is not "auto".
        seed: the seed of this clip.
        local_model: whether the model is from the operator's folder.
        complete: whether the generation was not stopped early.
        adapter_hashes: name -> SHA-256 of the weights of each LoRA adapter of the request.
        watermark: whether the sound has an inaudible mark.
        measured: as of `Settings.comment`.
    """
    from musicgen.settings import AdapterUse, Settings, SourceFile

    conditions: dict[str, str | SourceFile] = dict(request.conditions)
    if request.style is not None:
        conditions["style"] = SourceFile.of(request.style)
    # Of a clip that begins earlier now, chords and melody are no longer at the times that settings give them.
    in_time = request.span is None or request.span[0] >= 0
    melody = request.melody if in_time else None
    settings = Settings(
        version=__version__,
        model=request.model,
        prompt=request.prompt,
        duration=request.duration,
        seed=seed,
        options=request.options,
        melody=SourceFile.of(melody) if melody else None,
        chords=request.chords if in_time else None,
        separate=request.separate if melody and not is_midi(melody) else None,
        continue_from=SourceFile.of(request.continue_from) if request.continue_from else None,
        precision=request.precision,
        model_folder=local_model,
        conditions=conditions,
        decoder=request.decoder,
        timeline=request.timeline,
        loop=request.loop,
        loop_cut=request.loop_cut,
        limiter=request.limiter,
        watermark=watermark,
        adapters=tuple(AdapterUse(name, (adapter_hashes or {})[name], weight) for name, weight in request.adapters),
        beyond=_unsupported_by_command_line(request, complete),
    )
    return json.dumps(json.loads(settings.comment(measured)) | {KEY: _melody_settings(request)})


def read_file(path: Path, name: str, catalog: ModelCatalog) -> tuple[ClipRequest, dict[str, str]]:
    """Read the request from a clip's file.

    Args:
        path: the file on the server.
        name: the file's name for error messages.
        catalog: the offered models.

    Returns:
        The request, and the files that it needs in addition: name of the request's attribute -> the file's name.

    Raises:
        InputError: for a file without settings, and for a model that is not offered.
    """
    from musicgen.settings import ClipComment

    comment = ClipComment.of_file(path, name)
    settings = comment.settings
    # A local model of another machine can have the same name as a different model here.
    if settings.model_folder != (catalog.get(settings.model).origin == "folder"):
        raise InputError(f"{name}: was made with another model of the name {settings.model!r} than the one here")
    texts = {name: value for name, value in settings.conditions.items() if isinstance(value, str)}
    files = {name: value.name for name, value in settings.conditions.items() if not isinstance(value, str)}
    lacking = {
        "the conditions": [name for name in files if name != "style"],
        "the options": _options_beyond_the_page(settings.options),
    }
    for what, names in lacking.items():
        if names:
            raise InputError(
                f"{name}: was made with {what} {', '.join(names)}, which this page does not have: use the command line, "
                "musicgen generate --from-file"
            )
    catalog.adapters.check_same({use.name: use.sha256 for use in settings.adapters}, name)
    page_settings = comment.values.get(KEY, {})
    if not isinstance(page_settings, dict):
        raise InputError(f"{name}: its settings are damaged")
    if settings.repainted:
        raise InputError(
            f"{name}: a part of another clip was made anew in it: restore that clip, and make the part anew on this page"
        )
    sources = {"melody": settings.melody, "continue_from": settings.continue_from}
    needed = {kind: source.name for kind, source in sources.items() if source is not None} | files
    if page_settings.get("frames"):
        needed.pop("melody", None)
    request = ClipRequest(
        prompt=settings.prompt or "",
        model=settings.model,
        duration=settings.duration,
        seed=settings.seed,
        options=settings.options,
        separate=settings.separate,
        chords=settings.chords,
        precision=settings.precision,
        timeline=settings.timeline,
        loop=settings.loop,
        loop_cut=settings.loop_cut,
        limiter=settings.limiter,
        adapters=tuple((use.name, use.weight) for use in settings.adapters),
        conditions=parse_conditions([f"{condition}={value}" for condition, value in texts.items()]),
        decoder=settings.decoder,
    )
    return _with_page_settings(request, page_settings, name), needed


def _options_beyond_the_page(options: GenerationOptions) -> list[str]:
    """The options that the page has no field for, where they are not at their defaults."""
    plain = GenerationOptions().as_dict()
    return [name for name, value in options.as_dict().items() if name not in OPTIONS and value != plain[name]]


def make_link(request: ClipRequest, seed: int) -> str:
    """The value of the URL parameter `s`, with which the page opens with these settings.

    Returns:
        The value, "" if it would be longer than MAX_LINK_LENGTH, and for a clip of which a part was made anew: what the link
        brings would be another clip.
    """
    if request.span is not None:
        return ""
    values = {
        "prompt": request.prompt,
        "model": request.model,
        "duration": request.duration,
        "seed": seed,
        "options": request.options.as_dict(),
        "separate": request.separate,
        "precision": request.precision,
        KEY: _page_settings(request) | _melody_settings(request),
    }
    if request.adapters:
        values["adapters"] = request.adapters
    if request.conditions:
        values["conditions"] = [f"{name}={value}" for name, value in request.conditions]
    if request.decoder != DECODERS[0]:
        values["decoder"] = request.decoder
    if request.loop_cut != LOOP_CUTS[0]:
        values["loop_cut"] = request.loop_cut
    if request.limiter != LIMITERS[0]:
        values["limiter"] = request.limiter
    if request.chords is not None:
        values["chords"] = dataclasses.asdict(request.chords)
    needed = {
        name: file.name[:MAX_NAME_LENGTH]
        for name, file in request.files.items()
        if name != "melody" or request.frames is None
    }
    if needed:
        values["needed"] = needed
    text = base64.urlsafe_b64encode(zlib.compress(json.dumps(values).encode(), 9)).decode().rstrip("=")
    return text if len(text) <= MAX_LINK_LENGTH else ""


def read_link(text: str) -> tuple[ClipRequest, dict[str, str]]:
    """The inverse of `make_link`.

    Returns:
        As `read_file`.

    Raises:
        InputError: for a text that `make_link` did not return.
    """
    try:
        if len(text) > MAX_LINK_LENGTH:
            raise ValueError
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        decompressor = zlib.decompressobj()
        plain = decompressor.decompress(packed, MAX_LINK_BYTES)  # bounds the memory that a decompression bomb takes
        if not decompressor.eof:
            raise ValueError
        values: dict[str, Any] = json.loads(plain)
        request = ClipRequest(
            prompt=check_text("the description", values["prompt"]),
            model=str(values["model"]),
            duration=float(values["duration"]),
            seed=int(values["seed"]),
            options=GenerationOptions.from_dict(values["options"]),
            separate=None if values["separate"] is None else bool(values["separate"]),
            precision=str(values.get("precision", "float32")),
            adapters=tuple(
                (check_text("an adapter's name", name)[:MAX_NAME_LENGTH], float(weight))
                for name, weight in values.get("adapters", [])
            ),
            chords=ChordChart(**values["chords"]) if values.get("chords") else None,
            conditions=parse_conditions(values.get("conditions", [])),
            decoder=check_decoder(str(values.get("decoder", DECODERS[0]))),
            loop_cut=check_loop_cut(str(values.get("loop_cut", LOOP_CUTS[0]))),
            limiter=check_limiter(str(values.get("limiter", LIMITERS[0]))),  # links of earlier versions name none
        )
        needed = {
            kind: check_text("a file's name", name)[:MAX_NAME_LENGTH]
            for kind, name in values.get("needed", {}).items()
            if kind in FILES
        }
        return _with_page_settings(request, values[KEY], "the link"), needed
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error) as error:
        raise InputError("the link holds no settings of this page (is it truncated?)") from error


def _melody_settings(request: ClipRequest) -> dict[str, Any]:
    """The melody as the page edits it."""
    return {} if request.frames is None else {"frames": "".join(_DIGITS[frame] for frame in request.frames)}


def _page_settings(request: ClipRequest) -> dict[str, Any]:
    """Further settings of a link under KEY; files of earlier versions have them too."""
    values: dict[str, Any] = {"loop": request.loop}
    if request.timeline:
        values["timeline"] = [[entry.start, entry.prompt] for entry in request.timeline]
    return values


def _timeline(entries: list[tuple[float, str]]) -> tuple[TimelineEntry, ...]:
    return tuple(TimelineEntry(float(start), check_text("the timeline", prompt)) for start, prompt in entries)


def _unsupported_by_command_line(request: ClipRequest, complete: bool) -> tuple[str, ...]:
    """The inputs of a clip that have no option on the command line."""
    from musicgen.settings import STOPPED_EARLY

    contributions = {
        "the melody as the page's editor had it": request.frames is not None,
        _span_made_anew(request): request.span is not None,
        STOPPED_EARLY: not complete,
    }
    return tuple(name for name, used in contributions.items() if used)


def _span_made_anew(request: ClipRequest) -> str:
    from musicgen.settings import REPAINTED

    if request.span is None:
        return ""
    start, end = request.span
    return f"the span {start:g}:{end:g} {REPAINTED}"


def _with_page_settings(request: ClipRequest, values: dict[str, Any], source: str) -> ClipRequest:
    try:
        frames = values.get("frames")
        return dataclasses.replace(
            request,
            precision=str(values.get("precision", request.precision)),  # its place in earlier versions
            loop=bool(values.get("loop", request.loop)),
            frames=None if frames is None else tuple(int(digit, NUM_CHROMA) for digit in frames),
            timeline=_timeline(values["timeline"]) if values.get("timeline") else request.timeline,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: its settings are damaged") from error
