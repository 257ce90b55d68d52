"""Train from a recipe: a language model, or an audio tokeniser.

RECIPE is a YAML file or the name of a recipe that comes with the package. A killed run goes on where its last checkpoint was
when the same command is given again. Several GPUs or machines: accelerate launch -m musicgen train RECIPE …
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="a YAML file, or a shipped recipe's name")
    parser.add_argument("overrides", metavar="FIELD=VALUE", nargs="*", help="set a field: optimisation.steps=1000")
    parser.add_argument("--output", type=Path, help="the run's folder (default runs/RECIPE)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu"], help="auto takes a GPU where there is one")
    parser.add_argument(
        "--fields", action="store_true", help="print every field of a recipe with its meaning, and stop"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "recipes: " + ", ".join(_shipped()) + "\nfields: python -m musicgen train --fields"


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError
    from musicgen.training import recipe as recipes
    from musicgen.training.lm.config import LMRecipe
    from musicgen.training.tokenizer.config import TokenizerRecipe

    if arguments.fields:
        print(f"kind: lm\n{recipes.document(LMRecipe)}\n\n\nkind: tokenizer\n{recipes.document(TokenizerRecipe)}")
        return
    if arguments.recipe is None:
        raise InputError(f"name a recipe: a file, or one of {', '.join(_shipped())}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = recipes.locate(arguments.recipe)
    values = recipes.read(path, arguments.overrides)
    output = arguments.output or Path("runs") / path.stem
    kind = values.get("kind", "lm")
    if kind == "tokenizer":
        from musicgen.training.tokenizer.loop import train as train_tokenizer

        train_tokenizer(TokenizerRecipe.from_dict(values), output, arguments.device)
    elif kind == "lm":
        from musicgen.training.lm.loop import train as train_lm

        train_lm(LMRecipe.from_dict(values), output, arguments.device)
    else:
        raise InputError(f"{path}: kind is {kind!r}: lm or tokenizer")
    print(f"the trained model: {output / 'model'}")


def _shipped() -> list[str]:
    from musicgen.training.recipe import shipped

    return shipped()
