"""python -m benchmarks.report: write the tables of stored results into the documents.

Measurements are stored only in `benchmarks/results/*.json`. A document marks the place of a table:

    <!-- benchmarks.report: generation -->
    ...
    <!-- end -->

and this command writes the text in between; `tests/test_performance_docs.py` fails if a document differs from the results.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.throughput import at_best
from evaluation.reports.results import load_results
from evaluation.reports.table import markdown
from musicgen.catalog import PRETRAINED

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
_DIFFERENCES = ("mini − mini+shuffled", "mini-melody − mini-melody+melody")
"""Pairs of systems: with and without their own captions, and with and without a melody."""
_NOTE_SCORES = ("precision", "recall", "F1")
DOCUMENTS = (
    "README.md",
    "docs/generation.md",
    "docs/performance.md",
    "docs/evaluation.md",
    "docs/training.md",
    "docs/serving.md",
    "docs/metrics/intervals.md",
)
_BLOCK = re.compile(r"(<!-- benchmarks\.report: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def result(name: str) -> dict[str, Any]:
    """A stored result by its file's name without the extension."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))


def provenance(stored: dict[str, Any], n: str | None = None) -> str:
    """The machine on which a table was measured, and the command."""
    machine = stored["machine"]
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    command = f", `{stored['command'].split(' --json')[0]}`" if "command" in stored else ""
    count = n or (f"medians of n = {stored['n']}" if "n" in stored else "")
    return (
        f"{_processor(machine)}, {threads}, PyTorch {machine['torch']}, a plain read reaches "
        f"{machine['bandwidth_gb_s']:g} GB/s{f', {count}' if count else ''}{command}.\n"
    )


def _processor(machine: dict[str, Any]) -> str:
    """Its name, and the instructions that PyTorch uses on it: two processors may have one name."""
    return f"{machine['device']} ({machine['instructions']})" if "instructions" in machine else str(machine["device"])


def generation(name: str) -> str:
    stored = result(name)
    seconds = {(one["system"], one["precision"]): one["seconds"] for one in stored["results"]}
    best = min(value for (system, _), value in seconds.items() if system.startswith("transformers"))
    baselines = {
        "transformers float32": seconds.get(("transformers", "float32")),
        "transformers' best": best,
        "audiocraft": seconds.get(("audiocraft", "float32")),
    }
    compared = {label: value for label, value in baselines.items() if value is not None}
    bounds = {one["precision"]: one["times_the_bound"] for one in stored["results"] if "times_the_bound" in one}
    rows = [
        ["this project" if system == "ours" else system, precision, f"{value:.1f}",
         *(f"{one / value:.2f}" for one in compared.values()),
         *([f"{bounds[precision]:.1f}" if system == "ours" else "–"] if bounds else [])]
        for (system, precision), value in sorted(seconds.items(), key=lambda one: -one[1])
    ]  # fmt: skip
    header = ["system", "precision", "seconds", *(f"× {label}" for label in compared), *([_BOUND] if bounds else [])]
    return table(header, rows) + "\n" + provenance(stored)


def steps(name: str) -> str:
    stored = result(name)
    rows = [
        [
            one["precision"],
            f"{one['early_ms']:.1f}",
            f"{one['late_ms']:.1f}",
            f"{one['ratio']:.2f}",
            f"{one['bound']:.2f}",
        ]
        for one in stored["results"]
    ]
    header = ["precision", "step at 2 s, ms", "step at 28 s, ms", "ratio", "ratio of the bytes read"]
    runs = {len(one.get("runs", [None])) for one in stored["results"]}
    return table(header, rows) + "\n" + provenance(stored, f"medians of n = {max(runs)} clips")


def backends(name: str) -> str:
    stored = result(name)
    families = {
        "torch": "PyTorch",
        "torchao": "torchao",
        "onnx": "ONNX Runtime",
        "openvino": "OpenVINO",
        "x86": "this project",
    }
    precisions = ("float32", "bfloat16", "int8", "int4")
    fastest: dict[tuple[str, str], float] = {}
    for one in stored["results"]:
        family, precision = one["backend"].split("_")[:2]
        fastest[family, precision] = min(one["ms"], fastest.get((family, precision), float("inf")))
    rows = [
        [label, *(f"{fastest[family, each]:.1f}" if (family, each) in fastest else "–" for each in precisions)]
        for family, label in families.items()
    ]
    return table(["back end, ms", *precisions], rows) + "\n" + provenance(stored, f"n = {stored['n']} passes in turns")


def shapes(name: str) -> str:
    stored = result(name)
    rows = []
    for one in stored["results"]:
        figures = [f"{one[key]:{form}}" for key, form in _SHAPES.items()] if "rtf" in one else ["–"] * len(_SHAPES)
        rows.append([one["model"].removeprefix("facebook/"), one["precision"], *figures])
    header = ["model", "precision", "real-time factor", _BOUND, "first sound, s", "memory, GB", "loading, s"]
    what = f"clips of {stored['duration']:g} s, medians of n = {stored['n']}"
    return table(header, rows) + "\n" + provenance(stored, what)


_SHAPES = {"rtf": ".2f", "times_the_bound": ".1f", "first_sound": ".1f", "memory_gb": ".1f", "load_seconds": ".1f"}
"""Columns of `shapes`, and how they are written."""
_BOUND = "times the bound"
"""The column of `benchmarks.bound`."""


def startup(name: str) -> str:
    stored = result(name)
    made = stored["results"]
    row = [f"`{stored['measured']}`", f"{made['seconds']:.1f}", f"{made['processor_seconds']:.1f}"]
    return table(["command", "seconds", "of processor time"], [row]) + "\n" + provenance(stored)


def early_exit(name: str) -> str:
    stored = result(name)
    rows = [
        [f"{one['layers']} of {len(stored['results'])}", f"{one['codes']:.3f}", f"{one['steps']:.3f}"]
        for one in stored["results"]
    ]
    header = ["layers", "equal codes", "steps with all codes equal"]
    return table(header, rows) + "\n" + provenance(stored, f"n = {stored['results'][0]['n']:,} steps")


def listeners(name: str) -> str:
    stored = result(name)
    rows = [
        [str(one["listeners"]), str(one["keep_up"]), f"{one['first_sound']:.2f}", f"{one['rtf']:.3f}"]
        for one in stored["results"]
    ]
    header = ["listeners", "in real time", "first sound, s", "real-time factor a clip"]
    return table(header, rows) + "\n" + provenance(stored, "n = 1")


def throughput(name: str) -> str:
    stored = result(name)
    rows = [
        ["this project" if one["system"] == "ours" else one["system"], one["precision"], str(one["batch"]),
         f"{one['clips_an_hour']:,.0f}"]
        for one in at_best(stored["results"])
    ]  # fmt: skip
    header = ["system", "precision", "best batch", f"clips of {stored['duration']:g} s an hour"]
    return table(header, rows) + "\n" + provenance(stored)


def precision_error(name: str) -> str:
    stored = result(name)
    rows = [
        [one["precision"], f"{one['kl']:.4f}", f"{one['cosine']:.5f}", f"{one['n']:,}"] for one in stored["results"]
    ]
    header = ["precision", "KL divergence from float32, nats", "cosine of the logits", "distributions"]
    return table(header, rows) + "\n" + provenance(stored, " ".join(["model", stored["model"]]))


def evaluation(name: str) -> str:
    stored = result(name)
    spent = stored["processor_s"]
    labels = {"peers": "frechet-audio-distance, hear21passt, laion-clap", "ours": "this project"}
    rows = [
        [
            label,
            ", ".join(f"{one:.0f}" for one in spent[side]),
            f"{sum(spent[side]):.0f}",
            f"{stored['peak_memory_mb'][side]:,.0f}",
        ]
        for side, label in labels.items()
    ]
    gaps = ", ".join(f"{metric} {gap:.0e}" for metric, gap in stored["largest_relative_gap"].items())
    header = ["", "processor seconds of each system, in order", "together", "peak memory, MB"]
    return (
        table(header, rows)
        + f"\n{stored['ratio']:.1f} times as fast as the peers; largest relative difference of a value: {gaps}.\n"
        + provenance(
            stored,
            f"{stored['systems']} systems of {stored['clips']} clips of {stored['seconds_of_a_clip']:g} s, n = 1",
        )
    )


def training(name: str) -> str:
    stored = result(name)
    labels = {"ours": "this project", "transformers": "transformers", "audiocraft": "audiocraft"}
    rows = [
        [labels[system], f"{one['seconds_per_step']:.3f}", f"{one['codes_per_second']:,.0f}", f"{one['share_of_peak']:.2f}",
         "1" if system == "ours" else f"{stored['ratios'][system]:.2f}"]
        for system, one in stored["systems"].items()
    ]  # fmt: skip
    header = ["system", "seconds a step", "codes a second", "share of the GEMM peak", "time relative to this project"]
    counts = {one["n"] for one in stored["systems"].values()}
    return (
        table(header, rows)
        + "\n"
        + provenance(stored, f"shape {stored['shape']}, {stored['precision']}, n = {min(counts)}")
    )


def memory(name: str) -> str:
    stored = result(name)
    rows = [[f"{one['clips']:,}", f"{one['peak_memory_mb']:.0f}"] for one in stored["runs"]]
    return (
        table(["clips", "peak memory, MB"], rows)
        + "\n"
        + provenance(stored, f"clips of {stored['seconds_of_a_clip']} s, n = 1")
    )


def loading(name: str) -> str:
    stored = result(name)
    rows = [
        [one["precision"], f"{one['model_mb']:,}", f"{one['peak_mb']:,}", f"{one['peak_mb'] / one['model_mb']:.2f}",
         f"{one['seconds']:.1f}"]
        for one in stored["results"]
    ]  # fmt: skip
    header = ["precision", "model, MB", "peak while loading, MB", "ratio", "seconds"]
    return table(header, rows) + "\n" + provenance(stored, f"shape {stored['shape']}, stored in float16, n = 1")


def rescoring(name: str) -> str:
    stored = result(name)
    rows = [
        [f"score of {stored['clips']:,} clips", f"{stored['rescore_s']:.1f}"],
        ["1,000 resampled FADs of them", f"{stored['bootstrap_1000_fads_s']:.1f}"],
    ]
    return table(["with every embedding in the cache", "seconds"], rows) + "\n" + provenance(stored, "n = 1")


def coverage(name: str) -> str:
    stored = result(name)
    counts = sorted({row["n"] for row in stored["means"]})
    found = {(row["values"], row["n"]): row for row in stored["means"]}
    means = [
        [f"mean, {values}", *(f"{_percent(found[values, n]['coverage'])} ({_percent(found[values, n]['percentiles'])})"
                              for n in counts)]
        for values in dict.fromkeys(row["values"] for row in stored["means"])
    ]  # fmt: skip
    sets = [
        [f"{row['metric']}, {row['of']}", str(row["n"]), str(row["dimensions"]), _percent(row["coverage"]),
         f"{row['width']:.2f}", _percent(row["percentiles"]), f"{row['percentiles_width']:.2f}"]
        for row in stored["sets"]
    ]  # fmt: skip
    fewest = min(row["studies"] for row in stored["sets"])
    return (
        table(["coverage, % (percentiles)", *(f"n = {n}" for n in counts)], means)
        + "\n"
        + table(
            ["distance", "n", "dimensions", "coverage, %", "width", "percentiles, %", "their width"],
            sets,
        )
        + f"\n{2 * stored['studies']} simulated studies a mean, {stored['studies']} a distance ({fewest} of the widest), "
        f"{stored['resamples']} resamples, `{stored['command']}`.\n"
    )


def chords(name: str) -> str:
    stored = result(name)
    rows = [
        [f"{what} pitch class{'es' if what.startswith('three') else ''} in the chord"]
        + ["{:.2f} [{:.2f}, {:.2f}]".format(*row[key]) for key in ("own", "other", "difference")]
        for what, row in stored["rows"].items()
    ]
    return (
        table(["share of frames", "own chords", "another clip's", "difference"], rows)
        + f"\n{stored['model']}, {stored['n']} progressions, clips of {stored['seconds']:g} s, 95 % intervals over clips, "
        f"`{stored['command']}`.\n"
    )


def loudness(name: str) -> str:
    stored = result(name)
    rows = [
        [one["model"], limiter, f"{row['near']} of {one['n']}", "{1:.1f} ({0:.1f} to {2:.1f})".format(*row["lufs"]),
         f"{row['highest_true_peak']:.2f}", "{:.1f} (at most {:.1f})".format(*row["reduction"])]
        for one in stored["models"] for limiter, row in one["rows"].items()
    ]  # fmt: skip
    header = [
        "model",
        "limiter",
        f"within {stored['near']:g} LU of {stored['target']:g} LUFS",
        "LUFS, median",
        "highest true peak, dBTP",
        "taken off, dB, median",
    ]
    return (
        table(header, rows)
        + f"\nClips of {stored['seconds']:g} s, measured by FFmpeg's ebur128, `{stored['command']}`.\n"
    )


def tempo_key(name: str) -> str:
    stored = result(name)
    rows = [[what, "{:.2f} [{:.2f}, {:.2f}]".format(*row)] for what, row in stored["rows"].items()]
    what = f"{stored['n']} compositions of {stored['seconds']:g} s, a tempo within {100 * stored['tolerance']:g} %"
    return (
        table(["measured right", "share"], rows)
        + f"\n{what}, 95 % intervals over compositions, `{stored['command']}`.\n"
    )


def transcription(name: str) -> str:
    stored = result(name)
    rows = [
        [row["transcriber"], row["truth"], *("{:.2f} [{:.2f}, {:.2f}]".format(*row[score]) for score in _NOTE_SCORES)]
        for row in stored["rows"]
    ]
    what = f"{stored['n']} sequenced compositions of {stored['seconds']:g} s, onsets within {1000 * stored['tolerance']:g} ms"
    return (
        table(["transcriber", "notes of", *_NOTE_SCORES], rows)
        + f"\n{what}, 95 % intervals over compositions, `{stored['command']}`.\n"
    )


def lora(name: str) -> str:
    stored = result(name)
    units = {"loss": "loss of other clips, nats a code", "fad": "FAD (mini) to the folder"}
    digits = {"loss": 3, "fad": 1}
    rows = []
    for key, what in units.items():
        shown = [
            f"{value:{sign}.{digits[key]}f} [{low:{sign}.{digits[key]}f}, {high:{sign}.{digits[key]}f}]"
            for (value, low, high), sign in zip(stored[key].values(), ("", "", "+"), strict=True)
        ]
        rows.append([what, *shown])
    took = stored["training"]
    folder = f"{stored['n']} clips of {stored['seconds']:g} s ({stored['genre']})"
    return (
        table(["", "without", "with the adapter", "difference"], rows)
        + f"\n{stored['model']}, {folder}, {stored['steps']} steps of "
        f"`{stored['recipe']}`: {took['processor_seconds'] / 60:.1f} minutes of processor time, an adapter of "
        f"{took['adapter_bytes'] / 1e6:.1f} MB. Loss of {stored['n']} other clips of the genre, FAD of {stored['generated']} "
        f"generated ones, 95 % intervals over clips, `{stored['command']}`.\n"
    )


def repainting(name: str) -> str:
    stored = result(name)
    rows = []
    for way, row in stored["rows"].items():
        difference = "" if row["difference"] is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row["difference"])
        test = "" if row["p"] is None else f"D = {row['statistic']:.2f}, p = {row['p']:g}"
        flux = "{1:.2f} ({0:.2f} to {2:.2f})".format(*row["flux"])
        seconds = "" if row.get("seconds") is None else f"{row['seconds']:.1f}"
        rows.append([way, f"{row['fit'][0]:.3f}", difference, flux, test, seconds])
    start, end = stored["span"]
    header = [
        "the span",
        "fit of what follows, nats a code",
        "difference to what was there",
        "flux at the seams, median (10 % to 90 %)",
        "two-sample test with what was there",
        "s",
    ]
    return (
        table(header, rows)
        + f"\n{stored['model']}, {stored['n']} held-out compositions of 10 s, {start:g} to {end:g} s made anew, 95 % intervals "
        f"over compositions, Kolmogorov and Smirnov's test on {2 * stored['n']} seams, `{stored['command']}`.\n"
    )


def fill_quality(name: str) -> str:
    """How well a further training of `mini` follows captions, beside `mini` itself."""
    stored = {
        "mini": json.loads((PRETRAINED / "mini" / "quality.json").read_text(encoding="utf-8")),
        "mini-fill-in-the-middle": result(name),
    }
    columns = ("genre", "lead", "tempo", "key")
    rows = [[model, *(f"{one['rows']['caption'][key]:.2f}" for key in columns)] for model, one in stored.items()]
    count = result(name)["rows"]["caption"]["n"]
    return table(["model", *columns], rows) + (
        f"\nShare of the clips with what their caption says, n = {count} held-out compositions, "
        "`python -m musicgen.training.quality`.\n"
    )


def load(name: str) -> str:
    stored = result(name)
    rows = []
    for one in stored["rows"]:
        measured, predicted, ratio = one["measured"], one["predicted"], one["predicted over measured"]
        times = [
            "–" if measured["first sound"][key] is None else f"{measured['first sound'][key]:.2f}"
            for key in ("p50", "p95", "p99")
        ]
        compared = "–" if ratio["ratio"] is None else "{:.2f} [{:.2f}, {:.2f}]".format(*ratio["ratio"])
        rows.append([
            str(one["replicas"]), f"{one['rate']:.2f} ({100 * one['share of capacity']:.0f} %)",
            f"{measured['clips']} ({measured['left early']})", " / ".join(times),
            f"{measured['mean first sound']:.2f}", f"{predicted['mean first sound']:.2f}", compared,
            ratio["verdict"] if one["reliable"] else f"unreliable: other programs used {one['cores of others']:.2f} cores",
            f"{_percent(measured['kept up'])} ({_percent(predicted['kept up'])})",
            f"{measured['goodput, seconds of sound a second']:.1f}", str(sum(measured["errors"].values())),
        ])  # fmt: skip
    header = [
        "replicas", "clips a second (share of capacity)", "clips (left early)", "first sound, s: p50 / p95 / p99",
        "mean, s", "predicted mean, s", "predicted ÷ measured", f"within {100 * stored['tolerance']:.0f} %",
        "kept up, % (predicted)", "goodput, s of sound a second", "errors",
    ]  # fmt: skip
    durations = ", ".join(f"{one:g}" for one in stored["durations"])
    n = f"`{stored['model']}`, clips of {durations} s, runs of {stored['seconds']:g} s, n = 1, 95 % intervals over clips"
    return table(header, rows) + "\n" + provenance(stored, n)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def summary(_: str) -> str:
    """The table of README.md: one line for each measured claim."""
    rows = []
    for name in ("generation-small-cpu", "generation-small-cpu-amd"):
        stored = result(name)
        best = min(one["seconds"] for one in stored["results"] if one["system"].startswith("transformers"))
        ours = {one["precision"]: one["seconds"] for one in stored["results"] if one["system"] == "ours"}
        ratios = ", ".join(f"{precision} {best / seconds:.1f}" for precision, seconds in ours.items())
        rows.append([f"generation, {_processor(stored['machine'])}, 2 cores", f"{ratios} times transformers' best"])
    scored, trained = result("evaluation-cpu"), result("training-mini-cpu")
    rows.append(["evaluation (FAD, KL, CLAP)", f"{scored['ratio']:.1f} times the libraries that define the metrics"])
    ratios = ", ".join(f"{ratio:.2f} times {system}" for system, ratio in trained["ratios"].items())
    rows.append([f"training step, {trained['shape']}, {trained['precision']}", ratios])
    return table(["speed", "measured"], rows)


def embedded(name: str) -> str:
    """The evaluation of the embedded models: the table that `make eval` writes, and the differences that the text is about."""
    stored = load_results(RESULTS / f"{name}.json")
    rows, *told = (part.strip() for part in markdown([stored]).split("\n\n"))
    differences = "\n".join(f"- {line}" for line in told if any(f": {pair} = " in line for pair in _DIFFERENCES))
    return f"{rows}\n\n`make eval`, n = {len(stored.ids)}, 95 % intervals over clips. Differences:\n\n{differences}\n"


TABLES: dict[str, tuple[Callable[[str], str], str]] = {
    "summary": (summary, ""),
    "generation": (generation, "generation-small-cpu"),
    "generation-amd": (generation, "generation-small-cpu-amd"),
    "generation-compiled": (generation, "generation-small-cpu-compiled"),
    "generation-amd-compiled": (generation, "generation-small-cpu-amd-compiled"),
    "steps": (steps, "steps-small-cpu"),
    "steps-amd": (steps, "steps-small-cpu-amd"),
    "backends": (backends, "backends-small-cpu"),
    "backends-amd": (backends, "backends-small-cpu-amd"),
    "generation-avx2": (generation, "generation-small-cpu-avx2"),
    "steps-avx2": (steps, "steps-small-cpu-avx2"),
    "backends-avx2": (backends, "backends-small-cpu-avx2"),
    "startup": (startup, "startup-mini-cpu"),
    "shapes": (shapes, "shapes-cpu"),
    "throughput": (throughput, "throughput-small-cpu"),
    "startup-avx2": (startup, "startup-mini-cpu-avx2"),
    "shapes-avx2": (shapes, "shapes-cpu-avx2"),
    "throughput-avx2": (throughput, "throughput-small-cpu-avx2"),
    "early-exit": (early_exit, "early-exit-mini"),
    "listeners": (listeners, "listeners-mini-cpu"),
    "precision-error": (precision_error, "precision-error-mini"),
    "evaluation": (evaluation, "evaluation-cpu"),
    "embedded": (embedded, "evaluation-embedded"),
    "memory": (memory, "memory-cpu"),
    "loading": (loading, "loading-small-cpu"),
    "rescoring": (rescoring, "rescore"),
    "training": (training, "training-mini-cpu"),
    "coverage": (coverage, "coverage"),
    "chords": (chords, "chords-mini-melody"),
    "loudness": (loudness, "loudness-mini"),
    "tempo-key": (tempo_key, "tempo-key"),
    "repainting": (repainting, "repainting-mini"),
    "fill-quality": (fill_quality, "quality-mini-fill"),
    "repainting-fill": (repainting, "repainting-mini-fill"),
    "load": (load, "load-mini-cpu"),
    "transcription": (transcription, "transcription"),
    "lora": (lora, "lora-mini"),
}
"""A block's name -> what writes it, from which stored result."""


def rendered(document: str) -> str:
    """A document with every marked table as the stored results have it."""

    def block(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name not in TABLES:
            raise SystemExit(f"error: no table {name!r}: one of {', '.join(TABLES)}")
        write, stored = TABLES[name]
        return f"{begin}{write(stored)}{end}"

    return _BLOCK.sub(block, document)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(rendered(path.read_text()))


if __name__ == "__main__":
    main()
