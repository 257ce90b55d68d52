"""Show the provenance of audio files: tags, settings, a signed C2PA manifest, and an inaudible watermark."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from musicgen import extras
from musicgen.catalog import DECODERS
from musicgen.errors import MusicGenError
from musicgen.options import GenerationOptions

SIGNED, MARKED = "signed manifest", "inaudible mark"
_LABEL = 18
"""Characters of a label."""
_UNITS = {"limiter_reduction": " dB"}
"""Of what was measured, by name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="audio, or a video of the page")
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects, one per file")
    parser.add_argument("--watermark", action=argparse.BooleanOptionalAction, help="detect an inaudible watermark (default: "
                        "where audioseal and its weights are on this machine)")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from musicgen.checkpoint import audioseal

    listen = audioseal.is_downloaded() if arguments.watermark is None else arguments.watermark
    watermark = audioseal.load() if listen else None
    found = [inspect(path, watermark) for path in arguments.files]
    print(json.dumps(found, indent=1, ensure_ascii=False) if arguments.json else "\n\n".join(map(text, found)))


def inspect(path: Path, watermark: Any = None) -> dict[str, Any]:
    """What a file says of its origin.

    Args:
        path: the file.
        watermark: a `musicgen.watermark.Watermark` that listens for a mark; None does not.

    Returns:
        file, sound, tags, settings (None where it holds none), settings_match (whether their hash is that of the tags; None
        where one is missing), measured, manifest, watermark, and not_looked_for: what could not be looked for -> the reason.

    Raises:
        InputError: the file is missing or no audio.
    """
    from musicgen import audio, content_credentials, provenance, rhythm, tonality
    from musicgen.limiter import true_peak
    from musicgen.settings import KEY, ClipComment
    from musicgen.watermark import message_of

    clip, tags = audio.read(path), audio.read_tags(path)
    stored = ClipComment.parse_whole(tags.pop("comment", ""))
    settings, matches, expected = None, None, None
    if stored is not None:
        settings = stored.values[KEY]
        digest = provenance.settings_sha256(settings)
        expected = message_of(digest)
        if "settingssha256" in tags:
            matches = tags["settingssha256"] == digest
    beats = rhythm.measure(clip)
    missing = {}
    manifest = None
    try:
        manifest = content_credentials.read(path)
    except MusicGenError as error:
        missing[SIGNED] = str(error)
    heard = None
    if watermark is None:
        missing[MARKED] = "audioseal or its weights are not here (--watermark fetches them)"
        if not extras.is_installed("audioseal"):
            missing[MARKED] = 'audioseal is not installed: pip install "musicgen[provenance]"'
    else:
        detection = watermark.detect(clip)
        heard = dataclasses.asdict(detection) | {"found": detection.found}
        heard["message_match"] = None if expected is None or not detection.found else detection.message == expected
    return {
        "file": str(path),
        "sound": {
            "seconds": round(clip.duration, 3),
            "channels": clip.wave.shape[0],
            "rate": clip.rate,
            "lufs": _finite(audio.loudness(clip)),
            "dbtp": _finite(true_peak(clip.wave.numpy())),
            "bpm": None if beats is None else round(beats.bpm, 2),
            "key": tonality.measure(clip),
        },
        "tags": {name: tags[name] for name in provenance.NAMES if name in tags},
        "settings": settings,
        "settings_match": matches,
        "measured": {} if stored is None else stored.measured,
        "manifest": None if manifest is None else dataclasses.asdict(manifest),
        "watermark": heard,
        "not_looked_for": missing,
    }


def text(found: dict[str, Any]) -> str:
    """The result of `inspect` as lines."""
    sound, tags, missing = found["sound"], found["tags"], found["not_looked_for"]
    levels = [
        f"{sound[name]:.1f} {unit}" for name, unit in (("lufs", "LUFS"), ("dbtp", "dBTP")) if sound[name] is not None
    ]
    rows = [
        ("sound", ", ".join([f"{sound['seconds']:.2f} s", f"{sound['channels']} ch", f"{sound['rate']} Hz", *levels]))
    ]
    tempo = "no beats heard" if sound["bpm"] is None else f"{sound['bpm']:.1f} bpm"
    rows.append(("tempo, key", f"{tempo}, {sound['key'] or 'none'}, as measured"))
    rows.append(("made by a model", _origin(tags)))
    if "title" in tags:
        rows.append(("description", tags["title"]))
    if found["settings"] is None:
        rows.append(("settings", "none"))
    else:
        agreement = {True: ", as the tags say", False: ", not those that the tags name", None: ""}[
            found["settings_match"]
        ]
        named = {name: found["settings"][name] for name in ("model", "duration", "seed", "precision")}
        rows.append(("settings", ", ".join(f"{name} {value}" for name, value in named.items()) + agreement))
        rows += [(name.replace("_", " "), told) for name, told in _followed(found["settings"]).items()]
    rows += [(name.replace("_", " "), f"{value}{_UNITS.get(name, '')}") for name, value in found["measured"].items()]
    rows.append((SIGNED, missing.get(SIGNED) or _signed(found["manifest"])))
    rows.append((MARKED, missing.get(MARKED) or _marked(found["watermark"])))
    return "\n".join([found["file"], *(f"  {label:{_LABEL}}{' '.join(value.split())}" for label, value in rows)])


def _followed(settings: dict[str, Any]) -> dict[str, str]:
    """The conditions of a clip besides its description, and its other settings that are not the defaults, in words."""
    usual = json.loads(json.dumps(GenerationOptions().as_dict()))
    chords, adapters = settings.get("chords"), settings.get("adapters") or []
    conditions = {
        name: one if isinstance(one, str) else one["name"] for name, one in settings.get("conditions", {}).items()
    }
    options = {name: one for name, one in settings.get("options", {}).items() if one != usual.get(name)}
    told = {
        "chords": chords and f"{chords['chords']}, {chords['bpm']:g} bpm, {chords['metre']}",
        "timeline": " | ".join(f"{one['start']:g} s: {one['prompt']}" for one in settings.get("timeline") or []),
        "conditions": ", ".join(f"{name} {one}" for name, one in conditions.items()),
        "adapters": ", ".join(f"{one['name']} {one['weight']:g}" for one in adapters),
        "options": ", ".join(f"{name} {one}" for name, one in options.items()),
        "decoder": settings.get("decoder", DECODERS[0]) != DECODERS[0] and settings["decoder"],
        "loop": "yes" if settings.get("loop") else "",
        "further": ", ".join(settings.get("beyond") or []),
    }
    files = {name: one["name"] for name in ("melody", "continue_from") if (one := settings.get(name))}
    return files | {name: str(one) for name, one in told.items() if one}


def _origin(tags: dict[str, str]) -> str:
    from musicgen.provenance import TRAINED_ALGORITHMIC_MEDIA

    if tags.get("digitalsourcetype") != TRAINED_ALGORITHMIC_MEDIA:
        return tags.get("digitalsourcetype", "not said in the tags")
    names = [tags[name] for name in ("aisystemused", "aisystemversionused") if name in tags]
    return f"yes: {', '.join(names)}" if names else "yes"


def _signed(manifest: dict[str, Any] | None) -> str:
    if manifest is None:
        return "none"
    problems = f" ({', '.join(manifest['problems'])})" if manifest["problems"] else ""
    actions = "".join(f", {action} {source.rpartition('/')[2]}".rstrip() for action, source in manifest["actions"])
    return f"{manifest['state']}{problems}, signed by {manifest['signed_by'] or 'nobody'}{actions}"


def _marked(heard: dict[str, Any]) -> str:
    if not heard["found"]:
        return f"none (in {heard['share']:.0%} of the samples)"
    agreement = {True: ", that of the settings", False: ", not that of the settings", None: ""}[heard["message_match"]]
    return f"in {heard['share']:.0%} of the samples, message {heard['message']:04x}{agreement}"


def _finite(level: float) -> float | None:
    return round(level, 2) if math.isfinite(level) else None
