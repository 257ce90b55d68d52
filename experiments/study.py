"""A listening study of the clips that an experiment generated: the columns of the paper's tables that need listeners.

OUTPUT/studies/NAME-SCALE-SEED.yaml      the study's settings
OUTPUT/studies/NAME-SCALE-SEED-samples/  a samples folder for each row and for the references
OUTPUT/studies/NAME-SCALE-SEED/          the study folder, which `python -m human_study serve` opens
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from evaluation.suites.items import Item, load_items
from evaluation.suites.suite import load_suite
from experiments import references
from experiments.evaluate import SUITE, clips_folder, mixed_down
from experiments.plan import Plan, Scale
from experiments.training_data import run_folder
from human_study.design import manifest, prepare, study_settings
from musicgen import audio, samples
from musicgen.errors import InputError
from musicgen.text_format import counted

RATERS_PER_SAMPLE = 5
"""The paper's (section 3.3)."""
TRIALS_PER_RATER = 10
REFERENCE = "reference"


def build_study(output: Path, name: str, plan: Plan, scale: Scale, seed: int, items: int) -> manifest.Study:
    """Build the study folder of an experiment that was run: OVL and REL of every row, with the reference hidden among them.

    Args:
        output: Folder of the runs.
        name: Of the experiment.
        plan: Its plan.
        scale: At which it was run.
        seed: The runs whose clips are rated.
        items: Captions, of which every row has a clip.

    Returns:
        The study.

    Raises:
        InputError: A row has not been run, there are fewer clips, or the study folder holds ratings already.
    """
    folder = study_folder(output, name, scale, seed)
    clips = {row: _clips(output, name, plan, row, scale, seed) for row in plan.rows}
    chosen = _chosen(clips, items)
    suite = load_suite(SUITE)
    known = [item for item in load_items(suite, limit=scale.clips) if item.id in chosen]
    originals = references.originals(
        references.folder(output, plan, scale), known, scale.clip_seconds, stereo=plan.stereo
    )
    into = folder.with_name(f"{folder.name}-samples")
    shutil.rmtree(into, ignore_errors=True)  # of an earlier study with other items
    systems = {system_name(row): into / system_name(row).replace(" ", "-") for row in plan.rows}
    for (system, target), source in zip(systems.items(), clips.values(), strict=True):
        _copy(source, target, system, chosen)
    _write_references(into / REFERENCE, originals)
    settings = {
        "name": folder.name,
        "systems": {system: str(target.relative_to(folder.parent)) for system, target in systems.items()},
        "reference": str((into / REFERENCE).relative_to(folder.parent)),
        "questions": [{"name": question, "hidden_reference": True} for question in ("OVL", "REL")],
        "raters_per_sample": RATERS_PER_SAMPLE,
        "trials_per_rater": min(TRIALS_PER_RATER, len(chosen)),
    }
    file = folder.with_name(f"{folder.name}.yaml")
    audio.write_bytes(file, yaml.safe_dump(settings, allow_unicode=True, sort_keys=False).encode())
    return prepare.build(study_settings.read(file), folder)


def study_folder(output: Path, name: str, scale: Scale, seed: int) -> Path:
    """The study folder of an experiment's runs with a seed. Arguments as of `build_study`."""
    return output / "studies" / f"{name}-{scale.name}-{seed}"


def system_name(row: str) -> str:
    """A row as the name of a system, which holds no comma."""
    return row.replace(",", "")


def _clips(output: Path, name: str, plan: Plan, row: str, scale: Scale, seed: int) -> samples.SamplesFolder:
    """The clips that a row generated."""
    trained = plan.rows[row].trained_as or row
    folder = clips_folder(run_folder(output, name, scale, trained, seed), row)
    folder = mixed_down(folder) if plan.rows[row].mono else folder
    if not (folder / samples.MANIFEST).is_file():
        raise InputError(
            f"{folder}: no clips of the row {row!r} with seed {seed}: run `python -m experiments run {name} --scale "
            f"{scale.name}` first, with the same --output"
        )
    return samples.read(folder)


def _chosen(clips: dict[str, samples.SamplesFolder], items: int) -> list[str]:
    """The first ids that all rows have."""
    common = set.intersection(*(set(folder.by_id()) for folder in clips.values()))
    if len(common) < items:
        raise InputError(
            f"--items is {items}, and the rows have {counted(len(common), 'clip')} in common: ask for fewer, or take a "
            "scale with more clips"
        )
    return sorted(common)[:items]


def _copy(source: samples.SamplesFolder, into: Path, system: str, chosen: Sequence[str]) -> None:
    writer = samples.Writer(into, system)
    for name, sample in source.by_id().items():
        if name in chosen:
            writer.add(name, audio.read(source.file(sample)), prompt=sample.prompt, seed=sample.seed)


def _write_references(into: Path, originals: Sequence[Item]) -> None:
    writer = samples.Writer(into, REFERENCE)
    for item in originals:
        writer.add(item.id, audio.read(item.file), prompt=item.caption)
