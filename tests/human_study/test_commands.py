"""The command line from STUDY.yaml to the table, on both databases."""

import csv
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import select

from human_study.__main__ import COMMANDS, main
from human_study.database import schema, study_database
from human_study.design import manifest
from human_study.web.app import create_app
from tests.human_study.client import Rater
from tests.human_study.conftest import STUDY, free_port

ROOT = Path(__file__).parents[2]

VALUES = {"reference": 96, "bright": 80, "dull": 50, "anchor 7000 Hz": 45, "anchor 3500 Hz": 20}


def scripted(study, database, number):
    """A rater who knows what they hear: a fixed value a system, and a little of their own."""
    rater = Rater(create_app(study, database, hosts=("testserver",)))
    rater.start()

    def value(_trial, clip):
        with database.read() as connection:
            name = connection.execute(
                select(schema.clip.c.name)
                .join(schema.token, schema.token.c.clip_id == schema.clip.c.id)
                .where(schema.token.c.token == clip["token"])
            ).scalar_one()
        return VALUES[study.clips[name].system] + number

    return rater.rate_all(value)


@pytest.fixture
def rated(study_files, tmp_path, database_url, capsys):
    """A study built by the command, with three raters; (study, options)."""
    (study_files / "STUDY.yaml").write_text(STUDY)
    out = tmp_path / "study"
    assert main(["build", str(study_files / "STUDY.yaml"), "--out", str(out)]) == 0
    assert "9 pages" in capsys.readouterr().out
    study = manifest.read(out)
    database = study_database.open_database(study, database_url)
    for number in range(3):
        assert scripted(study, database, number)["stage"] == "done"
    database.dispose()
    return study, [str(out), "--database", database_url]


def test_three_raters_and_the_table(rated, capsys, tmp_path):
    _, options = rated
    assert main(["analyse", *options, "--out", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| system \| OVL \| REL \| MEL \|", printed)
    row = next(line for line in printed.splitlines() if line.startswith("| bright"))
    assert re.search(r"8[0-2]\.\d\d±\d+\.\d\d", row)
    assert (tmp_path / "results" / "report.html").is_file()
    assert main(["export", *options, "--out", str(tmp_path / "export")]) == 0
    with (tmp_path / "export" / "ratings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (5 + 2 + 2)
    assert {row["system"] for row in rows} == set(VALUES)
    # What was exported gives the same table again.
    assert main(["analyse", str(tmp_path / "export" / "ratings.csv"), "--out", str(tmp_path / "again")]) == 0
    assert row in capsys.readouterr().out
    assert (tmp_path / "again" / "table.md").read_text() == (tmp_path / "results" / "table.md").read_text()


def test_protocols_screening_and_deleting(rated, capsys, tmp_path):
    _, options = rated
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump([{"step": "hidden_reference", "below": 97, "mode": "mean"}]))
    assert main(["analyse", *options, "--protocol", str(tmp_path / "strict.yaml"), "--out", str(tmp_path / "r")]) == 0
    assert "| hidden_reference |" in capsys.readouterr().out
    exclusions = (tmp_path / "r" / "exclusions.csv").read_text()
    assert "below 97" in exclusions
    assert main(["screen", *options]) == 0
    assert re.search(r"^\d+ raters? excluded", capsys.readouterr().out, re.MULTILINE)
    assert main(["invite", *options, "--count", "2", "--label", "=1+1"]) == 0
    assert len(re.findall(r"/\?code=[2-9a-z]{12}\n", capsys.readouterr().out)) == 2
    name = exclusions.splitlines()[1].split(",")[1]
    assert main(["delete-rater", *options, name]) == 0
    assert main(["delete-rater", *options, name]) == 2
    capsys.readouterr()
    main(["export", *options, "--out", str(tmp_path / "export")])
    assert name not in (tmp_path / "export" / "ratings.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "none.yaml"], "no such study file"),
        (["serve", "none"], "not a built study"),
        (["serve", "study.yaml"], "build it first"),
        (["serve", "none", "--host", "0.0.0.0"], "--public-url"),
        (["analyse", "none.csv"], "no such file"),
        (["prolific", "status", "abc"], "PROLIFIC_TOKEN"),
        (["power", "0"], "difference is 0"),
    ],
)
def test_errors_are_one_line_and_code_2(arguments, message, capsys, monkeypatch):
    monkeypatch.delenv("PROLIFIC_TOKEN", raising=False)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_nobody_rated_yet(build_study, capsys):
    assert main(["analyse", str(build_study().path)]) == 2
    assert "there are no ratings yet" in capsys.readouterr().err


def test_power_and_import(capsys, tmp_path):
    assert main(["power", "5", "--comparisons", "3"]) == 0
    assert re.match(r"\d+ raters? an item, \d+ raters of 10 pages", capsys.readouterr().out)
    source = tmp_path / "mushra.csv"
    source.write_text("session_test_id,trial_id,rating_stimulus,rating_score\nann,t1,C1,60\nann,t1,reference,99\n")
    convert = ["import", str(source), "--format", "webmushra", "--out", str(tmp_path / "ours.csv")]
    assert main(convert) == 2
    assert "name the column of the rater with --rater-column" in capsys.readouterr().err
    assert main([*convert, "--rater-column", "session_test_id"]) == 0
    printed = capsys.readouterr().out
    assert "2 ratings by 1 rater\n" in printed
    assert "raters are told apart by the column session_test_id" in printed
    assert main(["analyse", str(tmp_path / "ours.csv"), "--no-screening"]) == 0
    assert "| C1 | 60.00 |" in capsys.readouterr().out


def test_the_example_builds_at_once(tmp_path, capsys):
    assert main(["example", str(tmp_path), "--build-only"]) == 0
    assert "clips" in capsys.readouterr().out
    study = manifest.read(tmp_path / "study")
    assert {page.question for page in study.pages.values() if page.kind == "rating"} == {"OVL", "REL", "MEL"}
    assert main(["example", str(tmp_path), "--build-only"]) == 0


@pytest.mark.parametrize("signal_sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_the_normal_end_of_a_server(study_files, tmp_path, signal_sent):
    """Of `serve` and of `example`, whose study is built already."""
    (study_files / "STUDY.yaml").write_text(STUDY)
    assert main(["build", str(study_files / "STUDY.yaml"), "--out", str(tmp_path / "study")]) == 0
    for command, folder in (("serve", tmp_path / "study"), ("example", tmp_path)):
        port = free_port()
        arguments = [sys.executable, "-m", "human_study", command, str(folder), "--port", str(port)]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            try:
                while True:
                    try:
                        httpx.get(f"http://127.0.0.1:{port}/", timeout=30, trust_env=False)
                        break
                    except httpx.TransportError:
                        assert program.poll() is None
                program.send_signal(signal_sent)
                _, told = program.communicate(timeout=30)
            finally:
                program.kill()
        assert (program.returncode, told) == (0, b"")


def test_every_command_has_help(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert capsys.readouterr().out.startswith("usage: python -m human_study")
