"""Runs one row with one seed: trains, generates, scores. The result is one JSON file, written at the end.

OUTPUT/EXPERIMENT/SCALE/ROW-SEED/      checkpoints and samples, from which an interrupted run resumes
RESULTS/EXPERIMENT/SCALE/ROW-SEED.json the result, from which the report is made
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

import musicgen
from experiments import memorisation
from experiments.evaluate import measure, test_conditions
from experiments.plan import FOLDER, Plan, Row, Scale
from experiments.training_data import Paths, data_size, prepare_data, row_paths, run_folder, tokenizer_recipe
from musicgen import audio, catalog
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.trainer import train

RESULTS = FOLDER / "results"


def result_file(paths: Paths, experiment: str, scale: str, row: str, seed: int) -> Path:
    return paths.results / experiment / scale / f"{row.replace(' ', '-')}-{seed}.json"


def run_row(paths: Paths, experiment: str, plan: Plan, name: str, seed: int, scale: Scale) -> bool:
    """Run a row unless its result exists. Returns whether it was run."""
    file = result_file(paths, experiment, scale.name, name, seed)
    if file.is_file():
        return False
    row = plan.rows[name]
    trained = row.trained_as or name
    paths = row_paths(paths, plan, plan.rows[trained], scale)
    recipe = row_recipe(paths, plan, trained, seed, scale)
    made = {
        "experiment": experiment, "row": name, "seed": seed, "scale": scale.name, "recipe": _portable(recipe),
        "tokenizer": _tokenizer(plan.rows[trained], scale), "test": None if plan.planted else test_conditions(plan, row, scale),
    }  # fmt: skip
    if plan.planted is None and (same := _same(paths, made)):
        _write(file, same | made)
        return True
    folder = run_folder(paths.output, experiment, scale, trained, seed)
    recipe = prepare_data(paths, plan, plan.rows[trained], recipe, scale)
    started = time.monotonic()
    validation = train(recipe, folder, paths.device)
    trained_in = time.monotonic() - started
    if plan.planted is not None:
        model = musicgen.load(folder / "model", paths.device, "float32")
        measured = {"memorisation": memorisation.measure(model, paths.corpus, scale.planted or plan.planted)}
    else:
        measured = measure(paths, plan, recipe, folder, row, name, scale)
    history = json.loads((folder / "history.json").read_text())
    made |= {
        "recipe": _portable(recipe), "corpus": data_size(paths), "commit": _commit(),
        "machine": {"platform": platform.platform(), "device": _device(), "torch": torch.__version__},
        "train_seconds": round(trained_in, 1), "validation": validation, "losses": history["losses"],
        "validations": history["validations"],
    }  # fmt: skip
    _write(file, made | measured)
    return True


def row_recipe(paths: Paths, plan: Plan, name: str, seed: int, scale: Scale) -> LMRecipe:
    """The scale's recipe with the changes of the plan and the row."""
    row = plan.rows[name]
    values: dict[str, Any] = {"kind": "lm", "seed": seed}
    shared = {
        "data.path": str(paths.corpus),
        "data.tokens": str(paths.tokens),
        "data.tokenizer": paths.tokenizer or str(catalog.PRETRAINED / "mini"),
    }
    steps = {"optimisation.steps": round(plan.steps * row.steps * scale.recipe["optimisation.steps"])}
    fields = scale.recipe | shared | steps | plan.recipe | plan.at.get(scale.name, {}) | row.recipe
    if "start.model" in row.recipe:  # it has its own shape and text encoder
        fields = {name: value for name, value in fields.items() if name != "text.new" and not name.startswith("shape.")}
    if "text.clap" in fields:  # in the place of T5
        fields = {name: value for name, value in fields.items() if name != "text.new"}
    if fields.get("text.encoder") in catalog.embedded():
        fields["text.encoder"] = str(catalog.PRETRAINED / fields["text.encoder"])
    for field, value in fields.items():
        *sections, last = field.split(".")
        section = values
        for one in sections:
            section = section.setdefault(one, {})
        section[last] = value
    return LMRecipe.from_dict(values)


def _same(paths: Paths, made: dict[str, Any]) -> dict[str, Any] | None:
    """A result of another experiment with the same recipe, tokeniser and test: tables share rows, such as the delay pattern."""
    for file in sorted(paths.results.glob(f"*/{made['scale']}/*-{made['seed']}.json")):
        result: dict[str, Any] = json.loads(file.read_text())
        if "scores" in result and all(result.get(name) == made[name] for name in ("recipe", "tokenizer", "test")):
            return result
    return None


def _portable(recipe: LMRecipe) -> dict[str, Any]:
    """The recipe's values without paths of this machine."""
    values = recipe.as_dict()
    values["data"] |= {"path": "", "tokens": "", "tokenizer": Path(recipe.data.tokenizer).name}
    values["text"]["encoder"] = Path(recipe.text.encoder).name
    return values


def _tokenizer(row: Row, scale: Scale) -> dict[str, Any] | None:
    """The recipe of the row's own tokeniser, None without one."""
    return tokenizer_recipe(row, scale).as_dict() if row.tokenizer else None


def _write(file: Path, result: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    audio.write_bytes(file, (json.dumps(result, indent=1) + "\n").encode())


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
