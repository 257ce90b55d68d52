"""python -m benchmarks.generation: time from prompt to waveform, of this project and its peers; with one of the last flags, of
this project only.

Each system runs in a separate process, and the runs are interleaved, so that other load on the machine affects all of them.
Times are medians; a ratio is the peer's median time divided by this project's. The bound is that of `benchmarks.bound`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks import bound, instructions, listeners, machine, precision_error, steps, store, throughput
from benchmarks.race import Contestant, Race
from benchmarks.systems import SHAPES, write_weights
from musicgen.lm import LMConfig

PEERS = {
    "transformers": tuple(
        (name, p) for name in ("transformers", "transformers-compiled") for p in ("float32", "bfloat16")
    ),
    "audiocraft": (("audiocraft", "float32"),),
}
"""The ways to run a peer: it is compared at its fastest."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__)
    parser.add_argument("--shape", default="small", choices=SHAPES)
    parser.add_argument("--precision", default="float32", help="ours, one or several with commas (default: float32)")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds of music (default: 10)")
    parser.add_argument(
        "--against",
        default="transformers",
        help="peers, with commas; one way of a peer: transformers/float32 (default: transformers)",
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="counted runs of each system, of each precision with --steps (default: 5)"
    )
    parser.add_argument("--threads", type=int, default=2, help="processor cores of each system (default: 2)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--listeners", help="instead of the peers: numbers of concurrent listeners, such as 1,4,16,64")
    parser.add_argument(
        "--steps", action="store_true", help="instead of the peers: the time of late steps compared with early ones"
    )
    parser.add_argument(
        "--precision-error",
        action="store_true",
        help="instead of the peers: the error of the logits relative to float32",
    )
    parser.add_argument(
        "--throughput",
        help="clips per hour at these batch sizes, such as 1,4,16: of this project and the peers, each at its best",
    )
    parser.add_argument(
        "--model", help="with listeners, steps and precision error: these weights (name or folder), not random ones"
    )
    instructions.add_option(parser)
    options = parser.parse_args()
    instructions.apply(options)
    with tempfile.TemporaryDirectory() as folder:
        results, text = (
            _alone(options, Path(folder)) or _batches(options, Path(folder)) or _against(options, Path(folder))
        )
    store.publish(results, options.json, text)
    return 0


def _alone(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], str] | None:
    """The measurement without peers, if one is requested."""
    if not (options.listeners or options.steps or options.precision_error):
        return None
    source = options.model or write_weights(options.shape, folder)
    precisions = options.precision.split(",")
    rows: list[dict[str, Any]] = []
    if options.listeners:
        counts = [int(count) for count in options.listeners.split(",")]
        for precision in precisions:
            rows += listeners.measure(source, options.device, precision, options.threads, options.duration, counts)
        text = listeners.table(rows)
    elif options.steps:
        rows = steps.measure(source, options.device, precisions, options.threads, options.runs)
        text = steps.table(rows)
    else:
        rows = precision_error.measure(source, options.device, precisions, options.duration)
        text = precision_error.table(rows)
    facts = machine.describe(options.device, options.threads)
    return {
        "command": store.command("generation"), "model": options.model or f"random, {options.shape}",
        "duration": options.duration, "machine": facts, "results": rows,
    }, text  # fmt: skip


def _batches(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], str] | None:
    """Clips an hour, if they are asked for."""
    if not options.throughput:
        return None
    write_weights(options.shape, folder)
    batches = [int(batch) for batch in options.throughput.split(",")]
    with Race(_contestants(options), folder, options.device, options.threads) as race:
        rows = throughput.measure(race, options.duration, batches, options.runs)
    facts = machine.describe(options.device, options.threads)
    return {
        "command": store.command("generation"), "shape": options.shape, "duration": options.duration, "n": options.runs,
        "machine": facts, "results": rows, "failures": race.failures,
    }, throughput.table(rows, race.failures)  # fmt: skip


def _against(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], str]:
    """The race against the peers."""
    write_weights(options.shape, folder)
    times, failures = _race(_contestants(options), folder, options)
    results = _results(times, failures, options)
    return results, _table(results)


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    contestants = [("ours", precision) for precision in options.precision.split(",")]
    for peer in filter(None, options.against.split(",")):
        name, _, precision = peer.partition("/")
        contestants += [(name, precision)] if precision else PEERS[name]
    return contestants


def _race(
    contestants: list[Contestant], folder: Path, options: argparse.Namespace
) -> tuple[dict[Contestant, list[float]], dict[str, str]]:
    """Seconds of each counted run, and why a system could not run."""
    times: dict[Contestant, list[float]] = {one: [] for one in contestants}
    with Race(contestants, folder, options.device, options.threads) as race:
        race.warm_up(options.duration)
        for _ in tqdm(range(options.runs), desc="rounds", file=sys.stderr):
            for one in race.running:
                seconds = race.run(one, options.duration)
                if seconds is not None:
                    times[one].append(seconds)
    return times, race.failures


def _results(
    times: dict[Contestant, list[float]], failures: dict[str, str], options: argparse.Namespace
) -> dict[str, Any]:
    medians = {one: statistics.median(seconds) for one, seconds in times.items() if seconds}
    facts = machine.describe(options.device, options.threads)
    dim, layers, heads = SHAPES[options.shape]
    config = LMConfig(dim=dim, num_layers=layers, num_heads=heads, num_codebooks=4)
    rows = []
    for (system, precision), median in medians.items():
        row: dict[str, Any] = {"system": system, "precision": precision, "seconds": round(median, 3),
                               "rtf": round(median / options.duration, 3), "runs": times[system, precision]}  # fmt: skip
        if system == "ours":
            needed = bound.reads(config, precision, options.device, options.duration)
            row |= needed.compare(median, facts["bandwidth_gb_s"])
            found = {peer: [medians[way] for way in ways if way in medians] for peer, ways in PEERS.items()}
            row["ratios"] = {peer: round(min(seconds) / median, 2) for peer, seconds in found.items() if seconds}
            float32 = medians.get(("transformers", "float32"))
            if float32 is not None:
                row["ratio_to_transformers_float32"] = round(float32 / median, 2)
        rows.append(row)
    return {
        "command": store.command("generation"),
        "shape": options.shape, "duration": options.duration, "n": options.runs, "machine": facts, "results": rows,
        "failures": failures,
    }  # fmt: skip


def _table(results: dict[str, Any]) -> str:
    lines = [
        "| system | precision | seconds (median) | real-time factor | peer / ours | bound | times the bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["results"]:
        ratios = ", ".join(f"{name} {ratio}×" for name, ratio in row.get("ratios", {}).items())
        lines.append(
            f"| {row['system']} | {row['precision']} | {row['seconds']} | {row['rtf']} | {ratios} | "
            f"{row.get('bound_seconds', '')} | {row.get('times_the_bound', '')} |"
        )
    lines += [f"{name}: {why}" for name, why in results["failures"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
