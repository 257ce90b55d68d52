"""Precisions: the quantised layers round as documented, and the change of the logits is bounded."""

import copy
import pickle

import pytest
import torch
from torch import nn

import musicgen
from musicgen import catalog, checkpoint
from musicgen.engine import precision
from musicgen.engine.backends import x86
from musicgen.engine.linear import INT4_GROUP, Int4Linear, Int8Linear, fits_int4
from musicgen.engine.selection import Engine
from musicgen.errors import InputError
from musicgen.lm import Conditions, LanguageModel, LMConfig
from tests import standins
from tests.conftest import TEXTS

CPU = torch.device("cpu")


def linear(size_in: int, size_out: int) -> nn.Linear:
    layer = nn.Linear(size_in, size_out, bias=False)
    nn.init.normal_(layer.weight, std=size_in**-0.5, generator=torch.Generator().manual_seed(size_in + size_out))
    return layer


SIZES = pytest.mark.parametrize(("size_in", "size_out"), [(256, 64), (512, 768), (1024, 256)])


@SIZES
def test_int8_is_the_rounded_matrix(size_in: int, size_out: int) -> None:
    layer = linear(size_in, size_out)
    packed = Int8Linear(layer)
    x = torch.randn(2, 3, size_in, generator=torch.Generator().manual_seed(0))
    scale = layer.weight.abs().amax(dim=1, keepdim=True) / 127
    rounded = (layer.weight / scale).round() * scale
    torch.testing.assert_close(packed(x), x @ rounded.T, atol=1e-5, rtol=1e-5)
    # Rounding to 8 bits moves a weight by half a step at most.
    assert ((packed.weight - layer.weight).abs() <= scale / 2 + 1e-7).all()
    assert packed.codes.dtype == torch.int8


@SIZES
def test_int4_is_the_rounded_matrix(size_in: int, size_out: int) -> None:
    layer = linear(size_in, size_out)
    layer.weight.data[0] = layer.weight[0].abs()  # a row that is not around zero
    packed = Int4Linear(layer)
    x = torch.randn(2, 3, size_in, generator=torch.Generator().manual_seed(0))
    groups = layer.weight.unflatten(1, (-1, INT4_GROUP))
    step = (groups.amax(-1, keepdim=True).clamp(min=0) - groups.amin(-1, keepdim=True).clamp(max=0)) / 15
    # Zero is one of the 16 values, every weight is at most half a step off (one where zero itself was rounded).
    multiples = packed.weight.view_as(groups) / step
    torch.testing.assert_close(multiples, multiples.round(), atol=1e-3, rtol=0)
    assert ((packed.weight.view_as(groups) - groups).abs() <= step * 1.001).all()
    assert (packed.weight.view_as(groups) - groups).abs().mean() < 0.26 * step.mean()
    torch.testing.assert_close(packed(x), x @ packed.weight.T, atol=1e-6, rtol=1e-6)
    assert packed.codes.numel() * 8 == 4 * layer.weight.numel()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bfloat16", "float16", "int8", "int4"])
def test_how_far_the_logits_move_on_cuda(reference, name: str) -> None:
    lm, sequence, conditions, expected = reference
    cuda = torch.device("cuda")
    other = copy.deepcopy(lm)
    precision.apply(other, name, cuda)
    other.to(cuda)
    there = Conditions(
        cross=conditions.cross.to(cuda, other.embedding.weight.dtype), cross_mask=conditions.cross_mask.to(cuda)
    )
    predict = Engine(other).start(there, 2, 50)
    codes = sequence.to(cuda)
    steps = [predict(codes[:, :, :7])] + [predict(codes[:, :, s : s + 1]) for s in range(7, 50)]
    cosine, divergence = apart(torch.stack(steps, dim=2).cpu(), expected[:, :, 6:])
    limits = LIMITS["bfloat16" if name == "float16" else name]
    assert cosine > limits[0]
    assert divergence < limits[1]


def test_layers_that_do_not_split_into_groups_stay_at_8_bits() -> None:
    assert not fits_int4(nn.Linear(96, 64))
    assert fits_int4(nn.Linear(256, 24))
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


LIMITS = {"float32": (1 - 1e-6, 1e-8), "bfloat16": (0.9995, 5e-4), "int8": (0.9995, 5e-4), "int4": (0.97, 3e-2)}
"""Smallest mean cosine of the logits with float32's, largest mean KL(float32 || it) in nats."""


def apart(logits: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """(mean cosine, mean KL from what was expected)."""
    log = expected.log_softmax(-1)
    divergence = (log.exp() * (log - logits.log_softmax(-1))).sum(-1).mean()
    return float(nn.functional.cosine_similarity(logits, expected, dim=-1).mean()), float(divergence)


@pytest.mark.parametrize("name", LIMITS)
def test_how_far_the_logits_move(reference, name: str) -> None:
    """In the engine, step by step behind a prompt of 7 steps, against float32 in one pass."""
    lm, sequence, conditions, expected = reference
    other = copy.deepcopy(lm)
    precision.apply(other, name, CPU)
    predict = Engine(other).start(conditions, 2, 50)
    steps = [predict(sequence[:, :, :7])] + [predict(sequence[:, :, s : s + 1]) for s in range(7, 50)]
    logits = torch.stack(steps, dim=2)
    assert logits.dtype == torch.float32
    cosine, divergence = apart(logits, expected[:, :, 6:])
    assert cosine > LIMITS[name][0]
    assert -1e-7 <= divergence < LIMITS[name][1]
    # The readable path on the same rounded weights is nearer: what is left is the rounding of activations, keys and values.
    weights_alone = apart(other(sequence, conditions).float(), expected)
    assert weights_alone[0] > LIMITS[name][0]
    assert apart(logits, other(sequence, conditions).float()[:, :, 6:])[0] > 0.999


def test_an_engine_is_copied_pickled_and_follows_its_weights(reference) -> None:
    lm, sequence, conditions, expected = reference
    engine = Engine(copy.deepcopy(lm))

    def first(one: Engine) -> torch.Tensor:
        return one.start(conditions, 2, 50)(sequence)

    torch.testing.assert_close(first(engine), expected[:, :, -1], atol=1e-4, rtol=1e-4)
    for other in (copy.deepcopy(engine), pickle.loads(pickle.dumps(engine))):
        assert other.lm is not engine.lm
        torch.testing.assert_close(first(other), expected[:, :, -1], atol=1e-4, rtol=1e-4)
    engine.lm.heads.weight.mul_(2)
    torch.testing.assert_close(first(engine), 2 * expected[:, :, -1], atol=2e-4, rtol=1e-4)


def test_float32_is_untouched(reference) -> None:
    lm, sequence, conditions, expected = reference
    same = copy.deepcopy(lm)
    precision.apply(same, "float32", CPU)
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
    ("name", "device"), [("float16", "cpu"), ("int4", "mps"), ("int8", "mps"), ("int2", "cpu"), ("bfloat16", "xpu")]
)
def test_a_precision_that_the_device_lacks_is_named(name: str, device: str) -> None:
    with pytest.raises(InputError, match=f"precision '{name}' is not available on {device}: one of float32"):
        precision.check(name, torch.device(device))


def test_the_precision_is_checked_before_anything_is_read() -> None:
    with pytest.raises(InputError, match="precision 'int3'"):
        musicgen.load("facebook/no-such-model", device="cpu", precision="int3")


PUBLISHED = LMConfig(1024, 16, 24, 4)
SMALL = LMConfig(192, 3, 5, 4)


def test_auto_suits_model_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 on CUDA from Ampere (8.0) on, float16 before; int8 on a CPU with the instructions; small models exact."""
    capability = (8, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(x86, "instruction_set", lambda: "avx2")
    cuda, mps = torch.device("cuda"), torch.device("mps")

    def auto(config: LMConfig) -> list[str]:
        return [precision.resolve("auto", device, config) for device in (cuda, CPU, mps)]

    assert auto(PUBLISHED) == ["bfloat16", "int8", "float32"]
    assert auto(SMALL) == ["float32"] * 3
    capability = (7, 5)
    monkeypatch.setattr(x86, "instruction_set", lambda: None)
    assert auto(PUBLISHED) == ["float16", "float32", "float32"]
    for entry in catalog.PUBLISHED:
        assert entry.dim >= precision.PUBLISHED_WIDTH
    for name in precision.PRECISIONS:
        assert precision.resolve(name, cuda, PUBLISHED) == name


def test_a_model_tells_what_auto_became(tmp_path) -> None:
    """Of a published width here: 8 bits where this processor has the steps for them. Told before the weights are read, too."""
    folder = standins.write(standins.transformers_model(width=1024, heads=16, layers=1), tmp_path / "wide")
    expected = "int8" if x86.supports(LMConfig(1024, 16, 1, 4, codebook_size=64, ffn_dim=3072), "int8") else "float32"
    model = musicgen.load(folder, "cpu")
    assert model.precision == precision.precision_of(model.lm) == expected
    assert checkpoint.resolve_precision(folder, "cpu") == expected
    exact = musicgen.load(folder, "cpu", "float32")
    assert exact.precision == precision.precision_of(exact.lm) == "float32"
    assert checkpoint.resolve_precision("mini", "cpu") == musicgen.load("mini", "cpu").precision == "float32"
    assert checkpoint.resolve_precision("facebook/musicgen-large", "cpu") in ("int8", "float32")  # without its files
    assert checkpoint.resolve_precision("somebody/else", "cpu") is None
    with pytest.raises(InputError, match="'float16' is not available on cpu"):
        checkpoint.resolve_precision("mini", "cpu", "float16")
