"""Auxiliary losses: targets from the corpus' metadata on the right frames, and no trace in the exported model."""

import json
import math
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from musicgen import checkpoint
from musicgen.errors import InputError
from musicgen.training.corpus import compose
from musicgen.training.corpus.dataset import CorpusOptions, write
from musicgen.training.corpus.metadata import metadata_of
from musicgen.training.lm.auxiliary_losses import REGISTRY, BeatChordKey
from musicgen.training.lm.config import AuxiliaryLoss, AuxiliaryLosses, Data, LMRecipe
from musicgen.training.lm.dataloader import Cropper
from musicgen.training.lm.network import Network
from musicgen.training.lm.shards import Sample
from musicgen.training.lm.trainer import train
from tests import standins
from tests.training.lm.conftest import recipe_values

RATE = 50


def metadata_of_seed(seed: int = 5, **options: object) -> dict[str, object]:
    composition = compose(seed, duration=12.0, sequenced=True, **options)
    return metadata_of(composition, name="clip", sample_rate=32_000, soundfont="a.sf2")


@pytest.mark.parametrize("start", [0, 100])
def test_targets_are_those_of_the_composition(start: int) -> None:
    metadata = metadata_of_seed(genre="house", key="A minor")
    frames = 400
    table = BeatChordKey.targets(metadata, start, frames, RATE)
    assert table.shape == (frames, BeatChordKey.width)
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


def test_metadata_without_the_fields_is_refused() -> None:
    with pytest.raises(InputError, match=r"auxiliary_losses.beat_chord_key needs beats, .*song has no 'beats'"):
        BeatChordKey.targets({"name": "song", "bpm": 100}, 0, 10, RATE)
    with pytest.raises(InputError, match="song has fewer than two beats or bars"):
        BeatChordKey.targets(metadata_of_seed() | {"name": "song", "downbeats": [0.0]}, 0, 10, RATE)


def test_the_loss_is_a_sum_of_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    loss = BeatChordKey(16)
    torch.nn.init.normal_(loss.head.weight, generator=generator)
    hidden = torch.randn(2, 30, 16, generator=generator)
    targets = torch.from_numpy(np.stack([BeatChordKey.targets(metadata_of_seed(seed), 0, 30, RATE) for seed in (5, 6)]))
    known = torch.arange(30) < torch.tensor([[30], [12]])
    ours = loss(hidden, targets, known)
    expected = torch.zeros(3)
    for row in range(2):
        for frame in torch.nonzero(known[row]).flatten():
            values = loss.head(F.layer_norm(hidden[row, frame], (16,)))
            wanted = targets[row, frame]
            expected[0] += 4.0 * ((values[:6] - wanted[:6]) ** 2).mean()
            expected[1] += F.binary_cross_entropy(values[6:18].sigmoid(), wanted[6:18])
            expected[2] -= 0.5 * values[18:].log_softmax(0)[int(wanted[18])]
    assert torch.allclose(ours, expected, rtol=1e-4)


def test_it_reads_the_states_that_predict_a_frames_first_code(tmp_path: Path) -> None:
    model = checkpoint.load(standins.write(standins.transformers_model(), tmp_path / "text"), "cpu")
    recipe = LMRecipe(
        data=Data(path="not read", seconds=1.0), auxiliary_losses=AuxiliaryLosses(beat_chord_key=AuxiliaryLoss(layer=1))
    )
    network = Network(model, train_text=False, auxiliary=recipe.auxiliary_losses)
    torch.nn.init.normal_(network.auxiliary["beat_chord_key"].head.weight)
    cropper = Cropper(recipe, Fraction(RATE), 1.0, 0)
    codes = np.random.default_rng(0).integers(0, 64, (4, 60)).astype(np.int16)
    row = cropper.validation(Sample(codes, None, metadata_of_seed()), np.random.default_rng(0))
    bare = replace(row, text="")
    inputs = network.inputs(cropper.batch([row, bare]), 64)
    # Rows without text do not count.
    assert inputs.known.sum(dim=1).tolist() == [50, 0]

    kept = []
    hook = model.lm.blocks[0].register_forward_hook(lambda *call: kept.append(call[2]))
    losses = network(inputs)
    hook.remove()
    # The delay pattern predicts the first codebook's frame t from step t on.
    expected = network.auxiliary["beat_chord_key"](
        kept[0][:, :50], inputs.auxiliary_targets["beat_chord_key"], inputs.known
    )
    assert torch.equal(losses.auxiliary["beat_chord_key"], expected)
    # The hook is removed afterwards.
    assert not model.lm.blocks[0]._forward_hooks


@pytest.mark.usefixtures("renderer")
def test_a_run_lowers_it_resumes_and_exports_the_plain_model(recipe: LMRecipe, tmp_path: Path) -> None:
    music = tmp_path / "corpus"
    list(write(CorpusOptions(music, durations=(8, 9), sequenced=True), range(12)))
    wanted = replace(
        recipe,
        data=replace(recipe.data, path=str(music), begin="bars", seconds=2.0, validation=1),
        optimisation=replace(recipe.optimisation, steps=16, codebooks=(2.0, 1.0, 1.0, 0.5)),
        auxiliary_losses=AuxiliaryLosses(beat_chord_key=AuxiliaryLoss(weight=1.0, layer=1)),
        every=replace(recipe.every, validate=16, checkpoint=16, log=8, samples=100),
    )
    train(wanted, tmp_path / "whole", device="cpu")
    validation = train(wanted, tmp_path / "whole", device="cpu")  # complete: read again
    terms = validation["auxiliary_losses"]["beat_chord_key"]
    assert list(terms) == ["beat", "chord", "key"]
    assert sum(terms.values()) < 4.0 * 0.5 + math.log(2) + 0.5 * math.log(
        24
    )  # the loss of a head that predicts nothing
    assert json.loads((tmp_path / "whole" / "history.json").read_text())["validations"] == [validation]
    model = checkpoint.load(tmp_path / "whole" / "model", "cpu")
    assert not [name for name in model.state_dict() if "auxiliary" in name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"auxiliary_losses": {"beat_chord_key": {"layer": 9}}},
            "auxiliary_losses.beat_chord_key.layer is 9: the model has 2 layers",
        ),
        (
            {"optimisation": {"codebooks": [1.0, 2.0]}},
            "optimisation.codebooks has 2 weights: the model has 4 codebooks",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    music: Path,
    tokenizer_folder: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    changes: dict[str, dict[str, object]],
    message: str,
) -> None:
    values = recipe_values(music, tokenizer_folder, **changes)
    if "auxiliary_losses" in changes:
        request.getfixturevalue("renderer")
        list(write(CorpusOptions(tmp_path / "corpus", durations=(8, 9)), range(10)))
        values["data"] |= {"path": str(tmp_path / "corpus"), "validation": 1}
    with pytest.raises(InputError, match=message):
        train(LMRecipe.from_dict(values), tmp_path / "run", device="cpu")


def test_every_loss_of_the_registry_has_its_field_in_recipes() -> None:
    assert [field.name for field in fields(AuxiliaryLosses)] == list(REGISTRY)
    assert AuxiliaryLosses(beat_chord_key=AuxiliaryLoss(weight=0)).active() == {}


def test_codebooks_count_by_their_weights(recipe: LMRecipe, tmp_path: Path) -> None:
    """With nearly all of the weight on the first codebook, that one is learnt best."""
    losses = {}
    for name, weights in (("first", (1.0, 1e-3, 1e-3, 1e-3)), ("last", (1e-3, 1e-3, 1e-3, 1.0))):
        options = replace(recipe.optimisation, steps=12, codebooks=weights)
        run = replace(recipe, optimisation=options, every=replace(recipe.every, validate=12, checkpoint=12))
        losses[name] = train(run, tmp_path / name, device="cpu")["perplexity"]
    assert losses["first"][0] < losses["last"][0]
    assert losses["last"][3] < losses["first"][3]
