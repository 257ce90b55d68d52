"""Suites: what is compared with what, in a few lines of YAML. Data × protocol × metrics × version.

    name: synth
    version: 1
    data: {kind: manifest, manifest: synth/manifest.jsonl}
    duration: 10            # seconds that systems are asked for
    melody: false           # whether systems that take one get the reference as a melody (`generate --melody`)
    metrics: [fad_mini, kl_mini, …]

A suite of the user's own is a file beside its data; names without a slash are the suites of this package.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from musicgen.errors import InputError

FOLDER = Path(__file__).parent / "suites"
KINDS = ("manifest", "folder", "musiccaps", "song_describer")
_REQUIRED: dict[str, Any] = {"name": str, "version": int, "data": dict, "duration": (int, float), "metrics": list}
_OPTIONAL: dict[str, Any] = {"description": str, "seed": int, "min_seconds": (int, float)}


@dataclass(frozen=True)
class Suite:
    """data: kind and where it lies; duration: seconds; seed: of the first item's generation; file: where this was read."""

    name: str
    version: int
    data: Mapping[str, Any]
    duration: float
    metrics: tuple[str, ...]
    file: Path
    description: str = ""
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name} v{self.version}"


def names() -> list[str]:
    """The suites of this package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load(name: str) -> Suite:
    """A suite by its name or its file."""
    if name in names():
        return read(FOLDER / f"{name}.yaml")
    if name.endswith((".yaml", ".yml")):
        return read(Path(name))
    near = difflib.get_close_matches(name, names(), 1)
    hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(names())}, or a .yaml file"
    raise InputError(f"unknown suite {name!r}: {hint}")


def read(file: Path) -> Suite:
    """A suite's file."""
    from .scorers import METRICS  # here: it needs SciPy, and listing suites does not

    try:
        entry = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(entry, dict):
        raise InputError(f"{file}: a suite is a list of settings, such as name: …")
    unknown = sorted(set(entry) - set(_REQUIRED) - set(_OPTIONAL))
    if unknown:
        raise InputError(f"{file}: unknown setting {unknown[0]!r}: one of {', '.join([*_REQUIRED, *_OPTIONAL])}")
    for setting, kind in (_REQUIRED | _OPTIONAL).items():
        if setting not in entry:
            if setting in _REQUIRED:
                raise InputError(f"{file}: {setting} is missing")
        elif not isinstance(entry[setting], kind):
            raise InputError(f"{file}: {setting} is {entry[setting]!r}: of another type than it must be")
    check_metrics(entry["metrics"], METRICS, str(file))
    if entry["data"].get("kind") not in KINDS:
        raise InputError(f"{file}: data kind is {entry['data'].get('kind')!r}: one of {', '.join(KINDS)}")
    return Suite(
        name=entry["name"],
        version=entry["version"],
        data=entry["data"],
        duration=float(entry["duration"]),
        metrics=tuple(entry["metrics"]),
        file=file,
        description=entry.get("description", ""),
        seed=entry.get("seed", 0),
    )


def check_metrics(chosen: list[str], known: Mapping[str, Any], where: str) -> None:
    """Refuse unknown metrics, and the two FADs on VGGish in one table."""
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
            raise InputError(f"{where}: unknown metric {name!r}: {hint}")
    if {"fad_vggish_tf", "fad_vggish_torch"} <= set(chosen):
        raise InputError(f"{where}: fad_vggish_tf and fad_vggish_torch are two scales: choose one for a table")
