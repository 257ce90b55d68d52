"""Write a model as a folder in the transformers or the audiocraft layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen.commands import lora
from musicgen.folders import check_writable_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="hub name, embedded name or folder")
    parser.add_argument("folder", type=Path, help="where to write it: a folder that does not exist yet")
    parser.add_argument("--layout", default="transformers", choices=("transformers", "audiocraft"))
    parser.add_argument(
        "--text-encoder", metavar="NAME", help="for audiocraft's layout, which names the text encoder: t5-base, ... "
        "(default: what the model says)",
    )  # fmt: skip
    lora.add_argument(parser)


def run(arguments: argparse.Namespace) -> None:
    from musicgen import checkpoint

    check_writable_folder(arguments.folder)
    model = checkpoint.load(arguments.model, "cpu", "float32", adapters=lora.parse(arguments.lora))
    checkpoint.save(model, arguments.folder, arguments.layout, text_encoder=arguments.text_encoder)
    for file in sorted(arguments.folder.iterdir()):
        print(f"{file}  {file.stat().st_size / 1e6:.1f} MB")
