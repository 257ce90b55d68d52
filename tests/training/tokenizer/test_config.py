"""Recipes: what ships can be read, what is wrong is named."""

from pathlib import Path

import pytest
import yaml

from musicgen.errors import InputError
from musicgen.training.recipe import SHIPPED
from musicgen.training.tokenizer.config import TokenizerRecipe

RECIPES = sorted((SHIPPED / "tokenizer").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_read_and_round_trip(path: Path) -> None:
    recipe = TokenizerRecipe.read(path)
    assert TokenizerRecipe.from_dict(yaml.safe_load(yaml.safe_dump(recipe.as_dict()))) == recipe
    assert recipe.shape.sample_rate / recipe.shape.hop == 50


def test_numbers_may_be_written_as_yaml_reads_them() -> None:
    recipe = TokenizerRecipe.from_dict(yaml.safe_load("optimisation: {learning_rate: 3e-4, max_seconds: 60}"))
    assert recipe.optimisation.learning_rate == 3e-4
    assert recipe.optimisation.max_seconds == 60.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimisation": {"learning_rte": 1}}, "did you mean optimisation.learning_rate"),
        ({"sahpe": {}}, "did you mean shape"),
        ({"kind": "lm"}, "of another kind"),
        ({"family": "mp3"}, "family is 'mp3'"),
        ({"shape": {"codebook_size": 1000}}, "power of 2"),
        ({"shape": {"filters": 2.5}}, "shape.filters is 2.5"),
        ({"shape": {"filters": True}}, "shape.filters is True"),
        ({"shape": 3}, "shape is 3: it must be a section"),
        ({"losses": {"wave": 0, "mel": 0, "stft": 0}}, "nothing would be learnt"),
        ({"losses": {"windows": [65536]}}, "a crop of 32000 is too short"),
        ({"optimisation": {"precision": "float8"}}, "one of float32, bfloat16"),
        ({"optimisation": {"max_seconds": "long"}}, "optimisation.max_seconds is 'long'"),
        ({"quantisation": {"start_step": 10}, "optimisation": {"steps": 10}}, "never begin"),
        ({"start": {"decoder_only": True}}, "name their tokeniser in start.model"),
        ({"family": "dac", "start": {"model": "x"}}, "start.model is for the encodec family"),
        ({"export": "int8"}, "export is 'int8'"),
    ],
)
def test_what_is_wrong_is_named(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenizerRecipe.from_dict(values)


def test_crops_are_whole_frames() -> None:
    recipe = TokenizerRecipe.from_dict({"data": {"crop_seconds": 0.99}})
    assert recipe.crop_samples == 50 * 640
