"""python -m experiments: the paper's tables at small scale on the synthetic corpus."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from musicgen import commandline, table_text

OUTPUT = Path("outputs/experiments")


@commandline.entry("interrupted: the same command goes on from here")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = commandline.Parser(prog="python -m experiments", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="train, generate and score the rows without a result")
    run.add_argument("names", nargs="+", metavar="NAME", help="experiments, or all")
    run.add_argument("--scale", default="cpu", help="toy, core, cpu (default) or gpu")
    run.add_argument("--row", action="append", default=[], help="only this row; may be given again")
    run.add_argument("--seeds", type=int, help="number of seeds, instead of the scale's")
    run.add_argument("--output", type=Path, default=OUTPUT, help="folder of the runs")
    run.add_argument("--corpus", type=Path, help="an existing corpus")
    run.add_argument("--tokens", type=Path, help="its existing tokens, by the embedded tokeniser")
    run.add_argument("--results", type=Path, help="folder of the results (default experiments/results)")
    run.add_argument("--device", default="auto", choices=["auto", "cpu"])
    run.set_defaults(command=_run)
    report = commands.add_parser("report", help="write docs/experiments.md from the stored results")
    report.set_defaults(command=_report)
    study = commands.add_parser("study", help="build the listening study of an experiment that was run")
    study.add_argument("name", metavar="NAME", help="an experiment, or the beginning of its name: table-3")
    study.add_argument("--scale", default="cpu", help="at which it was run (default cpu)")
    study.add_argument("--seed", type=int, default=0, help="the runs whose clips are rated (default 0)")
    study.add_argument(
        "--items", type=int, default=40, help="captions, with a clip of every row (default 40, the paper's)"
    )
    study.add_argument("--output", type=Path, default=OUTPUT, help="folder of the runs")
    study.set_defaults(command=_study)
    ratings = commands.add_parser("ratings", help="store the means of an experiment's listening study for the report")
    ratings.add_argument("name", metavar="NAME", help="an experiment, or the beginning of its name: table-3")
    ratings.add_argument("--scale", default="cpu", help="at which it was run (default cpu)")
    ratings.add_argument("--seed", type=int, default=0, help="the runs whose clips were rated (default 0)")
    ratings.add_argument("--output", type=Path, default=OUTPUT, help="folder of the runs")
    ratings.add_argument("--results", type=Path, help="folder of the results (default experiments/results)")
    ratings.add_argument("--database", metavar="URL", help="of the study (default the SQLite file in its folder)")
    ratings.set_defaults(command=_ratings)
    power = commands.add_parser("power", help="how many seeds and steps decide the claims, from the stored results")
    power.add_argument("name", metavar="NAME", help="an experiment, or the beginning of its name")
    power.add_argument("--scale", default="core", help="of the stored results (default core)")
    power.add_argument("--seeds", type=int, default=3, help="for which the smallest difference is given (default 3)")
    power.add_argument("--power", type=float, default=0.8, help="chance to decide a true difference (default 0.8)")
    power.add_argument("--results", type=Path, help="folder of the results (default experiments/results)")
    power.set_defaults(command=_power)
    diagnose = commands.add_parser(
        "diagnose", help="which step of a text model takes its clips furthest from the references"
    )
    diagnose.add_argument("model", metavar="MODEL", help="embedded name, hub name or folder")
    diagnose.add_argument("--limit", type=int, help="items of the suite (default all)")
    diagnose.add_argument("--output", type=Path, default=OUTPUT, help="folder of the clips, in its folder diagnosis")
    diagnose.add_argument("--results", type=Path, help="folder of the results (default experiments/results)")
    diagnose.set_defaults(command=_diagnose)
    listing = commands.add_parser("list", help="list the experiments")
    listing.set_defaults(command=_list)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    options.command(options)


def _run(options: argparse.Namespace) -> None:
    from experiments import plan as plans
    from musicgen.errors import InputError

    scale = plans.scale(options.scale)
    names = plans.names() if options.names == ["all"] else options.names
    chosen = {name: plans.load(name) for name in names}
    unknown = set(options.row) - {row for plan in chosen.values() for row in plan.rows}
    if unknown:
        raise InputError(f"no row {', '.join(sorted(unknown))} in {', '.join(names)}")
    # What is asked for is there: now the imports that take seconds.
    from experiments import runner
    from experiments.training_data import Paths

    paths = Paths(
        output=options.output,
        corpus=options.corpus or options.output / "corpus",
        tokens=options.tokens or options.output / "tokens",
        results=options.results or runner.RESULTS,
        device=options.device,
    )
    # Seed by seed, so that every row has a result early.
    for seed in range(options.seeds or scale.seeds):
        for name, plan in chosen.items():
            for row in plan.rows:
                if options.row and row not in options.row:
                    continue
                made = runner.run_row(paths, name, plan, row, seed, scale)
                print(f"{name}, {row}, seed {seed}: {'done' if made else 'exists already'}", flush=True)


def _report(_: argparse.Namespace) -> None:
    from experiments import report, runner

    print(f"docs/experiments.md: {report.write(runner.RESULTS)} runs")


def _study(options: argparse.Namespace) -> None:
    from experiments import plan as plans

    name, scale = plans.find(options.name), plans.scale(options.scale)
    plan = plans.load(name)
    from experiments.study import build_study

    study = build_study(options.output, name, plan, scale, options.seed, options.items)
    pages = sum(page.kind == "rating" for page in study.pages.values())
    print(
        f"{study.path}: {len(study.clips)} clips on {pages} pages; `python -m human_study serve {study.path}` opens it"
    )


def _ratings(options: argparse.Namespace) -> None:
    from experiments import plan as plans

    name, scale = plans.find(options.name), plans.scale(options.scale)
    plan = plans.load(name)
    from experiments import listening, runner

    results = options.results or runner.RESULTS
    file = listening.collect(options.output, results, name, plan, scale, options.seed, options.database)
    print("\n\n".join([*listening.tables(file.parent.parent), f"{file}; `python -m experiments report` shows it"]))


def _power(options: argparse.Namespace) -> None:
    from experiments import plan as plans
    from musicgen.errors import InputError

    name, scale = plans.find(options.name), plans.scale(options.scale)
    if options.seeds < 2 or not 0 < options.power < 1:
        raise InputError(
            f"--seeds is {options.seeds} and --power {options.power:g}: at least 2 seeds, and a chance between 0 and 1"
        )
    from experiments import power_report, runner

    folder = (options.results or runner.RESULTS) / name / scale.name
    print(power_report.text(plans.load(name), folder, options.seeds, options.power))


def _diagnose(options: argparse.Namespace) -> None:
    # After the arguments are read: the imports take seconds.
    from evaluation.reports.table import markdown
    from evaluation.systems.base import default_label
    from experiments import runner
    from experiments.diagnosis import FOLDER, diagnose

    name = default_label(options.model)
    results = diagnose(options.model, options.output / FOLDER / name, options.limit)
    file = (options.results or runner.RESULTS) / FOLDER / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    results.save(file)
    print(f"{markdown([results])}\n\n{file}")


def _list(_: argparse.Namespace) -> None:
    from experiments import plan as plans

    rows: list[tuple[str, ...]] = []
    for name in plans.names():
        plan = plans.load(name)
        rows.append((name, f"{plan.title}: {', '.join(plan.rows)}"))
    print(table_text.columns(rows))


if __name__ == "__main__":
    sys.exit(main())
