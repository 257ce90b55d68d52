"""What a middle layer is taught: the corpus' own facts, on the right frames, and gone from the model that is exported."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from musicgen import checkpoint
from musicgen.errors import InputError
from musicgen.training.corpus import compose
from musicgen.training.corpus.dataset import Settings, write
from musicgen.training.corpus.sidecar import sidecar
from musicgen.training.lm import guides
from musicgen.training.lm.batches import Cropper
from musicgen.training.lm.config import Data, LMRecipe, Optimisation
from musicgen.training.lm.guides import Guide, Places
from musicgen.training.lm.loop import train
from musicgen.training.lm.network import Network
from musicgen.training.lm.shards import Sample
from tests import standins

RATE = 50


def told(seed: int = 5, **options: object) -> dict[str, object]:
    piece = compose(seed, duration=12.0, sequenced=True, **options)
    return sidecar(piece, name="piece", sample_rate=32_000, soundfont="a.sf2")


@pytest.mark.parametrize("start", [0, 100])
def test_facts_are_those_of_the_piece(start: int) -> None:
    metadata = told(genre="house", key="A minor")
    frames = 400
    table = guides.facts(metadata, start, frames, RATE)
    assert table.shape == (frames, guides.WIDTH)
    assert set(table[:, -1]) == {9 + 12}

    # On a bar, half a beat later, and a beat later, to the frame.
    bar, beat = metadata["downbeats"][3], metadata["beats"][1] - metadata["beats"][0]
    for place, (bars, beats, halves) in ((0.0, (1, 1, 1)), (0.5, (None, -1, 1)), (2.0, (-1, 1, 1))):
        row = table[round((bar + place * beat) * RATE) - start]
        cosines = row[[0, 2, 4]]
        for cosine, wanted in zip(cosines, (bars, beats, halves), strict=True):
            assert wanted is None or cosine == pytest.approx(wanted, abs=0.3)

    chord = metadata["chords"][1]
    middle = round((chord["onset"] + chord["offset"]) / 2 * RATE) - start
    sounding = np.flatnonzero(table[middle, 6:-1])
    assert set(sounding) == set(chord["pitch_classes"])


def test_other_sidecars_are_refused_with_what_they_lack() -> None:
    with pytest.raises(InputError, match=r"optimisation.guide needs beats, .*song has no 'beats'"):
        guides.facts({"name": "song", "bpm": 100}, 0, 10, RATE)
    with pytest.raises(InputError, match="song has fewer than two beats or bars"):
        guides.facts(told() | {"name": "song", "downbeats": [0.0]}, 0, 10, RATE)


def test_the_losses_are_means_of_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    guide = Guide(16)
    torch.nn.init.normal_(guide.head.weight, generator=generator)
    hidden = torch.randn(2, 30, 16, generator=generator)
    facts = torch.from_numpy(np.stack([guides.facts(told(seed), 0, 30, RATE) for seed in (5, 6)]))
    counted = torch.arange(30) < torch.tensor([[30], [12]])
    ours = guide(hidden, Places(facts, counted))
    expected = torch.zeros(3)
    for row in range(2):
        for frame in torch.nonzero(counted[row]).flatten():
            values = guide.head(F.layer_norm(hidden[row, frame], (16,)))
            wanted = facts[row, frame]
            expected[0] += 4.0 * ((values[:6] - wanted[:6]) ** 2).mean()
            expected[1] += F.binary_cross_entropy(values[6:18].sigmoid(), wanted[6:18])
            expected[2] -= 0.5 * values[18:].log_softmax(0)[int(wanted[18])]
    assert torch.allclose(ours, expected, rtol=1e-4)


def test_it_reads_the_states_that_predict_a_frames_first_code(tmp_path: Path) -> None:
    model = checkpoint.load(standins.write(standins.transformers_model(), tmp_path / "text"), "cpu")
    network = Network(model, train_text=False, guide_layer=1)
    torch.nn.init.normal_(network.guide.head.weight)
    recipe = LMRecipe(data=Data(path="not read", seconds=1.0), optimisation=Optimisation(guide=1.0))
    cropper = Cropper(recipe, Fraction(RATE), 1.0, 0)
    codes = np.random.default_rng(0).integers(0, 64, (4, 60)).astype(np.int16)
    row = cropper.validation(Sample(codes, None, told()), np.random.default_rng(0))
    bare = replace(row, text="")
    inputs = network.inputs(cropper.batch([row, bare]), 64)
    # Rows without text do not count.
    assert inputs.places.counted.sum(dim=1).tolist() == [50, 0]

    kept = []
    hook = model.lm.blocks[0].register_forward_hook(lambda *call: kept.append(call[2]))
    losses = network(inputs)
    hook.remove()
    # The delay pattern predicts the first codebook's frame t from step t on.
    assert torch.equal(losses.guide, network.guide(kept[0][:, :50], inputs.places))
    # Afterwards nothing watches the layer any more.
    assert not model.lm.blocks[0]._forward_hooks


@pytest.mark.usefixtures("renderer")
def test_a_guided_run_learns_places_goes_on_and_exports_the_plain_model(recipe: LMRecipe, tmp_path: Path) -> None:
    music = tmp_path / "corpus"
    list(write(Settings(music, durations=(8, 9), sequenced=True), range(12)))
    guided = replace(
        recipe,
        data=replace(recipe.data, path=str(music), begin="bars", seconds=2.0, validation=1),
        optimisation=replace(recipe.optimisation, steps=16, guide=1.0, guide_layer=1, codebooks=(2.0, 1.0, 1.0, 0.5)),
        every=replace(recipe.every, validate=16, checkpoint=16, log=8, samples=100),
    )
    train(guided, tmp_path / "whole", device="cpu")
    validation = train(guided, tmp_path / "whole", device="cpu")  # complete: read again
    assert sum(validation["guide"]) < 4.0 * 0.5 + math.log(2) + 0.5 * math.log(24)  # what knowing nothing costs
    assert json.loads((tmp_path / "whole" / "history.json").read_text())["validations"] == [validation]
    model = checkpoint.load(tmp_path / "whole" / "model", "cpu")
    assert not [name for name in model.state_dict() if "guide" in name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guide": 1.0, "guide_layer": 9}, "optimisation.guide_layer is 9: the model has 2 layers"),
        ({"codebooks": (1.0, 2.0)}, "optimisation.codebooks has 2 weights: the model has 4 codebooks"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    recipe: LMRecipe, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(replace(recipe, optimisation=replace(recipe.optimisation, **changes)), tmp_path / "run", device="cpu")


def test_codebooks_count_by_their_weights(recipe: LMRecipe, tmp_path: Path) -> None:
    """With nearly all of the weight on the first codebook, that one is learnt best."""
    losses = {}
    for name, weights in (("first", (1.0, 1e-3, 1e-3, 1e-3)), ("last", (1e-3, 1e-3, 1e-3, 1.0))):
        options = replace(recipe.optimisation, steps=12, codebooks=weights)
        run = replace(recipe, optimisation=options, every=replace(recipe.every, validate=12, checkpoint=12))
        losses[name] = train(run, tmp_path / name, device="cpu")["perplexity"]
    assert losses["first"][0] < losses["last"][0]
    assert losses["last"][3] < losses["first"][3]
