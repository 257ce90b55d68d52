"""Screen and analyse a study: prints the paper's table; writes a report and tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen.folders import check_writable_folder

from .common import add_study, opened_for_reading, output_folder, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument(
        "--output",
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the report (default: results/ in the study folder, or beside the CSV file)",
    )
    parser.add_argument(
        "--protocol", type=Path, help="YAML list of screening steps (default: those of STUDY.yaml, or the paper's)"
    )
    parser.add_argument(
        "--scale", metavar="LOW:HIGH", help="scale of the ratings in a CSV file, such as 1:5 (default: 0:100)"
    )
    parser.add_argument("--no-screening", action="store_true", help="keep all raters and ratings")
    parser.add_argument(
        "--ddof", type=int, choices=(0, 1), default=1, help="ddof of the CrowdMOS variances (default: 1)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, 2**63 - 1), default=0, help="seed of bootstrap and permutations (default: 0)"
    )


def run(arguments: argparse.Namespace) -> None:
    from musicgen.errors import InputError

    from ..analysis import ratings, ratings_csv, ratings_reader, report, results, tables
    from ..design import documents, manifest

    if arguments.output is not None:
        check_writable_folder(arguments.output)
    protocol = None
    scale = None if arguments.scale is None else ratings.parse_scale(arguments.scale)
    if arguments.study.suffix == ".csv":
        data = ratings.with_scale(ratings_csv.read_csv(arguments.study), scale, str(arguments.study))
        name, folder = arguments.study.stem, arguments.study.parent / "results"
    else:
        if scale not in (None, ratings.DEFAULT_SCALE):
            raise InputError(
                f"--scale is {arguments.scale}: it is for CSV files, and a study's own pages have the scales of STUDY.yaml"
            )
        with opened_for_reading(arguments) as (study, database), database.read() as connection:
            data = ratings_reader.read(connection, database, study)
            name, folder, protocol = study.settings.name, study.path / "results", study.settings.screening
    if not data.raters:
        raise InputError(f"{arguments.study}: there are no ratings yet")
    if arguments.protocol is not None:
        protocol = documents.read_yaml(arguments.protocol)
        if not isinstance(protocol, list):
            raise InputError(
                f"{arguments.protocol}: must be a YAML list of steps, such as - {{step: hidden_reference}}"
            )
    if arguments.no_screening:
        protocol = ()
    result = results.analyse(data, arguments.seed, protocol, arguments.ddof)
    folder = output_folder(arguments.output or folder, arguments.output is not None)
    if result.scores:
        print(tables.markdown(tables.paper(result)))
    if result.comparisons:
        print(tables.markdown(tables.comparisons(result)))
    if result.preferences:
        print(tables.markdown(tables.preferences(result)))
    if result.matches:
        print(tables.markdown(tables.matches(result)))
    print(tables.markdown(tables.steps(result)))
    files = report.write(result, name, folder)
    manifest.make_private(*files)
    print(f"report: {files[0]}")
