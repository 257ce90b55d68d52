"""python -m evaluation: samples from systems, scores from samples, tables from scores."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from musicgen import audio, commandline, extras
from musicgen.errors import InputError

EXAMPLES = """examples:
  python -m evaluation generate synth --system mini --out samples/mini
  python -m evaluation score synth samples/mini --out results/mini.json
  python -m evaluation table results/mini.json
  python -m evaluation run synth --system mini --system mini-melody --system mini-melody+melody --limit 40 --out results
"""


@commandline.entry("interrupted: the same command goes on from here")
def main(arguments: Sequence[str] | None = None) -> None:
    with extras.needed("evaluation", "the evaluation"):
        options = _parser().parse_args(arguments)
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        options.command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="fill a samples folder; a second call goes on")
    _suite(generate)
    generate.add_argument("--system", required=True, help="a model's name or folder, a pipeline, a folder of audio")
    generate.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    generate.add_argument("--name", help="of the system in samples and tables (default: from --system)")
    generate.add_argument("--melody", action="store_true", help="give the reference as the melody")
    generate.add_argument("--shuffle", action="store_true", help="give the next item's caption: a lower bound")
    generate.add_argument("--shard", default="1/1", metavar="I/N", help="only every Nth clip, from the Ith on")
    _making(generate)
    generate.set_defaults(command=_generate)

    score = commands.add_parser("score", help="scores of samples folders against a suite's references")
    _suite(score)
    score.add_argument("samples", nargs="+", type=Path, metavar="SAMPLES")
    score.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    _scoring(score)
    score.set_defaults(command=_score)

    run = commands.add_parser("run", help="generate, score, table and plots in one go")
    _suite(run)
    run.add_argument("--system", action="append", required=True, metavar="NAME[+melody][+shuffled]")
    run.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    _making(run)
    _scoring(run)
    run.set_defaults(command=_run)

    table = commands.add_parser("table", help="print results, the paper's rows beside them")
    table.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    table.add_argument("--format", choices=("markdown", "csv", "latex"), default="markdown")
    table.add_argument("--plots", type=Path, metavar="FOLDER", help="also draw")
    table.add_argument("--worst", type=int, metavar="N", help="also list the N clips of each system that hurt most")
    table.set_defaults(command=_table)

    suites = commands.add_parser("suites", help="the suites and the metrics there are")
    suites.set_defaults(command=_suites)

    fetch = commands.add_parser("fetch", help="bring MusicCaps' clips with yt-dlp, as far as they are still there")
    _suite(fetch)
    fetch.set_defaults(command=_fetch)

    doctor = commands.add_parser("doctor", help="what is installed, which weights are here, what would be downloaded")
    doctor.add_argument("--no-hashes", action="store_true", help="do not read the weights")
    _weights(doctor)
    doctor.set_defaults(command=_doctor)

    cache = commands.add_parser("cache", help="the cache of embeddings")
    cache.add_argument("action", choices=("ls", "verify", "gc"))
    cache.add_argument("--days", type=float, default=90, help="gc: remove entries older than this (default 90)")
    cache.add_argument("--cache", type=Path, metavar="FOLDER")
    cache.set_defaults(command=_cache)

    model = commands.add_parser("language-model", help="perplexity and memorisation of a model of this project")
    _suite(model)
    model.add_argument("--model", required=True)
    model.add_argument("--out", type=Path, metavar="FILE.json")
    model.add_argument("--device", default="auto")
    model.add_argument("--melody", action="store_true", help="condition on the reference's melody, too")
    model.add_argument("--batch", type=int, default=4)
    model.set_defaults(command=_language_model)
    return parser


def _suite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", help="a name that `suites` lists, or a .yaml file")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the suite's references lie")
    parser.add_argument("--subset", metavar="LABEL", help="of the suite's list, such as is_balanced_subset")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N items")


def _making(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=4, help="clips made at once (default 4)")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the system: top_k=100, precision=float32 …",
    )
    parser.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help="spread the work with Ray")


def _scoring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="in place of the suite's")
    parser.add_argument("--bounds", action="store_true", help="also score the references, in order and shuffled")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals (default 0)")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap (default 1000)")
    parser.add_argument("--score-batch", type=int, default=None, help="inputs a network hears at once")
    parser.add_argument("--score-device", default="auto")
    _weights(parser)
    if "--ray" not in parser._option_string_actions:
        parser.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help="spread the work with Ray")


def _weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", action="append", default=[], metavar="NETWORK=FILE", help="vggish, passt, clap, mert, aesthetics"
    )
    parser.add_argument("--no-download", action="store_true", help="refuse to fetch weights")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of embeddings (default: the user's cache)")


def _generate(options: argparse.Namespace) -> None:
    from . import generation, suites, systems

    _positive(options, "limit", "batch")
    suite = suites.load(options.suite)
    wanted = _wanted(options, suite, options.melody, options.shuffle)
    wanted = generation.shard(wanted, options.shard)
    name = options.name or systems.label(options.system)
    made = generation.fill(options.out, wanted, _opener(options, options.system, name), name)
    print(f"{options.out}: {len(wanted)} clips, {made} of them made now")


def _score(options: argparse.Namespace) -> None:
    from . import suites

    _positive(options, "limit", "resamples")
    suite = suites.load(options.suite)
    results = _scored(options, suite, options.samples)
    results.save(options.out)
    print(f"{options.out}: {len(results.ids)} clips, {len(results.excluded)} excluded")


def _run(options: argparse.Namespace) -> None:
    from . import generation, plots, suites, systems, table

    _positive(options, "limit", "batch", "resamples")
    suite = suites.load(options.suite)
    folders = []
    for entry in options.system:
        name, *ways = entry.split("+")
        unknown = sorted(set(ways) - {"melody", "shuffled"})
        if unknown:
            raise InputError(f"--system {entry}: +{unknown[0]} is neither +melody nor +shuffled")
        label = "+".join([systems.label(name), *ways])
        wanted = _wanted(options, suite, "melody" in ways, "shuffled" in ways)
        folder = options.out / "samples" / label
        generation.fill(folder, wanted, _opener(options, name, label), label)
        folders.append(folder)
    results = _scored(options, suite, folders)
    results.save(options.out / "results.json")
    for kind, extension in (("markdown", "md"), ("csv", "csv"), ("latex", "tex")):
        audio.write_bytes(options.out / f"table.{extension}", table.RENDER[kind]([results]).encode())
    drawn = plots.draw([results], options.out)
    print(table.markdown([results]))
    print(f"{options.out}: results.json, table.md, table.csv, table.tex, {', '.join(file.name for file in drawn)}")


def _table(options: argparse.Namespace) -> None:
    from . import results, table

    found = [results.load(file) for file in options.results]
    print(table.RENDER[options.format](found), end="")
    if options.worst:
        print(table.worst(found, options.worst), end="")
    if options.plots:
        from . import plots

        for file in plots.draw(found, options.plots):
            print(file)


def _suites(_: argparse.Namespace) -> None:
    from . import suites
    from .scorers import METRICS

    for name in suites.names():
        suite = suites.load(name)
        print(f"{suite.label:<20}{suite.description}\n{'':<20}{', '.join(suite.metrics)}")
    print("\nmetrics")
    for name, metric in METRICS.items():
        better = "" if metric.direction == "neither" else f"{metric.direction} is better"
        print(f"  {name:<18}{metric.title:<28}{better}".rstrip())


def _fetch(options: argparse.Namespace) -> None:
    from . import data, fetching, suites

    suite = suites.load(options.suite)
    items = data.items(suite, options.data, options.subset, options.limit)
    there, gone = fetching.fetch(items, suite.duration)
    print(f"{there} clips are here, {gone} cannot be had: {items[0].file.parent / fetching.MANIFEST} says why")


def _doctor(options: argparse.Namespace) -> None:
    from . import doctor
    from .embedders.cache import Cache

    print(doctor.report(_chosen(options), Cache(options.cache), not options.no_hashes), end="")


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
        print(f"{cache.folder}: {len(damaged)} damaged entries removed")
    else:
        count, size = cache.collect(options.days)
        print(f"{cache.folder}: {count} entries removed, {size / 1e6:.1f} MB")


def _language_model(options: argparse.Namespace) -> None:
    from . import data, language_model, suites

    _positive(options, "limit", "batch")
    suite = suites.load(options.suite)
    items = data.items(suite, options.data, options.subset, options.limit)
    figures = language_model.measure(options.model, suite, items, options.device, options.batch, options.melody)
    text = json.dumps(figures, indent=1) + "\n"
    if options.out:
        audio.write_bytes(options.out, text.encode())
    print(text, end="")


def _wanted(options: argparse.Namespace, suite: Any, melody: bool, shuffle: bool) -> list[Any]:
    from . import data, generation

    items = data.items(suite, options.data, options.subset, options.limit)
    return generation.requests(suite, items, melody, shuffle)


def _opener(options: argparse.Namespace, name: str, label: str) -> Any:
    from . import systems

    settings = dict(_setting(text) for text in options.setting)
    opener = partial(systems.open_system, name, options.device, options.batch, label, settings)
    if options.ray is None:
        return opener
    from . import cluster

    return partial(cluster.RaySystem, opener, options.ray)


def _scored(options: argparse.Namespace, suite: Any, folders: Sequence[Path]) -> Any:
    import torch

    from . import data, run, suites
    from .embedders.cache import Cache
    from .embedders.registry import Registry
    from .scorers import METRICS

    if options.metrics:
        suites.check_metrics(options.metrics, METRICS, "--metrics")
    items = data.items(suite, options.data, options.subset, options.limit)
    cuda = torch.cuda.is_available()
    device = options.score_device if options.score_device != "auto" else ("cuda" if cuda else "cpu")
    batch = options.score_batch or (32 if device.startswith("cuda") else 1)
    chosen, cache = _chosen(options), Cache(options.cache)
    settings = run.Options(options.seed, options.resamples, options.bounds, batch)
    embed = None
    if options.ray is not None:
        from . import cluster

        embed = cluster.embed_with_ray(chosen, cache, device, batch, options.ray)
    return run.score(suite, items, folders, Registry(chosen, device), cache, settings, options.metrics, embed)


def _chosen(options: argparse.Namespace) -> Any:
    from .embedders.weights import Weights

    files = {}
    for entry in options.weights:
        name, equals, file = entry.partition("=")
        if not equals or not file:
            raise InputError(f"--weights {entry}: must be such as passt=FILE")
        files[name] = Path(file)
    return Weights(files, download=not options.no_download)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--setting {text}: must be such as top_k=100")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _positive(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}: it must be at least 1")


if __name__ == "__main__":
    sys.exit(main())
