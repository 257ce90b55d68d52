"""python -m benchmarks.shapes: the published MusicGen models in each precision: loading, memory, first sound, real-time factor.

Speed does not depend on the values of the weights, so random weights are used: float16, like the published ones, in a file of
transformers' layout that is written without building the model. Each model runs in each precision in a separate process. Models
that do not fit into the free memory, or take longer than LIMIT, are skipped, and the results say so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import (
    MusicgenConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyForConditionalGeneration,
)

import musicgen
from benchmarks import bound, instructions, machine, store
from benchmarks.anonymous_memory import anonymous_bytes
from benchmarks.systems import FRAME_RATE, PROMPT, encodec_config, t5_config, write_tokenizer
from musicgen import catalog
from musicgen.engine import memory
from musicgen.lm import LMConfig

PRECISIONS = "float32,bfloat16,int8,int4"
MODELS = [
    entry
    for entry in catalog.PUBLISHED
    if entry.name.startswith("facebook/musicgen-") and not entry.style
]  # fmt: skip
LIMIT = 1800
"""Seconds of a process, which holds one model in one precision."""
SPREAD = 0.02
"""Standard deviation of the weights."""


def write(entry: catalog.Entry, folder: Path) -> Path:
    """Random weights of a published model's shape, one tensor at a time, and its configuration and tokeniser."""
    decoder = {
        "hidden_size": entry.dim, "num_hidden_layers": entry.num_layers, "num_attention_heads": entry.num_heads,
        "ffn_dim": 4 * entry.dim, "num_codebooks": entry.num_codebooks, "audio_channels": 2 if entry.stereo else 1,
    }  # fmt: skip
    parts = {"text_encoder": t5_config().to_dict(), "audio_encoder": encodec_config().to_dict(), "decoder": decoder}
    with torch.device("meta"):  # names and sizes alone
        if entry.melody:
            model = MusicgenMelodyForConditionalGeneration(MusicgenMelodyConfig(**parts))
        else:
            model = MusicgenForConditionalGeneration(MusicgenConfig(**parts))
    model.config.save_pretrained(folder)
    model.generation_config.decoder_start_token_id = model.generation_config.pad_token_id = 2048
    model.generation_config.save_pretrained(folder)
    pool = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0)).mul_(SPREAD).half()
    tensors = {}
    for index, (name, tensor) in enumerate(model.state_dict().items()):
        if tensor.is_floating_point():
            drawn = pool.roll(1009 * index).repeat(-(-tensor.numel() // len(pool)))[: tensor.numel()]
            tensors[name] = (drawn.abs() + 0.5 if "norm" in name else drawn).reshape(tensor.shape).clone()
        else:
            tensors[name] = torch.ones(tensor.shape, dtype=tensor.dtype)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    write_tokenizer(folder)
    return folder


def shape(entry: catalog.Entry) -> LMConfig:
    """Of a published model's language model."""
    return LMConfig(
        entry.dim, entry.num_heads, entry.num_layers, entry.num_codebooks, cross_attention=entry.cross_attention
    )


def reads(entry: catalog.Entry, precision: str, duration: float) -> bound.Reads:
    """The bytes that a clip of a published model reads."""
    positions, _ = entry.positions(bound.TEXT_LENGTH)
    prefix = positions - round(entry.seconds * FRAME_RATE) - bound.DELAY_STEPS
    return bound.reads(shape(entry), precision, "cpu", duration, prefix)


def needed(entry: catalog.Entry, precision: str) -> int:
    """Bytes of a loaded model with what the back ends keep beside it."""
    config = shape(entry)
    return memory.weight_bytes(config, precision) + memory.table_bytes(config, precision) + entry.beside_bytes


def run(folder: Path, precision: str, duration: float, runs: int, threads: int) -> dict[str, Any]:
    """In this process: load, then make a short clip, which compiles, and those that count. Memory without the mapped file."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    model = musicgen.load(folder, "cpu", precision)
    loaded = time.perf_counter()
    model.generate([PROMPT], 0.5, seed=0)
    times = [_stream(model, duration, seed) for seed in range(runs)]
    first, whole = (statistics.median(each) for each in zip(*times, strict=True))
    return {
        "load_seconds": round(loaded - start, 2),
        "first_sound": round(first, 2),
        "rtf": round(whole / duration, 3),
        "memory_gb": round(anonymous_bytes() / 1e9, 2),
        "runs": [round(whole, 2) for _, whole in times],
    }


def _stream(model: musicgen.MusicGen, duration: float, seed: int) -> tuple[float, float]:
    """Seconds to the first sound of a clip and to its end."""
    start, first = time.perf_counter(), None
    for _ in model.stream(PROMPT, duration, chunk=0.5, seed=seed):
        first = first or time.perf_counter()
    assert first is not None
    return first - start, time.perf_counter() - start


def measure(options: argparse.Namespace, bandwidth_gb_s: float) -> Iterator[dict[str, Any]]:
    """A row for each model and precision."""
    names, precisions = options.models.split(","), options.precision.split(",")
    settings = [f"--{name}={getattr(options, name)}" for name in ("duration", "runs", "threads")]
    for entry in tqdm([one for one in MODELS if one.name in names], desc="models", file=sys.stderr):
        with tempfile.TemporaryDirectory() as place:
            _child("--write", entry.name, place)  # of its own, so that the weights it makes leave the memory
            for precision in precisions:
                row: dict[str, Any] = {"model": entry.name, "precision": precision}
                size, free = needed(entry, precision), memory.free(torch.device("cpu"))
                if size > free:
                    yield row | {"failure": f"needs {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"}
                    continue
                try:
                    row |= json.loads(_child("--run", place, precision, *settings))
                except RuntimeError as error:
                    yield row | {"failure": str(error)}
                    continue
                yield row | reads(entry, precision, options.duration).compare(
                    row["rtf"] * options.duration, bandwidth_gb_s
                )


def _child(*arguments: str) -> str:
    """The last line that this program prints in a process of its own; raises RuntimeError with that of its errors."""
    command = [sys.executable, "-m", "benchmarks.shapes", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"took longer than {LIMIT} s") from error
    lines = (done.stderr if done.returncode else done.stdout).splitlines() or [""]
    if done.returncode:
        raise RuntimeError(f"ended with {done.returncode}: {lines[-1]}")
    return lines[-1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes", description=__doc__)
    names = ",".join(one.name for one in MODELS)
    parser.add_argument("--models", default=names, help="names with commas (default: all ten)")
    parser.add_argument("--precision", default=PRECISIONS, help=f"one or several with commas (default: {PRECISIONS})")
    parser.add_argument("--duration", type=float, default=3.0, help="seconds of music (default: 3)")
    parser.add_argument("--runs", type=int, default=3, help="counted clips of each model and precision (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="processor cores (default: 2)")
    parser.add_argument("--json", type=Path, help="write the results here, after each row")
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "PRECISION"), help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, metavar=("MODEL", "FOLDER"), help=argparse.SUPPRESS)
    instructions.add_option(parser)
    options = parser.parse_args()
    instructions.apply(options)
    if options.write:
        write(next(one for one in MODELS if one.name == options.write[0]), Path(options.write[1]))
        return 0
    if options.run:
        print(json.dumps(run(Path(options.run[0]), options.run[1], options.duration, options.runs, options.threads)))
        return 0
    facts = machine.describe("cpu", options.threads)
    results: dict[str, Any] = {
        "command": store.command("shapes"),
        "duration": options.duration,
        "n": options.runs,
        "machine": facts,
        "results": [],
    }
    for row in measure(options, facts["bandwidth_gb_s"]):
        results["results"].append(row)
        if options.json:  # after each row: the next one may take minutes
            store.write(results, options.json)
    store.publish(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
