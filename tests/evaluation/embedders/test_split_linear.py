"""Products in bfloat16 parts against float64; networks are left alone where the processor has no tiles."""

import pytest
import torch
from torch import nn

from evaluation.embedders import split_linear

needs_tiles = pytest.mark.skipif(split_linear._gemm() is None, reason="this processor has no bfloat16 tiles")


@needs_tiles
@pytest.mark.parametrize("shape", [(1, 300), (3, 50, 300), (2, 0, 300)])
@pytest.mark.parametrize("bias", [True, False])
def test_parts_add_up_to_float32(shape, bias):
    torch.manual_seed(0)
    plain = nn.Linear(300, 520, bias=bias)
    parts = split_linear.SplitLinear(plain)
    x = torch.randn(shape).transpose(0, 1) if len(shape) == 3 else torch.randn(shape)
    expected = plain.double()(x.double())
    for _ in range(2):  # nothing of a call stays behind
        assert torch.allclose(parts(x).double(), expected, atol=5e-5)


@needs_tiles
def test_only_large_layers_are_split():
    network = nn.Sequential(nn.Linear(300, 400), nn.Sequential(nn.Linear(400, 8)), nn.Bilinear(300, 300, 300))
    names = [type(module).__name__ for module in split_linear.split_large_layers(network).modules()]
    assert names == ["Sequential", "SplitLinear", "Sequential", "Linear", "Bilinear"]


def test_without_tiles_nothing_changes(monkeypatch):
    monkeypatch.setattr(split_linear, "_gemm", lambda: None)
    network = nn.Sequential(nn.Linear(300, 400))
    assert type(split_linear.split_large_layers(network)[0]) is nn.Linear
