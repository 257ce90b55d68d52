"""Training data of the runs: corpus, tokenisers and tokens, generated once and shared.

OUTPUT/corpus, OUTPUT/tokens        the synthetic corpus, and its tokens by the embedded tokeniser
OUTPUT/tokens-stereo                the same with both channels
OUTPUT/tokens-CLAP-SECONDS          the same with embeddings of windows
OUTPUT/tokenizers/NAME, tokens-NAME a tokeniser trained for an experiment, and its tokens
OUTPUT/planted, tokens-planted      a corpus with repeated examples (memorisation.py)
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from experiments import memorisation, mini_clap  # noqa: F401 (registers its kind)
from experiments.plan import Plan, Row, Scale
from musicgen import catalog
from musicgen.checkpoint.components import audio_tokenizer
from musicgen.errors import InputError
from musicgen.tokenizers import StereoTokenizer
from musicgen.training import recipe as recipes
from musicgen.training.corpus.dataset import MANIFEST
from musicgen.training.lm.clap_text import ClapText
from musicgen.training.lm.clap_windows import ClapWindows
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.prepare import prepare
from musicgen.training.lm.shards import read_index
from musicgen.training.tokenizer.config import TokenizerRecipe
from musicgen.training.tokenizer.trainer import train as train_tokenizer
from musicgen.training.trainer import MODEL

CORPUS_SEED = 1000
"""Of the first composition, as in the corpus of the embedded models."""


@dataclasses.dataclass(frozen=True)
class Paths:
    """Folders of the runs.

    Attributes:
        output: Of everything that is made.
        corpus: Used if it exists, made otherwise.
        tokens: Likewise.
        results: Of the JSON files.
        device: For training.
        tokenizer: Folder of the tokeniser, "" for the embedded one.
    """

    output: Path
    corpus: Path
    tokens: Path
    results: Path
    device: str = "auto"
    tokenizer: str = ""


def run_folder(output: Path, experiment: str, scale: Scale, row: str, seed: int) -> Path:
    """The folder of a run: its checkpoints, its model and its clips."""
    return output / experiment / scale.name / f"{row.replace(' ', '-')}-{seed}"


def row_paths(paths: Paths, plan: Plan, row: Row, scale: Scale) -> Paths:
    """The folders of a row, which may have its own corpus, tokens and tokeniser."""
    if plan.planted is not None:
        return dataclasses.replace(paths, corpus=paths.output / "planted", tokens=paths.output / "tokens-planted")
    if row.tokenizer:
        name = f"{row.tokenizer['family']}-{scale.name}"
        trained = paths.output / "tokenizers" / name / MODEL
        return dataclasses.replace(paths, tokens=paths.output / f"tokens-{name}", tokenizer=str(trained))
    if (clap := row.recipe.get("text.clap")) is not None:
        # The windows of the embeddings are as long as the crops.
        name = f"tokens-{clap['embedder']}-{scale.recipe['data.seconds']:g}"
        return dataclasses.replace(paths, tokens=paths.output / name, tokenizer=str(catalog.PRETRAINED / "mini"))
    if row.recipe.get("start.stereo"):
        return dataclasses.replace(paths, tokens=paths.output / "tokens-stereo")
    return dataclasses.replace(paths, tokenizer=str(catalog.PRETRAINED / "mini"))


def prepare_data(paths: Paths, plan: Plan, row: Row, recipe: LMRecipe, scale: Scale) -> LMRecipe:
    """Make the corpus, tokeniser and tokens that do not exist yet.

    Returns:
        The recipe; in plans with planted examples its crops are as long as those.
    """
    planted = plan.planted and (scale.planted or plan.planted)
    if planted is not None:
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, seconds=memorisation.SECONDS))
        if read_index(str(paths.tokens)) is None:
            memorisation.compose(paths.corpus, planted, recipe.data.workers or 1)
            once = paths.tokens.with_name(f"{paths.tokens.name}-once")
            _write_tokens(once, recipe)
            memorisation.repeat(once, paths.tokens, planted, recipe.data.lanes)
        return recipe
    _compose(paths, scale)
    if row.tokenizer and not Path(paths.tokenizer).is_dir():
        train_tokenizer(tokenizer_recipe(row, scale, str(paths.corpus)), Path(paths.tokenizer).parent, paths.device)
    windows = None
    if recipe.text.clap is not None:
        windows = ClapWindows(ClapText.load(recipe.text.clap).embedder, recipe.data.seconds)
    _write_tokens(paths.tokens, recipe, windows)
    return recipe


def tokenizer_recipe(row: Row, scale: Scale, corpus: str = "") -> TokenizerRecipe:
    """The recipe of the tokeniser that the row trains."""
    fields = scale.tokenizer | row.tokenizer | {"data.path": corpus}
    changes = [f"{name}={json.dumps(value)}" for name, value in fields.items()]
    return TokenizerRecipe.from_dict(recipes.read(recipes.locate("tokenizer/mini"), changes))


def data_size(paths: Paths) -> dict[str, Any]:
    """Clips and hours of the training data."""
    index = read_index(str(paths.tokens))
    assert index is not None
    return {"clips": sum(index.train.values()), "hours": round(index.frames / float(Fraction(index.rate)) / 3600, 3)}


def _write_tokens(folder: Path, recipe: LMRecipe, windows: ClapWindows | None = None) -> None:
    """Encode the corpus, with melodies, because all runs share the tokens. windows: of CLAP models."""
    if read_index(str(folder)) is None:
        mono = audio_tokenizer(recipe.data.tokenizer)
        tokenizer = StereoTokenizer(mono) if recipe.start.stereo else mono
        prepare(recipe.data, folder, tokenizer, recipe.data.melody, recipe.seed, torch.device("cpu"), windows)


def _compose(paths: Paths, scale: Scale) -> None:
    """Make the corpus unless it or its tokens exist. One whose making was interrupted has no manifest yet, and goes on."""
    made_here = paths.corpus == paths.output / "corpus"
    whole = (paths.corpus / MANIFEST).is_file() if made_here else any(paths.corpus.glob("**/*.flac"))
    if whole or (paths.tokens / "index.json").is_file():
        return
    low, high = scale.piece_seconds
    command = [sys.executable, "-m", "musicgen.training.corpus", "--output", str(paths.corpus), "--captions", "16",
               "--seed", str(CORPUS_SEED), "--count", str(scale.corpus), "--duration", str(low), str(high)]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{paths.corpus}: the corpus could not be composed; the reason stands above")
