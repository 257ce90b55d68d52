"""Writing STUDY.yaml and samples folders from a configuration of webMUSHRA. The clips are copied unchanged."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from musicgen import audio, samples
from musicgen.errors import InputError

from .. import study_settings
from ..prepare import MAX_SECONDS
from .plan import Plan, StudyPlan

STUDY = "STUDY.yaml"
REFERENCE = "samples/reference"
HEAD = "A configuration of webMUSHRA. What has no counterpart, or another one:"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def write(plan: Plan, root: Path, out: Path) -> list[Path]:
    """Write what a plan needs. The folder appears complete or not at all.

    Args:
        plan: of a configuration.
        root: webMUSHRA's folder, to which the paths in its configurations are relative.
        out: a folder that is not there, or empty.

    Returns:
        The files STUDY.yaml, one for each study.

    Raises:
        InputError: the folder is in use, or a clip is missing, lies outside the root or is no audio.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already: choose a folder that is not there, or empty")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        folders = _folders(plan)
        for folder, study in folders.items():
            _write_study(plan, study, root, work / folder, folder)
        if out.exists():
            out.rmdir()
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return [out / folder / STUDY for folder in folders]


def _system_folders(study: StudyPlan) -> dict[str, str]:
    """System -> its samples folder, with a number: two names can differ in characters that a folder's name has not."""
    systems = next(iter(study.items.values()))
    return {system: f"samples/{number}-{_file_name(system)}" for number, system in enumerate(systems, 1)}


def _folders(plan: Plan) -> Mapping[str, StudyPlan]:
    if len(plan.studies) == 1:
        return {".": plan.studies[0]}
    return {f"{number}-{study.kind}": study for number, study in enumerate(plan.studies, 1)}


def _write_study(plan: Plan, study: StudyPlan, root: Path, folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    folders = _system_folders(study)
    for system, samples_folder in folders.items():
        _write_samples(folder / samples_folder, system, {i: paths[system] for i, paths in study.items.items()}, root)
    if study.references:
        _write_samples(folder / REFERENCE, "reference", study.references, root)
    document: dict[str, Any] = {
        "name": plan.name if name == "." else f"{plan.name[:30].rstrip()} {name}",
        "title": {plan.language: plan.title},
        "languages": [plan.language],
        "systems": folders,
        "questions": [dict(study.question)],
        "trials_per_rater": len(study.items),
        "practice": False,
        "attention_checks": 0,
        "headphone_check": "require" if plan.headphones else "off",
        "open_link": True,
    }
    if study.references:
        document["reference"] = REFERENCE
    if plan.fields:
        document["questionnaire"] = {"after": [dict(field) for field in plan.fields]}
    head = "".join(f"# {line}\n" for line in (HEAD, *plan.notes))
    text = head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    (folder / STUDY).write_text(text, encoding="utf-8")
    study_settings.read(folder / STUDY)


def _write_samples(folder: Path, system: str, clips: Mapping[str, str], root: Path) -> None:
    folder.mkdir(parents=True)
    lines = []
    for item, path in clips.items():
        source = _source(root, path, item)
        # What cannot be decoded is refused here, and not when the study is built.
        audio.measure(source, MAX_SECONDS)
        data = source.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        file = f"{_file_name(item)}-{hashlib.sha256(item.encode()).hexdigest()[:8]}{source.suffix.lower()}"
        (folder / file).write_bytes(data)
        settings = {"webmushra": path}
        lines.append(asdict(samples.Sample(item, "", system, file, digest, settings=settings)))
    text = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines)
    (folder / samples.MANIFEST).write_text(text, encoding="utf-8")


def _source(root: Path, path: str, item: str) -> Path:
    file = root / path
    try:
        inside = file.resolve().is_relative_to(root.resolve())
        there = file.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InputError(f"page {item}: {path[:80]!r} is no path of a file: {error}") from error
    if not inside:
        raise InputError(f"page {item}: {path[:80]!r} lies outside {root}: state webMUSHRA's folder with --root")
    if not there:
        raise InputError(
            f"page {item}: {path[:80]} is not in {root}: state the folder to which the paths are relative with --root"
        )
    return file


def _file_name(text: str) -> str:
    return _UNSAFE.sub("_", text).strip(".")[:60] or "_"
