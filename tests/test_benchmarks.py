"""What a clip needs read, the store of results, and how the command starts again with masked instructions."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import bound, instructions, store
from benchmarks.anonymous_memory import INTERVAL, peak_of
from benchmarks.systems import encodec_config
from musicgen.engine import memory, precision
from musicgen.engine.backends import x86
from musicgen.lm import LanguageModel, LMConfig

CPU = torch.device("cpu")
CONFIG = LMConfig(dim=256, num_heads=4, num_layers=2, num_codebooks=4)
ROOT = Path(__file__).parents[1]
needs_kernels = pytest.mark.skipif(not x86.supports(CONFIG, "int8"), reason="this processor lacks AVX2")


@needs_kernels
@pytest.mark.parametrize("name", ["float32", "int8", "int4"])
def test_weights_that_a_step_reads_are_those_of_the_kernels(name: str) -> None:
    """The sizes of the arrays that the kernels' table points at, but for the keys and values of cross-attention."""
    from musicgen.engine.backends.x86.weights import WeightTable, table_entry

    lm = LanguageModel(CONFIG)
    precision.apply(lm, name, CPU)
    table = WeightTable(lm)
    every = sum(tensor.numel() * tensor.element_size() for tensor in table._tensors)
    once: list[torch.Tensor] = []
    for block in lm.blocks:
        table_entry(block.cross_attention.key_value, once)
    read = every - sum(tensor.numel() * tensor.element_size() for tensor in once) + table.weights.norms.nbytes
    read += CONFIG.num_codebooks * CONFIG.dim * 4  # of the embeddings
    assert memory.weight_bytes_read(CONFIG, name, CPU) == read


def test_a_clip_reads_more_than_its_weights() -> None:
    """The parts by hand, in float32 where no kernel of our own runs: D = 96 is no multiple of 64."""
    config = LMConfig(dim=96, num_heads=3, num_layers=2, num_codebooks=4)
    made = bound.reads(config, "float32", "cuda", duration=0.1, prefix=2)
    steps, positions = 8, sum(range(3, 11))
    layer = 96 * 96 * (4 + 2 + 8) * 4
    norms = (3 * 2 + 1) * 2 * 96 * 4
    assert made.weights == steps * (2 * layer + 4 * 2048 * 96 * 4 + norms + 4 * 96 * 4)
    assert made.cache == 2 * 2 * 2 * 96 * 4 * positions  # keys and values of two rows and layers
    assert made.text == steps * 2 * 2 * 96 * 4 * bound.TEXT_LENGTH
    hidden = encodec_config().num_filters * 2 ** len(encodec_config().upsampling_ratios)
    recurrent = encodec_config().num_lstm_layers * 4 * hidden * hidden * 4
    longer = bound.reads(config, "float32", "cuda", duration=0.2, prefix=2)
    assert longer.decoder - made.decoder == 5 * recurrent  # frames
    assert longer.text_encoder == made.text_encoder > 0
    assert made.total == made.weights + made.cache + made.text + made.decoder + made.text_encoder
    stored = made.compare(seconds=3.0, bandwidth_gb_s=made.total / 1e9)
    assert (stored["bound_seconds"], stored["times_the_bound"]) == (1.0, 3.0)


def test_a_result_is_stored_whole_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "result.json"
    store.publish({"n": 1}, path, "a table")
    assert capsys.readouterr().out == "a table\n"
    assert json.loads(path.read_text()) == {"n": 1}
    store.publish({"n": 2}, None)
    assert json.loads(capsys.readouterr().out) == {"n": 2}


def test_a_stored_command_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["shapes.py", "--json", "/somewhere/x.json", "--runs", "3"])
    assert store.command("shapes") == "python -m benchmarks.shapes --runs 3"


def test_memory_is_sampled_while_work_is_done() -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("needs Linux's /proc")
    size = 64 << 20

    def work() -> int:
        held = bytearray(b"1" * size)
        time.sleep(20 * INTERVAL)
        return len(held)

    result, most = peak_of(work)
    assert result == size
    assert most > size


def test_the_command_starts_again_with_the_variables_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "variables", lambda name: {"MASK": name})
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.delenv("MASK", raising=False)
    instructions.apply(argparse.Namespace(instructions=None))
    assert not started
    instructions.apply(argparse.Namespace(instructions="avx2"))
    ((program, arguments, environment),) = started
    assert (program, arguments[1:], environment["MASK"]) == (sys.executable, sys.orig_argv[1:], "avx2")
    monkeypatch.setenv("MASK", "avx2")
    instructions.apply(argparse.Namespace(instructions="avx2"))
    assert len(started) == 1


FAKE = """#!/bin/sh
case "$*" in
*--listeners*) echo broken >&2; exit 3 ;;
*--throughput*) exit 0 ;;
esac
while [ $# -gt 0 ]; do [ "$1" = --json ] && echo '{}' > "$2"; shift; done
exit 0
"""


def test_a_part_of_the_gpu_script_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    """With a stand-in for Python: one part fails, one ends without its result."""
    python = tmp_path / "python"
    python.write_text(FAKE)
    python.chmod(0o755)
    environment = os.environ | {"PYTHON": str(python), "DEVICE": "cpu"}
    command = [str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = (tmp_path / "out" / "summary.txt").read_text().splitlines()
    outcomes = {line.split(": ", 1)[0]: line.split(": ", 1)[1].rsplit(",", 1)[0] for line in lines}
    assert outcomes == {
        "generation-mini-cpu": "ok",
        "listeners-mini-cpu": "FAILED (3: broken)",
        "throughput-mini-cpu": "FAILED (no result)",
        "evaluation-cpu": "ok",
        "training-cpu": "ok",
    }
    assert done.returncode == 1
    assert "3 of 5 passed" in done.stdout

    again = subprocess.run(command, env=environment | {"PARTS": "eval*"}, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "1 of 1 passed" in again.stdout
