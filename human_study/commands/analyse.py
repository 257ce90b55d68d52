"""Screen and analyse a study: prints the paper's table; writes a report and tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import add_study, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument(
        "--out", type=Path, help="folder of the report (default: results/ in the study folder, or beside the CSV file)"
    )
    parser.add_argument(
        "--protocol", type=Path, help="YAML list of screening steps (default: those of STUDY.yaml, or the paper's)"
    )
    parser.add_argument("--no-screening", action="store_true", help="keep all raters and ratings")
    parser.add_argument(
        "--ddof", type=int, choices=(0, 1), default=1, help="ddof of the CrowdMOS variances (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of bootstrap and permutations (default: 0)")


def run(arguments: argparse.Namespace) -> None:
    import yaml

    from musicgen.errors import InputError

    from ..analysis import ratings_csv, ratings_reader, report, results, tables

    protocol = None
    if arguments.study.suffix == ".csv":
        data, name, folder = (
            ratings_csv.read_csv(arguments.study),
            arguments.study.stem,
            arguments.study.parent / "results",
        )
    else:
        with opened(arguments) as (study, database), database.read() as connection:
            data = ratings_reader.read(connection, database, study)
            name, folder, protocol = study.settings.name, study.path / "results", study.settings.screening
    if not data.raters:
        raise InputError(f"{arguments.study}: there are no ratings yet")
    if arguments.protocol is not None:
        protocol = yaml.safe_load(arguments.protocol.read_text(encoding="utf-8"))
        if not isinstance(protocol, list):
            raise InputError(
                f"{arguments.protocol}: must be a YAML list of steps, such as - {{step: hidden_reference}}"
            )
    if arguments.no_screening:
        protocol = ()
    result = results.analyse(data, arguments.seed, protocol, arguments.ddof)
    print(tables.markdown(tables.paper(result)))
    if result.comparisons:
        print(tables.markdown(tables.comparisons(result)))
    if result.preferences:
        print(tables.markdown(tables.preferences(result)))
    print(tables.markdown(tables.steps(result)))
    files = report.write(result, name, arguments.out or folder)
    print(f"report: {files[0]}")
