"""Train from a recipe: a language model, or an audio tokeniser.

RECIPE is a YAML file or the name of a recipe that comes with the package. To resume an interrupted run from its last
checkpoint, run the same command again. For several GPUs or machines: accelerate launch -m musicgen train RECIPE …
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
        "--no-text", action="store_true", help="train without the clips' texts, which need not be there"
    )
    parser.conflict_handler = "resolve"
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="this text, and every field of a recipe")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError
    from musicgen.folders import check_writable_folder
    from musicgen.training import recipe as recipes
    from musicgen.training.lm.config import LMRecipe
    from musicgen.training.tokenizer.config import TokenizerRecipe

    if arguments.recipe is None:
        raise InputError(f"name a recipe: a file, or one of {', '.join(_shipped())}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = recipes.locate(arguments.recipe)
    values = recipes.read(path, arguments.overrides + ["data.texts=false"] * arguments.no_text)
    output = arguments.output or Path("runs") / path.stem
    check_writable_folder(output)
    kind = values.get("kind", "lm")
    if kind == "tokenizer":
        from musicgen.training.tokenizer.trainer import train as train_tokenizer

        train_tokenizer(TokenizerRecipe.from_dict(values), output, arguments.device)
    elif kind == "lm":
        from musicgen.training.lm.trainer import train as train_lm

        train_lm(LMRecipe.from_dict(values), output, arguments.device)
    else:
        raise InputError(f"{path}: kind is {kind!r}: lm or tokenizer")
    trained = "adapter" if values.get("export") == "adapter" else "model"
    print(f"the trained {trained}: {output / trained}")


class _Help(argparse.Action):
    """Help with every field of a recipe. Only when it is asked for: the fields' modules load PyTorch."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from musicgen.training.lm.config import LMRecipe
        from musicgen.training.schema import document
        from musicgen.training.tokenizer.config import TokenizerRecipe

        parser.print_help()
        print(f"\nrecipes that come with the package: {', '.join(_shipped())}")
        for kind, recipe in (("lm", LMRecipe), ("tokenizer", TokenizerRecipe)):
            print(f"\nfields of a recipe with kind: {kind}\n{document(recipe)}")
        parser.exit()


def _shipped() -> list[str]:
    from musicgen.training.recipe import shipped

    return shipped()
