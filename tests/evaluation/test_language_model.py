"""Perplexity and memorisation on a tiny model, against the training loss's own shape of the sums and by construction."""

import pytest
import torch

import musicgen
from evaluation.metrics import memorisation, perplexity
from evaluation.systems import language_model


@pytest.fixture(scope="module")
def model(audiocraft_folder):
    return musicgen.load(audiocraft_folder("text"), "cpu")


def test_cross_entropy_is_the_one_of_the_steps(model):
    rng = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 32, (2, 4, 9), generator=rng)
    entropy = language_model.cross_entropy(model, codes, ["calm piano", "loud drums"])
    assert entropy.codes == (18, 18, 18, 18)
    special = model.lm.config.special_token
    sequence = model.pattern.layout(9).build(codes, special)
    with torch.inference_mode():
        conditions = language_model._guided(model, ["calm piano", "loud drums"], None).conditions
        logits = model.lm(sequence[:, :, :-1], conditions)
    targets = sequence[:, :, 1:]
    nats = torch.nn.functional.cross_entropy(
        logits.flatten(0, 2), targets.masked_fill(targets == special, -1).flatten(), ignore_index=-1, reduction="none"
    )
    expected = nats.view_as(targets).sum(dim=(0, 2))
    assert entropy.totals == pytest.approx(expected.tolist(), rel=1e-4)
    assert perplexity.perplexity([entropy]).audiocraft > 1


def test_a_model_that_wrote_the_example_continues_it_exactly(model):
    options = musicgen.GenerationOptions(do_sample=False, guidance_scale=1.0)
    codes = model.generate_codes(["calm piano"], 5.5, seed=0, options=options)
    truth, continued = language_model.continuation(model, codes, ["calm piano"], 0.5)
    assert truth.shape == (1, 250)
    assert memorisation.matches(truth.numpy(), continued.numpy()) == memorisation.Matches(1, 1, 1)
    other = (codes + 1) % 32
    truth, continued = language_model.continuation(model, other, ["calm piano"], 0.5)
    assert memorisation.matches(truth.numpy(), continued.numpy()).exact == 0
    assert language_model.continuation(model, codes, ["calm piano"], 1.0)[0] is None
