"""The tables in README and docs are those of the stored results."""

import re
from pathlib import Path

import pytest

from benchmarks import report

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", report.DOCUMENTS)
def test_documents_show_the_stored_results(name):
    text = (ROOT / name).read_text()
    assert "<!-- benchmarks.report: " in text
    assert report.rendered(text) == text, "run: python -m benchmarks.report"


def test_every_stored_result_is_shown():
    shown = "".join((ROOT / name).read_text() for name in report.DOCUMENTS)
    blocks = re.findall(r"<!-- benchmarks\.report: (\S+) -->", shown)
    assert {report.TABLES[block][1] for block in blocks} - {""} == {path.stem for path in report.RESULTS.glob("*.json")}


def test_ratios_follow_from_the_seconds():
    rows = [line.strip("| ").split(" | ") for line in report.generation("generation-small-cpu").splitlines()]
    ours = next(row for row in rows if row[:2] == ["this project", "int4"])
    stored = {(one["system"], one["precision"]): one for one in report.result("generation-small-cpu")["results"]}
    assert float(ours[3]) == pytest.approx(stored["ours", "int4"]["ratio_to_transformers_float32"], abs=0.01)
    assert float(ours[5]) == pytest.approx(stored["ours", "int4"]["ratios"]["audiocraft"], abs=0.01)


def test_a_table_that_does_not_exist_is_named():
    with pytest.raises(SystemExit, match="no table 'nothing'"):
        report.rendered("<!-- benchmarks.report: nothing -->\n<!-- end -->")


def test_a_comparison_shows_the_peers_that_took_part_and_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = report.result("generation-small-cpu")
    stored["results"] = [one for one in stored["results"] if one["system"] != "audiocraft"]
    ours = [one for one in stored["results"] if one["system"] == "ours"]
    for times, one in enumerate(ours, start=2):
        one["times_the_bound"] = times + 0.04
    monkeypatch.setattr(report, "result", lambda _: stored)
    header, _, *rows = [line.strip("| ").split(" | ") for line in report.generation("any").splitlines()[: 2 + 5]]
    assert header[3:] == ["× transformers float32", "× transformers' best", "times the bound"]
    shown = {tuple(row[:2]): row[-1] for row in rows}
    assert [shown["this project", one["precision"]] for one in ours] == ["2.0", "3.0", "4.0"]
    assert shown["transformers", "float32"] == "–"
