"""One row with one seed: train, generate, score; the result is one file of JSON, written when all of it is there.

OUTPUT/EXPERIMENT/SCALE/ROW-SEED/      the run: checkpoints, samples; killed, it goes on from there
RESULTS/EXPERIMENT/SCALE/ROW-SEED.json what the report is made of
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
from experiments.material import Place, learnt_from, place_of, provide, tokenizer_recipe
from experiments.measuring import measure, tested
from experiments.plan import FOLDER, Plan, Row, Scale
from musicgen import audio, catalog
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.loop import train

RESULTS = FOLDER / "results"


def result_file(place: Place, experiment: str, scale: str, row: str, seed: int) -> Path:
    return place.results / experiment / scale / f"{row.replace(' ', '-')}-{seed}.json"


def run_row(place: Place, experiment: str, plan: Plan, name: str, seed: int, scale: Scale) -> bool:
    """Whether anything was left to do."""
    file = result_file(place, experiment, scale.name, name, seed)
    if file.is_file():
        return False
    row = plan.rows[name]
    trained = row.trained_as or name
    place = place_of(place, plan, plan.rows[trained], scale)
    recipe = recipe_of(place, plan, trained, seed, scale)
    made = {
        "experiment": experiment, "row": name, "seed": seed, "scale": scale.name, "recipe": _portable(recipe),
        "tokenizer": _tokenizer(plan.rows[trained], scale), "test": None if plan.planted else tested(plan, row, scale),
    }  # fmt: skip
    if plan.planted is None and (same := _same(place, made)):
        _write(file, same | made)
        return True
    folder = place.output / experiment / scale.name / f"{trained.replace(' ', '-')}-{seed}"
    recipe = provide(place, plan, plan.rows[trained], recipe, scale)
    started = time.monotonic()
    validation = train(recipe, folder, place.device)
    trained_in = time.monotonic() - started
    if plan.planted is not None:
        model = musicgen.load(folder / "model", place.device, "float32")
        measured = {"memorisation": memorisation.measure(model, place.corpus, scale.planted or plan.planted)}
    else:
        measured = measure(place, plan, recipe, folder, row, name, scale)
    history = json.loads((folder / "history.json").read_text())
    made |= {
        "recipe": _portable(recipe), "corpus": learnt_from(place), "commit": _commit(),
        "machine": {"platform": platform.platform(), "device": _device(), "torch": torch.__version__},
        "train_seconds": round(trained_in, 1), "validation": validation, "losses": history["losses"],
        "validations": history["validations"],
    }  # fmt: skip
    _write(file, made | measured)
    return True


def recipe_of(place: Place, plan: Plan, name: str, seed: int, scale: Scale) -> LMRecipe:
    """The scale's recipe with what the plan and its row change."""
    row = plan.rows[name]
    values: dict[str, Any] = {"kind": "lm", "seed": seed}
    shared = {
        "data.path": str(place.corpus),
        "data.tokens": str(place.tokens),
        "data.tokenizer": place.tokenizer or str(catalog.PRETRAINED / "mini"),
    }
    steps = {"optimisation.steps": round(plan.steps * scale.recipe["optimisation.steps"])}
    fields = scale.recipe | shared | steps | plan.recipe | plan.at.get(scale.name, {}) | row.recipe
    if "start.model" in row.recipe:  # it brings its shape and its text encoder
        fields = {name: value for name, value in fields.items() if name != "text.new" and not name.startswith("shape.")}
    if fields.get("text.encoder") in catalog.embedded():
        fields["text.encoder"] = str(catalog.PRETRAINED / fields["text.encoder"])
    for field, value in fields.items():
        *sections, last = field.split(".")
        section = values
        for one in sections:
            section = section.setdefault(one, {})
        section[last] = value
    return LMRecipe.from_dict(values)


def _same(place: Place, made: dict[str, Any]) -> dict[str, Any] | None:
    """The result of another experiment that trained and tested the same: the table's rows meet in the delay pattern."""
    for file in sorted(place.results.glob(f"*/{made['scale']}/*-{made['seed']}.json")):
        result: dict[str, Any] = json.loads(file.read_text())
        if "scores" in result and all(result.get(name) == made[name] for name in ("recipe", "tokenizer", "test")):
            return result
    return None


def _portable(recipe: LMRecipe) -> dict[str, Any]:
    """Without paths of this machine, which say nothing elsewhere."""
    values = recipe.as_dict()
    values["data"] |= {"path": "", "tokens": "", "tokenizer": Path(recipe.data.tokenizer).name}
    values["text"]["encoder"] = Path(recipe.text.encoder).name
    return values


def _tokenizer(row: Row, scale: Scale) -> dict[str, Any] | None:
    """The recipe of the row's own tokeniser."""
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
