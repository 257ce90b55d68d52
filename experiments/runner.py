"""One row with one seed: train, generate, score; the result is one file of JSON, written when all of it is there.

OUTPUT/corpus, OUTPUT/tokens-*         shared by all runs
OUTPUT/EXPERIMENT/ROW-SEED/            the run: checkpoints, samples; killed, it goes on from there
RESULTS/EXPERIMENT/SCALE/ROW-SEED.json what the report is made of
"""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import musicgen
from evaluation import data, generation, language_model, run, suites, systems
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Registry
from evaluation.embedders.weights import Weights
from evaluation.metrics import perplexity
from experiments import memorisation
from experiments.plan import FOLDER, Plan, Row, Scale
from musicgen import audio, catalog
from musicgen.checkpoint.parts import audio_tokenizer
from musicgen.errors import InputError
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.loop import train
from musicgen.training.lm.prepare import prepare
from musicgen.training.lm.shards import read_index

RESULTS = FOLDER / "results"
SUITE = "synth"
CORPUS_SEED = 200_000


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a run works. corpus, tokens: given ones are used, others are made; device: of the trainer."""

    output: Path
    corpus: Path
    tokens: Path
    results: Path = RESULTS
    device: str = "auto"


def result_file(place: Place, experiment: str, scale: str, row: str, seed: int) -> Path:
    return place.results / experiment / scale / f"{row.replace(' ', '-')}-{seed}.json"


def run_row(place: Place, experiment: str, plan: Plan, name: str, seed: int, scale_name: str, scale: Scale) -> bool:
    """Whether anything was left to do."""
    file = result_file(place, experiment, scale_name, name, seed)
    if file.is_file():
        return False
    row = plan.rows[name]
    trained = row.trained_as or name
    if plan.planted is None and (same := _same(place, scale_name, recipe_of(place, plan, trained, seed, scale), row)):
        _write(file, same | {"experiment": experiment, "row": name})
        return True
    planted = plan.planted and (scale.planted or plan.planted)
    if planted is not None:
        place = dataclasses.replace(place, corpus=place.output / "planted", tokens=place.output / "tokens-planted")
    recipe = recipe_of(place, plan, trained, seed, scale)
    folder = place.output / experiment / scale_name / f"{trained.replace(' ', '-')}-{seed}"
    started = time.monotonic()
    if planted is not None:
        manifest = memorisation.compose(place.corpus, planted, recipe.data.workers or 1)
        data_of = dataclasses.replace(recipe.data, path=str(manifest), seconds=memorisation.SECONDS)
        recipe = dataclasses.replace(recipe, data=data_of)
    else:
        compose(place, scale)
    write_tokens(place, recipe)
    validation = train(recipe, folder, place.device)
    trained_in = time.monotonic() - started
    if planted is not None:
        model = musicgen.load(folder / "model", place.device)
        measured = {"memorisation": memorisation.measure(model, place.corpus, planted)}
    else:
        samples = folder / f"samples-{name.replace(' ', '-')}"
        measured = measure(folder / "model", samples, row, seed, scale, place.device)
    history = json.loads((folder / "history.json").read_text())
    result = {
        "experiment": experiment, "row": name, "seed": seed, "scale": scale_name, "melody": row.melody,
        "recipe": _portable(recipe),
        "commit": _commit(), "machine": {"platform": platform.platform(), "device": _device(), "torch": torch.__version__},
        "train_seconds": round(trained_in, 1), "validation": validation, "losses": history["losses"],
        "validations": history["validations"],
    } | measured  # fmt: skip
    _write(file, result)
    return True


def recipe_of(place: Place, plan: Plan, name: str, seed: int, scale: Scale) -> LMRecipe:
    """The scale's recipe with what the plan and its row change."""
    row = plan.rows[name]
    values: dict[str, Any] = {"kind": "lm", "seed": seed}
    shared = {
        "data.path": str(place.corpus),
        "data.tokens": str(place.tokens),
        "data.tokenizer": str(catalog.PRETRAINED / "mini"),
    }
    steps = {"optimisation.steps": round(plan.steps * scale.recipe["optimisation.steps"])}
    fields = scale.recipe | shared | steps | row.recipe
    if "start.model" in row.recipe:  # it brings its shape and its text encoder
        fields = {name: value for name, value in fields.items() if name != "text.new" and not name.startswith("shape.")}
    for field, value in fields.items():
        *sections, last = field.split(".")
        section = values
        for one in sections:
            section = section.setdefault(one, {})
        section[last] = value
    return LMRecipe.from_dict(values)


def compose(place: Place, scale: Scale) -> None:
    """The corpus, where it is not there and the tokens are not either."""
    if any(place.corpus.glob("**/*.flac")) or (place.tokens / "index.json").is_file():
        return
    low, high = scale.piece_seconds
    command = [sys.executable, "-m", "musicgen.training.corpus", "--output", str(place.corpus), "--captions", "16",
               "--seed", str(CORPUS_SEED), "--count", str(scale.corpus), "--duration", str(low), str(high)]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{place.corpus}: the corpus could not be composed; the reason stands above")


def write_tokens(place: Place, recipe: LMRecipe) -> None:
    """The corpus' tokens, with its melodies whether this run needs them or not: all runs share them."""
    if read_index(str(place.tokens)) is None:
        tokenizer = audio_tokenizer(recipe.data.tokenizer)
        prepare(recipe.data, place.tokens, tokenizer, recipe.data.melody, recipe.seed, torch.device("cpu"))


def measure(model: Path, samples: Path, row: Row, seed: int, scale: Scale, device: str) -> dict[str, Any]:
    """Perplexity of the references; the clips made for their captions; their scores."""
    suite = dataclasses.replace(suites.load(SUITE), seed=10_000_000 + 100_000 * seed)
    items = data.items(suite, limit=scale.clips)
    system = systems.MusicGenSystem(None, str(model), device, scale.batch, {})
    entropies = {}
    follows = system.model.melody is not None
    for item in tqdm(items, desc="perplexity"):
        codes = language_model.codes_of(system.model, [item], suite.duration)
        given = [item.file] if follows and row.melody else None
        entropy = language_model.cross_entropy(system.model, codes, [item.caption], given)
        entropies[item.id] = entropy
    started = time.monotonic()
    wanted = generation.requests(suite, items, melody=row.melody)
    made = generation.fill(samples, wanted, lambda: system, "ours")
    seconds = time.monotonic() - started
    results = run.score(
        suite, items, [samples], Registry(Weights({}, download=False), "cpu"), Cache(samples.parent / "cache")
    )
    layout = system.model.pattern.layout(round(suite.duration * system.model.frame_rate))
    figures = perplexity.perplexity(list(entropies.values()))
    return {
        "clips": len(results.ids),
        "excluded": dict(results.excluded),
        "steps": layout.num_steps,
        "generate_seconds": round(seconds, 1) if made == len(wanted) else None,
        "perplexity": {
            "value": figures.pooled,
            "codebooks": list(figures.codebooks),
            "nats": {name: float(entropy.means.mean()) for name, entropy in entropies.items()},
        },
        "scores": {
            score.metric: {"value": score.value, "low": score.low, "high": score.high, "n": score.n,
                           "direction": score.direction, "version": score.version, "clips": dict(score.clips)}
            for score in results.systems[0].scores
        },
    }  # fmt: skip


def _same(place: Place, scale: str, recipe: LMRecipe, row: Row) -> dict[str, Any] | None:
    """The result of another experiment that trained and tested the same: the table's rows meet in the delay pattern."""
    wanted = _portable(recipe)
    for file in sorted(place.results.glob(f"*/{scale}/*-{recipe.seed}.json")):
        result: dict[str, Any] = json.loads(file.read_text())
        if "scores" in result and result["recipe"] == wanted and result["melody"] == row.melody:
            return result
    return None


def _portable(recipe: LMRecipe) -> dict[str, Any]:
    """Without paths of this machine, which say nothing elsewhere."""
    values = recipe.as_dict()
    values["data"] |= {"path": "", "tokens": "", "tokenizer": Path(recipe.data.tokenizer).name}
    return values


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
