"""Screen and score a study: the paper's table on the screen; a report and tables as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import add_study, opened


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument(
        "--out", type=Path, help="folder of the report (default: results/ in the study, or beside the CSV)"
    )
    parser.add_argument(
        "--protocol", type=Path, help="YAML list of screening steps (default: the study's, or the paper's)"
    )
    parser.add_argument("--no-screening", action="store_true", help="score everybody")
    parser.add_argument("--ddof", type=int, choices=(0, 1), default=1, help="of the CrowdMOS variances (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of bootstrap and permutations")


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
        raise InputError(f"{arguments.study}: nobody has rated anything yet")
    if arguments.protocol is not None:
        protocol = yaml.safe_load(arguments.protocol.read_text(encoding="utf-8"))
        if not isinstance(protocol, list):
            raise InputError(f"{arguments.protocol}: must be a list of steps, such as - {{step: hidden_reference}}")
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
