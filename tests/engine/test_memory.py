"""The planned memory is what is allocated."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import musicgen
from musicgen import catalog, patterns
from musicgen.__main__ import main
from musicgen.engine import Scheduler, memory, precision
from musicgen.engine.backends import x86
from musicgen.lm import LanguageModel, LMConfig
from tests import standins

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("cross_attention", [True, False])
def test_weights(name: str, cross_attention: bool) -> None:
    config = LMConfig(
        dim=128, num_heads=2, num_layers=2, num_codebooks=4, codebook_size=64, cross_attention=cross_attention
    )
    lm = LanguageModel(config)
    precision.apply(lm, name, torch.device("cpu"))
    tensors = (*lm.parameters(), *lm.buffers())
    assert memory.weight_bytes(config, name) == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert precision.precision_of(lm) == name


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("kind", ["text", "melody"])
def test_keys_and_values(audiocraft_folder, name: str, kind: str) -> None:
    model = musicgen.load(audiocraft_folder(kind), "cpu", name)
    with Scheduler(model, slots=3, max_tokens=40) as scheduler:
        capacity = memory.positions(model, memory.condition_lengths(model, 40))
        assert scheduler.bytes == memory.cache_bytes(
            model.lm.config, precision.precision_of(model.lm), 6, capacity, CPU
        )


def test_free_memory_is_that_of_the_machine() -> None:
    free = memory.free(torch.device("cpu"))
    assert 1e6 < free < 1 << 50


def test_the_published_models_positions() -> None:
    for entry in catalog.PUBLISHED:
        name = "stereo partial delay" if entry.stereo else "delay"
        steps = patterns.named(name, entry.num_codebooks).layout(round(entry.seconds * 50)).num_steps
        prefix = 245 if entry.melody else 33 if entry.style else 0
        assert entry.positions(10) == (steps + prefix, 10)


def test_the_command_lists_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--memory", "--slots", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [entry.name for entry in catalog.PUBLISHED]
    # small in float32: 24 layers of 16 x 1024^2 weights, for the x86-64 kernels with a float16 copy; and 16 rows of KV
    # cache, in whole pages of 32 positions, with the keys and values of cross-attention twice.
    cache = 2 * 24 * 16 * (1504 + 2 * 256) * 1024 * 4
    weights = "2.5 GB" if x86.supports(LMConfig(1024, 16, 24, 4), "float32") else "1.7 GB"
    assert f"{weights} + {cache / 1e9:.1f} GB" in lines[1]
    assert main(["models", "--memory", "--slots", "0"]) == 2


_LOAD = """
import sys
import musicgen
from benchmarks.anonymous_memory import peak_of

small, large, precision = sys.argv[1:]
musicgen.load(small, "cpu", precision)  # brings all that is imported
model, most = peak_of(lambda: musicgen.load(large, "cpu", precision))
tensors = (*model.parameters(), *model.buffers())
print(most, sum(tensor.numel() * tensor.element_size() for tensor in tensors))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_a_model_is_quantised_while_it_is_read(tmp_path: Path) -> None:
    """A checkpoint in float16, so that each tensor is converted: 4 bytes a weight if the whole model were read first."""
    small = standins.write(standins.transformers_model(width=256), tmp_path / "small")
    model = standins.transformers_model(width=512, heads=8, layers=32)
    large = standins.write(model.half(), tmp_path / "large")
    command = [sys.executable, "-c", _LOAD, str(small), str(large), "int4"]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    most, size = map(int, output.split())
    weights = sum(parameter.numel() for parameter in model.decoder.parameters())
    assert size < 1.2 * weights
    assert most < 1.2 * size + 4 * weights / 32  # and one block in float32
