"""Other precisions: the packed layers are what they say, and how far the logits move is bounded."""

import copy

import pytest
import torch
from torch import nn

import musicgen
from musicgen.engine import precision
from musicgen.engine.linear import INT4_GROUP, Int4Linear, Int8Linear, fits_int4
from musicgen.errors import InputError
from musicgen.lm import Conditions, LanguageModel, LMConfig
from tests.conftest import TEXTS

CPU = torch.device("cpu")


def linear(size_in: int, size_out: int) -> nn.Linear:
    layer = nn.Linear(size_in, size_out, bias=False)
    nn.init.normal_(layer.weight, std=size_in**-0.5, generator=torch.Generator().manual_seed(size_in + size_out))
    return layer


@pytest.mark.parametrize(("size_in", "size_out"), [(128, 64), (256, 768), (1024, 256)])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_int8_is_the_rounded_matrix(size_in: int, size_out: int, rows: int) -> None:
    layer = linear(size_in, size_out)
    packed = Int8Linear(layer)
    x = torch.randn(rows, 3, size_in, generator=torch.Generator().manual_seed(0)).bfloat16()
    scale = layer.weight.abs().amax(dim=1, keepdim=True) / 127
    rounded = (layer.weight / scale).round() * scale
    expected = x.double() @ rounded.double().T
    torch.testing.assert_close(packed(x).double(), expected, atol=0.05, rtol=0.02)
    # Rounding to 8 bits moves a weight by half a step at most.
    assert ((rounded - layer.weight).abs() <= scale / 2 + 1e-7).all()


@pytest.mark.parametrize(("size_in", "size_out"), [(128, 64), (256, 768), (1024, 256)])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_int4_is_the_rounded_matrix(size_in: int, size_out: int, rows: int) -> None:
    layer = linear(size_in, size_out)
    packed = Int4Linear(layer)
    x = torch.randn(rows, 3, size_in, generator=torch.Generator().manual_seed(0)).bfloat16()
    groups = layer.weight.unflatten(1, (-1, INT4_GROUP))
    low, high = groups.aminmax(dim=-1, keepdim=True)
    step = (high - low) / 15
    rounded = (low + ((groups - low) / step).round() * step).flatten(1)
    expected = x.double() @ rounded.double().T
    torch.testing.assert_close(packed(x).double(), expected, atol=0.08, rtol=0.02)
    assert packed.weight.numel() * packed.weight.element_size() * 8 == 4 * layer.weight.numel()


def test_layers_that_do_not_split_into_groups_stay_at_8_bits() -> None:
    assert not fits_int4(nn.Linear(96, 64))
    assert not fits_int4(nn.Linear(128, 24))
    with pytest.raises(ValueError, match="96 -> 64 does not split"):
        Int4Linear(nn.Linear(96, 64))


@pytest.fixture(scope="module")
def reference() -> tuple[LanguageModel, torch.Tensor, Conditions, torch.Tensor]:
    """A random model wide enough for every kernel; sequence, conditions and float32 logits."""
    config = LMConfig(dim=256, num_heads=4, num_layers=4, num_codebooks=4, codebook_size=256)
    generator = torch.Generator().manual_seed(0)
    lm = LanguageModel(config).eval().requires_grad_(False)
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
    sequence = torch.randint(0, 257, (2, 4, 50), generator=generator)
    condition = torch.randn(2, 6, 256, generator=generator)
    conditions = Conditions(cross=condition, cross_mask=torch.tensor([[True] * 6, [True] * 4 + [False] * 2]))
    return lm, sequence, conditions, lm(sequence, conditions)


LIMITS = {"bfloat16": (0.9998, 2e-4), "int8": (0.9995, 5e-4), "int4": (0.97, 3e-2)}
"""Smallest mean cosine of the logits with float32's, largest mean KL(float32 || it) in nats."""


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int4"])
def test_how_far_the_logits_move(reference, name: str) -> None:
    lm, sequence, conditions, expected = reference
    other = copy.deepcopy(lm)
    precision.apply(other, name)
    logits = other(sequence, conditions).float()
    cosine = nn.functional.cosine_similarity(logits, expected, dim=-1).mean()
    log = expected.log_softmax(-1)
    divergence = (log.exp() * (log - logits.log_softmax(-1))).sum(-1).mean()
    assert cosine > LIMITS[name][0]
    assert 0 <= divergence < LIMITS[name][1]
    # Step by step with a cache it computes the same as in one pass, up to its own rounding.
    cache = other.new_cache(2, 50)
    steps = [other(sequence[:, :, s : s + 1], conditions, cache) for s in range(50)]
    stepped = torch.cat(steps, dim=2).float()
    assert nn.functional.cosine_similarity(stepped, logits, dim=-1).mean() > LIMITS[name][0]


def test_float32_is_untouched(reference) -> None:
    lm, sequence, conditions, expected = reference
    same = copy.deepcopy(lm)
    precision.apply(same, "float32")
    assert torch.equal(same(sequence, conditions), expected)


@pytest.mark.parametrize("name", ["bfloat16", "int8", "int4"])
@pytest.mark.parametrize("kind", ["text", "melody", "stereo"])
def test_a_model_is_loaded_and_generates(audiocraft_folder, name: str, kind: str) -> None:
    folder = audiocraft_folder(kind)
    model = musicgen.load(folder, device="cpu", precision=name)
    wave = model.generate(TEXTS, 0.4, seed=0)
    assert wave.dtype == torch.float32
    assert torch.isfinite(wave).all()
    assert torch.equal(model.generate_codes(TEXTS, 0.4, seed=0), model.generate_codes(TEXTS, 0.4, seed=0))
    with pytest.raises(InputError, match="only a float32 model can be saved"):
        musicgen.save(model, folder / "out")


@pytest.mark.parametrize(
    ("name", "device"), [("float16", "cpu"), ("int4", "cuda"), ("int8", "mps"), ("int2", "cpu"), ("bfloat16", "xpu")]
)
def test_a_precision_that_the_device_lacks_is_named(name: str, device: str) -> None:
    with pytest.raises(InputError, match=f"precision '{name}' is not to be had on {device}: one of float32"):
        precision.check(name, torch.device(device))


def test_the_precision_is_checked_before_anything_is_read() -> None:
    with pytest.raises(InputError, match="precision 'int3'"):
        musicgen.load("facebook/no-such-model", device="cpu", precision="int3")
