"""docs/generation.md and the help of the command line name every argument and option there is."""

import argparse
import dataclasses
import re
from pathlib import Path

from musicgen.commands import generate
from musicgen.options import GenerationOptions
from musicgen.request import RequestArguments

TEXT = (Path(__file__).parents[1] / "docs" / "generation.md").read_text()
ELSEWHERE = {"seed", "options"}
"""Arguments that README and the table of options explain."""
FLAGS_ELSEWHERE = {
    "--output", "--model", "--duration", "--seed", "--loudness", "--no-loudness", "--device",
    "--precision", "--plugin",
}  # fmt: skip


def test_every_option_has_its_row_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| ([^|]+) \|", TEXT, flags=re.MULTILINE))
    fields = {field.name: field.default for field in dataclasses.fields(GenerationOptions)}
    assert rows.keys() == fields.keys()
    for name, default in fields.items():
        given = default not in (None, ())
        assert rows[name] == str(default) if given else rows[name].startswith(("none", "the model's")), name


def test_every_option_has_a_line_of_help() -> None:
    fields = {field.name for field in dataclasses.fields(GenerationOptions)} - generate.SWITCHES
    assert generate.HELP.keys() == fields
    assert generate.KINDS.keys() | generate.METAVARS.keys() <= fields


def test_every_argument_and_flag_is_named() -> None:
    arguments = RequestArguments.__annotations__.keys() - ELSEWHERE
    assert "melody" in arguments
    assert not {name for name in arguments if f"`{name}=" not in TEXT}
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    options = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(GenerationOptions)}
    flags = (
        {action.option_strings[0] for action in parser._actions if action.option_strings and action.dest != "help"}
        - FLAGS_ELSEWHERE
        - options
    )
    assert not {flag for flag in flags if flag not in TEXT and f"--no{flag[1:]}" not in TEXT}
