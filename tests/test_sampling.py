"""Sampling against transformers' logits processors and against the distribution itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.sampling import ClipStream, clip_seeds, filtered_probabilities, sample, with_float64


@settings(max_examples=200, deadline=None)
@given(
    temperature=st.floats(0.1, 5.0),
    top_k=st.integers(0, 60),
    top_p=st.one_of(st.just(0.0), st.floats(0.05, 0.99)),
    seed=st.integers(0, 1000),
)
def test_filters_are_transformers(temperature: float, top_k: int, top_p: float, seed: int) -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p:
        expected = TopPLogitsWarper(top_p)(None, expected)
    expected = expected.softmax(-1)
    ours = filtered_probabilities(logits, GenerationOptions(temperature=temperature, top_k=top_k, top_p=top_p))
    torch.testing.assert_close(ours / ours.sum(-1, keepdim=True), expected, atol=1e-12, rtol=0)


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0, 1.1, -3.0])
    options = GenerationOptions(top_k=4, temperature=1.3)
    expected = filtered_probabilities(logits, options)
    draws = sample(logits.expand(200_000, 1, -1), options, ClipStream(0).uniforms(200_000, 1))
    counts = torch.bincount(draws.flatten(), minlength=6) / 200_000
    assert counts[expected == 0].sum() == 0
    # Five standard deviations of a binomial.
    assert ((counts - expected).abs() <= 5 * (expected * (1 - expected) / 200_000).sqrt()).all()


def test_extremes_of_the_uniform_numbers_stay_inside() -> None:
    logits = torch.tensor([[-50.0, 1.0, 2.0, -50.0]])
    options = GenerationOptions(top_k=2)
    assert sample(logits, options, torch.tensor([0.0], dtype=torch.float64)).item() == 1
    assert sample(logits, options, torch.tensor([1 - 2**-53], dtype=torch.float64)).item() == 2


def test_top_k_1_and_greedy_take_the_most_likely() -> None:
    logits = torch.randn(5, 4, 64, generator=torch.Generator().manual_seed(0))
    uniforms = ClipStream(3).uniforms(5, 4)
    assert torch.equal(sample(logits, GenerationOptions(top_k=1), uniforms), logits.argmax(-1))
    assert torch.equal(sample(logits, GenerationOptions(do_sample=False)), logits.argmax(-1))


def test_a_stream_does_not_depend_on_how_it_is_read() -> None:
    whole = ClipStream(7).uniforms(20, 4)
    stream = ClipStream(7)
    parts = torch.cat([stream.uniforms(3, 4), stream.uniforms(16, 4), stream.uniforms(1, 4)])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, ClipStream(8).uniforms(20, 4))
    assert torch.equal(ClipStream(7, together=2).uniforms(20, 8), whole.repeat_interleave(2, dim=1))
    # The numbers of a seed are part of the interface: a stored seed must give the same music next year.
    assert ClipStream(0).uniforms(1, 3).tolist() == [[0.014067035665647709, 0.2577672456246177, 0.47156538101528966]]


def test_seeds() -> None:
    assert clip_seeds(5, 3) == [5, 6, 7]
    assert clip_seeds([9, 2], 2) == [9, 2]
    assert len(set(clip_seeds(None, 20))) == 20
    for bad in (-1, 2**63, 1.5, True, "x"):
        with pytest.raises((InputError, TypeError), match=r"seed|seeds|iterable"):
            clip_seeds(bad, 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="3 seeds for 2 clips"):
        clip_seeds([1, 2, 3], 2)


def test_what_has_no_float64_draws_elsewhere() -> None:
    assert with_float64(torch.device("mps")) == torch.device("cpu")
    for device in (torch.device("cpu"), torch.device("cuda", 1)):
        assert with_float64(device) == device
