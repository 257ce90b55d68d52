"""docs/formats.md says what the code reads."""

import re
from pathlib import Path

import pytest

from evaluation.suites import items
from musicgen import decoding, samples
from musicgen.checkpoint import adapters, audiocraft_layout, tensors, transformers_layout
from musicgen.checkpoint.audiocraft_settings import TRANSFORMER
from musicgen.training import descriptions, manifest

TEXT = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Cells of the tables' rows."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def test_the_table_of_containers_lists_every_extension() -> None:
    named = [name for row in rows(section("Audio"))[1:] for name in re.findall(r"`(\.\w+)`", row[1])]
    also = {".aifc", ".snd"}  # other names of AIFF and AU
    assert set(named) | also == set(decoding.EXTENSIONS)


@pytest.mark.parametrize("name", [*manifest.METADATA, *manifest.NAMES, *descriptions.FIELDS, samples.MANIFEST])
def test_metadata(name: str) -> None:
    assert f"`{name}`" in section("Metadata")


def test_descriptions_are_looked_for_in_the_order_that_is_told() -> None:
    (told,) = re.findall(r"in the fields (.*?), in this order", " ".join(section("Metadata").split()))
    assert tuple(re.findall(r"`(\w+)`", told)) == descriptions.FIELDS


def test_suites_of_a_folder() -> None:
    for name in re.findall(r"captions\.\w+", items.__doc__ or ""):
        assert f"`{name}`" in section("Metadata")


def test_checkpoints() -> None:
    text = section("Checkpoints")
    layouts = {row[0]: row[1] for row in rows(text)}
    weights = re.findall(r"`([^`]+)`", layouts["transformers"])
    assert [name for name in weights if name in tensors._FORMS] == list(tensors._FORMS)
    assert transformers_layout.CONFIG in weights
    for name in (audiocraft_layout.LM_FILE, audiocraft_layout.TOKENIZER_FILE):
        assert f"`{name}`" in layouts["audiocraft, exported"]
    for name in (adapters.CONFIG, *adapters.WEIGHTS):
        assert f"`{name}`" in layouts["PEFT"]
    refused = layouts["refused by name"]
    assert {"positional_scale", "max_period"} <= set(TRANSFORMER) & set(re.findall(r"`(\w+)`", refused))
