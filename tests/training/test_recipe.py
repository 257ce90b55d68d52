"""Recipes: inheritance, single fields, documentation; what is wrong is named."""

import dataclasses
import typing
from pathlib import Path

import pytest
import yaml

from musicgen.errors import InputError
from musicgen.training import recipe, schema
from musicgen.training.lm.config import LMRecipe
from musicgen.training.tokenizer.config import TokenizerRecipe


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", recipe.shipped())
def test_shipped_recipes_read_and_round_trip(name: str) -> None:
    values = recipe.read(recipe.locate(name))
    kind = TokenizerRecipe if values.get("kind") == "tokenizer" else LMRecipe
    made = kind.from_dict(values)
    assert kind.from_dict(yaml.safe_load(yaml.safe_dump(made.as_dict()))) == made


def test_the_papers_sizes() -> None:
    """Section 3.2: width, heads, layers; steps, batch, optimiser."""
    for name, shape in {"small": (1024, 16, 24), "medium": (1536, 24, 48), "large": (2048, 32, 48)}.items():
        made = LMRecipe.from_dict(recipe.read(recipe.locate(name)))
        assert (made.shape.dim, made.shape.num_heads, made.shape.num_layers) == shape
        assert (made.optimisation.steps, made.optimisation.batch) == (1_000_000, 192)
        assert made.optimisation.betas == (0.9, 0.95)
        assert (made.optimisation.weight_decay, made.optimisation.clip, made.optimisation.average) == (0.1, 1.0, 0.99)
        assert made.optimisation.warmup == 4000
        assert (made.text.merge, made.text.drop_description, made.text.drop_words) == (0.25, 0.5, 0.3)
        assert made.dropout.all == 0.2


def test_inheritance_merges_sections_and_overrides_come_last(tmp_path: Path) -> None:
    write(tmp_path, "below.yaml", "inherits: base\noptimisation: {steps: 7}\nseed: 3\n")
    path = write(tmp_path, "above.yaml", "inherits: below\noptimisation: {batch: 16}\ntext: null\n")
    values = recipe.read(path, ["optimisation.warmup=5", "data.path=here"])
    made = LMRecipe.from_dict(values)
    assert (made.optimisation.steps, made.optimisation.batch, made.optimisation.warmup) == (7, 16, 5)
    assert made.seed == 3
    assert made.data.path == "here"
    assert made.shape.dim == 1024
    assert "text" not in values


def test_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml", "inherits: two\n")
    with pytest.raises(InputError, match="cannot inherit itself"):
        recipe.read(write(tmp_path, "two.yaml", "inherits: one\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimisation: {stesp: 3}", "did you mean optimisation.steps"),
        ("optimisation: {steps: many}", "optimisation.steps is 'many'"),
        ("optimisation: {learning_rate: .nan}", "learning_rate is nan: it must be a finite number"),
        ("optimisation: {batch: 10}", "data.lanes"),
        ("optimisation: {precision: float8}", "one of auto, float32, bfloat16, float16"),
        ("start: {stereo: true}", "name it in start.model"),
        ("start: {model: m}\nshape: {dim: 32, num_heads: 2}", "brings its shape with it"),
        ("text: {length: 64}", "for a new melody model"),
        ("shape: {melody: true}\ntext: {length: 300}", "text.max_tokens \\(256\\) at most"),
        ("start: {model: m}\ntext: {new: {}}", "leave one of them out"),
        ("shape: {pattern: diagonal}", "one of parallel, delay"),
        ("shape: {dim: 30, num_heads: 4}", "does not split into 4 heads"),
        ("shape: {pattern: stereo delay}", "shape.stereo: true"),
        ("dropout: {all: 1.5}", "between 0 and 1"),
        ("dropout: 0.2", "must be a section"),
        ("kind: tokenizer", "another kind"),
        ("optimisation: {learning_rate: 1.0}", "meant for the optimiser dadaptation"),
        ("optimisation: {learning_rate: true}", "optimisation.learning_rate is True: it must be a number"),
        ("optimisation: {steps: 0}", "optimisation.steps is 0: it must be 1 or more"),
        ("optimisation: {betas: [0.9]}", "lacks optimisation.betas.1"),
        ("optimisation: {betas: [0.9, 1]}", "optimisation.betas.1 is 1: it must be below 1"),
        ("optimisation: {codebooks: [1, 0]}", "optimisation.codebooks.1 is 0: it must be above 0"),
        ("optimisation: {compile: 1}", "optimisation.compile is 1: it must be true or false"),
        ("text: {encoder: 5}", "text.encoder is 5: it must be text"),
        ("text: {new: {vocabluary: 9}}", "did you mean text.new.vocabulary"),
        ("auxiliary_losses: {beat_chord: {weight: 1}}", "did you mean auxiliary_losses.beat_chord_key"),
        (
            "auxiliary_losses: {beat_chord_key: {weight: -1}}",
            "beat_chord_key.weight is -1: it must lie between 0 and 100",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        LMRecipe.from_dict({"data": {"path": "here"}} | yaml.safe_load(text))
    assert "\n" not in str(raised.value)


def test_music_must_be_named() -> None:
    with pytest.raises(InputError, match="name the music"):
        LMRecipe.from_dict({})


def test_unknown_recipes_and_bad_overrides() -> None:
    with pytest.raises(InputError, match="no recipe 'gigantic'"):
        recipe.locate("gigantic")
    with pytest.raises(InputError, match="sets nothing"):
        recipe.read(recipe.locate("small"), ["optimisation.steps"])
    with pytest.raises(InputError, match="is no section"):
        recipe.read(recipe.locate("small"), ["kind.steps=3"])


@pytest.mark.parametrize("kind", [LMRecipe, TokenizerRecipe])
def test_every_field_is_documented(kind: type) -> None:
    text = schema.document(kind)

    def names(cls: type, place: str) -> typing.Iterator[str]:
        for field in dataclasses.fields(cls):
            hint = typing.get_type_hints(cls)[field.name]
            inner = [one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)]
            yield from names(inner[0], f"{place}{field.name}.") if inner else [f"  {place}{field.name} ("]

    assert all(name in text for name in names(kind, ""))
    assert "Samples a frame" not in text  # properties are no fields
