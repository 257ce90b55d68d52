"""python -m evaluation: generate clips with systems, score them, and write tables of the scores."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen import audio, commandline, extras, named_values, plugins, table_text
from musicgen.errors import InputError
from musicgen.folders import check_writable_file, check_writable_folder
from musicgen.text_format import counted

if TYPE_CHECKING:
    from .embedders.cache import Cache
    from .embedders.registry import Embedders
    from .embedders.weights import Weights
    from .reports.results import Results
    from .suites.suite import Suite
    from .systems.base import Request, SystemFactory

EXAMPLES = """examples:
  python -m evaluation generate synth --system mini --out samples/mini
  python -m evaluation score synth samples/mini --out results/mini.json
  python -m evaluation table results/mini.json
  python -m evaluation run synth --system mini --system mini-melody --system mini-melody+melody --limit 40 --out results
  python -m evaluation score synth samples/mini --plugin my_metrics.py --metrics my_metric --out results/mine.json
"""


@commandline.entry("interrupted: the same command goes on from here")
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line.

    Args:
        arguments: those of the process by default.
    """
    with extras.needed("evaluation", "the evaluation"):
        options = _parser().parse_args(arguments)
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        plugins.load_plugins(getattr(options, "plugin", []))
        options.command(options)


def _parser() -> commandline.Parser:
    parser = commandline.Parser(
        prog=commandline.program("musicgen-evaluate", str(__package__)),
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="generate a suite's clips into a samples folder; resumable")
    _add_suite(generate)
    generate.add_argument("--system", required=True, help="a model's name or folder, a pipeline, a folder of audio")
    generate.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the samples folder")
    generate.add_argument("--name", help="name of the system in samples folders and tables (default: from --system)")
    generate.add_argument("--melody", action="store_true", help="pass each reference to the system as the melody")
    generate.add_argument(
        "--shuffle", action="store_true", help="use the next item's caption for each item: a lower bound"
    )
    generate.add_argument(
        "--shard", default="1/1", metavar="I/N", help="generate only every Nth clip, starting with the Ith"
    )
    _add_generation(generate)
    _add_ray(generate)
    _add_plugin(generate)
    generate.set_defaults(command=_generate)

    score = commands.add_parser("score", help="score samples folders against a suite's references")
    _add_suite(score)
    score.add_argument("samples", nargs="+", type=Path, metavar="SAMPLES", help="samples folders, one per system")
    score.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="the results file")
    _add_scoring(score)
    _add_ray(score)
    _add_plugin(score)
    score.set_defaults(command=_score)

    statistics = commands.add_parser(
        "statistics", help="write mean and covariance of a suite's references, for FAD without their audio"
    )
    _add_suite(statistics)
    statistics.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for one file per embedder"
    )
    statistics.add_argument("--metrics", nargs="+", metavar="NAME", help="metrics instead of the suite's")
    _add_embedders(statistics)
    _add_plugin(statistics)
    statistics.set_defaults(command=_statistics)

    run = commands.add_parser("run", help="generate, score, and write tables and plots in one command")
    _add_suite(run)
    run.add_argument("--system", action="append", required=True, metavar="NAME[+melody][+shuffled]")
    run.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for samples, results, tables and plots"
    )
    _add_generation(run)
    _add_scoring(run)
    _add_ray(run)
    _add_plugin(run)
    run.set_defaults(command=_run)

    table = commands.add_parser("table", help="print results as a table, with rows from papers")
    table.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    table.add_argument("--format", choices=("markdown", "csv", "latex"), default="markdown")
    table.add_argument("--plots", type=Path, metavar="FOLDER", help="also write plots")
    table.add_argument("--worst", type=int, metavar="N", help="also list the N worst clips of each system")
    _add_plugin(table)
    table.set_defaults(command=_table)

    suites = commands.add_parser("suites", help="list suites and metrics")
    _add_plugin(suites)
    suites.set_defaults(command=_suites)

    fetch = commands.add_parser("fetch", help="download the clips of MusicCaps that are still available, with yt-dlp")
    _add_suite(fetch)
    fetch.set_defaults(command=_fetch)

    doctor = commands.add_parser(
        "doctor", help="show which packages and weights are installed, and what would be downloaded"
    )
    doctor.add_argument("--no-hashes", action="store_true", help="do not compute the sha256 of weights")
    _add_weights(doctor)
    _add_plugin(doctor)
    doctor.set_defaults(command=_doctor)

    cache = commands.add_parser("cache", help="manage the cache of embeddings")
    cache.add_argument("action", choices=("ls", "verify", "gc"), help="list, check, or remove old entries")
    cache.add_argument("--days", type=float, default=90, help="gc: remove entries older than this (default 90)")
    cache.add_argument("--cache", type=Path, metavar="FOLDER", help="default: the user's cache")
    cache.set_defaults(command=_cache)

    model = commands.add_parser("language-model", help="measure perplexity and memorisation of a model of this project")
    _add_suite(model)
    model.add_argument("--model", required=True, help="name or folder of a model")
    model.add_argument("--out", type=Path, metavar="FILE.json", help="also write the results as JSON")
    model.add_argument("--device", default="auto", help="PyTorch device (default: auto)")
    model.add_argument("--melody", action="store_true", help="also condition on the melody of the reference")
    model.add_argument("--batch", type=int, default=4, help="clips per call (default 4)")
    model.set_defaults(command=_language_model)
    return parser


def _add_suite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="a name listed by `suites`, or a .yaml file")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of the suite's references")
    parser.add_argument("--subset", metavar="LABEL", help="only items with this label, such as is_balanced_subset")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N items")


def _add_generation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="device of the system (default: auto)")
    parser.add_argument("--batch", type=int, default=4, help="clips generated per call (default 4)")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the system: top_k=100, precision=float32 …; may be repeated",
    )


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="metrics instead of the suite's")
    parser.add_argument("--bounds", action="store_true", help="also score the references, in order and shuffled")
    parser.add_argument("--seed", type=int, default=0, help="seed of the intervals (default 0)")
    parser.add_argument("--resamples", type=int, default=1000, help="number of bootstrap resamples (default 1000)")
    parser.add_argument(
        "--statistics",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.npz",
        help="statistics of the references, written by the command statistics, from which FAD is computed without audio",
    )
    _add_embedders(parser)


def _add_embedders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--score-batch", type=int, default=None, help="inputs per call of an embedder")
    parser.add_argument("--score-device", default="auto", help="device of the embedders (default: auto)")
    _add_weights(parser)


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NETWORK=FILE",
        help="weight file of a network, instead of downloading it: vggish=FILE, …; `doctor` lists the networks",
    )
    parser.add_argument("--no-download", action="store_true", help="do not download weights")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="cache of embeddings (default: the user's cache)")


def _add_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help="distribute the work with Ray")


def _add_plugin(parser: argparse.ArgumentParser) -> None:
    plugins.add_argument(parser, "metrics, embedders or systems")


def _generate(options: argparse.Namespace) -> None:
    from .pipeline import generation
    from .suites.suite import load_suite
    from .systems.base import default_label

    _check_positive(options, "limit", "batch")
    suite = load_suite(options.suite)
    check_writable_folder(options.out)
    requests = generation.shard(_requests(options, suite, options.melody, options.shuffle), options.shard)
    name = options.name or default_label(options.system)
    new = generation.generate(options.out, requests, _system_factory(options, options.system, name), name)
    print(f"{options.out}: {counted(len(requests), 'clip')}, {new} of them new")


def _score(options: argparse.Namespace) -> None:
    from .suites.suite import load_suite

    _check_positive(options, "limit", "resamples")
    check_writable_file(options.out)
    results = _results(options, load_suite(options.suite), options.samples)
    results.save(options.out)
    print(f"{options.out}: {counted(len(results.ids), 'clip')}, {len(results.excluded)} excluded")


def _statistics(options: argparse.Namespace) -> None:
    from .pipeline.references import write_statistics
    from .suites.items import load_items
    from .suites.suite import load_suite

    _check_positive(options, "limit")
    suite = load_suite(options.suite)
    _check_metrics(options)
    check_writable_folder(options.out)
    items = load_items(suite, options.data, options.subset, options.limit)
    embedders, cache, batch = _embedders(options)
    for file in write_statistics(suite, items, options.out, embedders, cache, options.metrics, batch):
        print(file)


def _run(options: argparse.Namespace) -> None:
    from .pipeline import generation
    from .reports import plots, table
    from .suites.suite import load_suite
    from .systems.base import default_label

    _check_positive(options, "limit", "batch", "resamples")
    suite = load_suite(options.suite)
    # What scoring would refuse, and where the results go, before the clips are made.
    _check_metrics(options)
    check_writable_folder(options.out)
    _check_weights(options, suite)
    has_plots = extras.is_installed(plots.PACKAGE)
    if not has_plots:
        commandline.warn(f'the plots are left out: they need {plots.PACKAGE}: pip install "musicgen[evaluation]"')
    systems = []
    for entry in options.system:
        name, *variants = entry.split("+")
        unknown = sorted(set(variants) - {"melody", "shuffled"})
        if unknown:
            raise InputError(f"--system {entry}: +{unknown[0]} is neither +melody nor +shuffled")
        systems.append((name, variants, "+".join([default_label(name), *variants])))
    folders = []
    for name, variants, label in systems:
        requests = _requests(options, suite, "melody" in variants, "shuffled" in variants)
        folder = options.out / "samples" / label
        generation.generate(folder, requests, _system_factory(options, name, label), label)
        folders.append(folder)
    results = _results(options, suite, folders)
    results.save(options.out / "results.json")
    for kind, extension in (("markdown", "md"), ("csv", "csv"), ("latex", "tex")):
        audio.write_bytes(options.out / f"table.{extension}", table.FORMATS[kind]([results]).encode())
    files = plots.draw_plots([results], options.out) if has_plots else []
    print(table.markdown([results]))
    written = ["results.json", "table.md", "table.csv", "table.tex", *(file.name for file in files)]
    print(f"{options.out}: {', '.join(written)}")


def _table(options: argparse.Namespace) -> None:
    from .reports import plots, table
    from .reports.results import load_results

    results = [load_results(file) for file in options.results]
    if options.plots:
        check_writable_folder(options.plots)
        extras.load(plots.PACKAGE, "evaluation", "a plot")
    print(table.FORMATS[options.format](results), end="")
    if options.worst:
        print(table.worst_clips(results, options.worst), end="")
    if options.plots:
        for file in plots.draw_plots(results, options.plots):
            print(file)


def _suites(_: argparse.Namespace) -> None:
    from .metrics.registry import METRICS
    from .suites.suite import load_suite, suite_names

    suites: list[tuple[str, ...]] = [("suite", "what it compares, by which metrics")]
    for name in suite_names():
        suite = load_suite(name)
        suites += [(suite.label, suite.description), ("", ", ".join(suite.metrics))]
    metrics: list[tuple[str, ...]] = [("metric", "title", "")]
    for name, metric in METRICS.items():
        better = "" if metric.direction == "neither" else f"{metric.direction} is better"
        metrics.append((name, metric.title, better))
    print(table_text.columns(suites), table_text.columns(metrics), sep="\n\n")


def _fetch(options: argparse.Namespace) -> None:
    from .suites import fetching
    from .suites.items import load_items
    from .suites.suite import load_suite

    suite = load_suite(options.suite)
    items = load_items(suite, options.data, options.subset, options.limit)
    available, unavailable = fetching.fetch(items, suite.duration)
    manifest = items[0].file.parent / fetching.MANIFEST
    here = f"{counted(available, 'clip')} {'is' if available == 1 else 'are'} here"
    print(f"{here}, {unavailable} not available: {manifest} says why")


def _doctor(options: argparse.Namespace) -> None:
    from .embedders.cache import Cache
    from .pipeline import doctor

    print(doctor.report(_weights(options), Cache(options.cache), not options.no_hashes), end="")


def _cache(options: argparse.Namespace) -> None:
    from .embedders.cache import Cache

    cache = Cache(options.cache)
    if options.action == "ls":
        total = 0
        for entry in cache.entries():
            total += entry.size
            print(f"{entry.key[:16]}  {entry.size:>10}  {entry.age:6.1f} d  {entry.label}")
        print(f"{cache.folder}: {total / 1e6:.1f} MB")
    elif options.action == "verify":
        damaged = cache.verify()
        print(f"{cache.folder}: {counted(len(damaged), 'damaged entry', 'damaged entries')} removed")
    else:
        count, size = cache.collect(options.days)
        print(f"{cache.folder}: {counted(count, 'entry', 'entries')} removed, {size / 1e6:.1f} MB")


def _language_model(options: argparse.Namespace) -> None:
    from .suites.items import load_items
    from .suites.suite import load_suite
    from .systems import language_model

    _check_positive(options, "limit", "batch")
    suite = load_suite(options.suite)
    if options.out:
        check_writable_file(options.out)
    items = load_items(suite, options.data, options.subset, options.limit)
    melody = options.melody or suite.melody
    numbers = language_model.measure(options.model, suite, items, options.device, options.batch, melody)
    text = json.dumps(numbers, indent=1) + "\n"
    if options.out:
        audio.write_bytes(options.out, text.encode())
    print(text, end="")


def _requests(options: argparse.Namespace, suite: Suite, melody: bool, shuffle: bool) -> list[Request]:
    from .pipeline.generation import make_requests
    from .suites.items import load_items

    items = load_items(suite, options.data, options.subset, options.limit)
    return make_requests(suite, items, melody or None, shuffle)


def _system_factory(options: argparse.Namespace, name: str, label: str) -> SystemFactory:
    from .systems.base import SystemOptions
    from .systems.registry import load_system

    given = named_values.parse(options.setting, "--setting", "top_k=100")
    settings = {name: _setting(value) for name, value in given.items()}
    load = partial(load_system, name, SystemOptions(options.device, options.batch, settings), label)
    if options.ray is None:
        return load
    from .pipeline.cluster import RaySystem

    return partial(RaySystem, load, options.ray, options.plugin)


def _results(options: argparse.Namespace, suite: Suite, folders: Sequence[Path]) -> Results:
    from .pipeline import scoring
    from .suites.items import load_items

    _check_metrics(options)
    items = load_items(suite, options.data, options.subset, options.limit)
    embedders, cache, batch = _embedders(options)
    scoring_options = scoring.ScoringOptions(options.seed, options.resamples, options.bounds, batch)
    embed = None
    if options.ray is not None:
        from .pipeline.cluster import ray_embedding

        embed = ray_embedding(embedders.weights, cache, embedders.device, batch, options.ray, options.plugin)
    return scoring.score(
        suite, items, folders, embedders, cache, scoring_options, options.metrics, embed, options.statistics
    )


def _check_metrics(options: argparse.Namespace) -> None:
    from .metrics.registry import check_metrics

    if options.metrics:
        check_metrics(options.metrics, "--metrics")


def _check_weights(options: argparse.Namespace, suite: Suite) -> None:
    """Fetch the networks of the metrics. On a cluster that is for its machines."""
    from .metrics.registry import embedders_of

    if options.ray is None:
        embedders, _, _ = _embedders(options)
        embedders.check(embedders_of(options.metrics or suite.metrics))


def _embedders(options: argparse.Namespace) -> tuple[Embedders, Cache, int]:
    """(networks, cache of embeddings, inputs per call) that the command line names."""
    from .embedders.cache import Cache
    from .embedders.registry import Embedders
    from .systems.base import resolve_device

    # A cluster's machines have other devices than this one.
    named = getattr(options, "ray", None) is not None and options.score_device != "auto"
    device = options.score_device if named else resolve_device(options.score_device)
    return (
        Embedders(_weights(options), device),
        Cache(options.cache),
        options.score_batch or (32 if device.startswith("cuda") else 1),
    )


def _weights(options: argparse.Namespace) -> Weights:
    from .embedders.weights import Weights

    given = named_values.parse(options.weights, "--weights", "passt=FILE")
    for name, file in given.items():
        if not file:
            raise InputError(f"--weights {name}: the file is missing: passt=FILE")
    files = {name: Path(file) for name, file in given.items()}
    return Weights(files, download=not options.no_download)


def _setting(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _check_positive(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}: it must be at least 1")


if __name__ == "__main__":
    sys.exit(main())
