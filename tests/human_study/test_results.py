"""From ratings to tables: by hand, through files, and as a report that stands alone."""

import csv
import io
import re

import numpy as np
import pytest

from human_study.analysis import imports, power, ratings_csv, report, results, tables
from human_study.analysis.ratings import Preference, Rating, StudyData
from musicgen import statistics
from musicgen.errors import InputError
from tests.human_study import simulation


@pytest.fixture(scope="module")
def result():
    data, _ = simulation.study(np.random.default_rng(1), honest=20, careless=4, items=12, pages=10)
    return results.analyse(data)


def test_the_papers_table(result):
    rows = tables.paper(result)
    assert rows[0] == ["system", "OVL"]
    assert [row[0] for row in rows[1:]] == ["reference", "fair", "good", "anchor 3500 Hz", "anchor 7000 Hz"]
    assert all(re.fullmatch(r"\d+\.\d\d±\d+\.\d\d", row[1]) for row in rows[1:])
    assert tables.markdown(rows).splitlines()[1] == "|---|---|"
    assert r"$\pm$" in tables.latex(rows)
    assert r"\begin{tabular}{lc}" in tables.latex(rows)
    score = next(s for s in result.scores if s.system == "good")
    kept = [r.value for r in result.screened.data.ratings if r.system == "good"]
    assert score.score.mean == pytest.approx(np.mean(kept))
    assert abs(score.score.mean - 75) < 5


def test_comparisons_are_paired_by_item_and_corrected():
    rng = np.random.default_rng(2)
    data = StudyData(
        tuple(
            Rating(f"r{r}", "OVL", f"i{i}", system, "system", 50 + 3 * i + shift + rng.normal(0, 2))
            for r in range(4)
            for i in range(10)
            for system, shift in (("a", 0), ("b", 5), ("c", 5.2))
        )
    )
    result = results.analyse(data, protocol=())
    found = {(c.first, c.second): c for c in result.comparisons}
    assert found["a", "b"].difference == pytest.approx(-5, abs=1.5)
    assert found["a", "b"].adjusted < 0.05 < found["b", "c"].adjusted
    assert found["a", "b"].interval.low <= found["a", "b"].difference <= found["a", "b"].interval.high < 0
    raw = [c.permutation for c in result.comparisons]
    assert [c.adjusted for c in result.comparisons] == pytest.approx(statistics.holm(raw))


def test_preferences_by_hand():
    pages = [Preference(f"r{n}", "AB", "i", ("a", "b"), "a" if n < 9 else "b" if n < 10 else None) for n in range(12)]
    (pair,) = results.analyse(StudyData((), tuple(pages)), protocol=()).preferences
    assert (pair.wins_first, pair.wins_second, pair.ties) == (9, 1, 2)
    assert pair.share == 0.9
    assert pair.p == pytest.approx(2 * (10 + 1) / 2**10)
    # Wilson's interval of 9 in 10 by its formula.
    z = 1.959964
    centre = (0.9 + z * z / 20) / (1 + z * z / 10)
    half = z / (1 + z * z / 10) * np.sqrt(0.09 / 10 + z * z / 400)
    assert (pair.low, pair.high) == (pytest.approx(centre - half, abs=1e-4), pytest.approx(centre + half, abs=1e-4))
    assert "| AB | a | b | 9 | 1 | 2 |" in tables.markdown(
        tables.preferences(results.analyse(StudyData((), tuple(pages))))
    )


def test_the_hidden_reference_rule_is_shown_in_every_reading(result):
    rows = tables.variants(result)
    assert [row[0] for row in rows[1:]] == ["not applied", "below 85, any", "below 85, mean", "below 85, fraction"]
    counts = [int(row[1]) for row in rows[1:]]
    assert counts[0] == 0 < counts[2] <= counts[1]


def test_the_report_is_one_safe_file(result, tmp_path):
    files = report.write(result, "<script>alert(1)</script>", tmp_path)
    text = files[0].read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"(src|href)\s*=", text)
    assert text.count("<svg") == 3
    assert (tmp_path / "table.tex").read_text().startswith(r"\begin{tabular}")
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == "system,OVL"


def test_same_seed_same_report(result):
    data, _ = simulation.study(np.random.default_rng(1), honest=20, careless=4, items=12, pages=10)
    assert report.html(results.analyse(data), "x") == report.html(result, "x")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=x", 'a,b\n"c"', "ümlaut", "'=x", "'quoted"]
)
def test_cells_never_start_a_formula_and_come_back(tmp_path, text):
    data = StudyData((Rating(text, "OVL", text, "sys", "system", 50.0, 1.0, 3.5, 0, 2),))
    out = ratings_csv.to_csv(ratings_csv.rows_of(data.ratings))
    for row in csv.reader(io.StringIO(out, newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
    file = tmp_path / "ratings.csv"
    file.write_text(out, newline="")
    if "\r" not in text and text != "'=x":
        assert ratings_csv.read_csv(file) == data


def test_reading_a_strangers_csv(tmp_path):
    file = tmp_path / "r.csv"
    file.write_text("\ufeffrater;item;system;value\nann;1;reference;99\nann;1;ours;70,5\n".replace(",", "."))
    data = ratings_csv.read_csv(file)
    assert [(r.role, r.value, r.question) for r in data.ratings] == [
        ("reference", 99.0, "OVL"),
        ("system", 70.5, "OVL"),
    ]
    for text, message in (
        ("rater,item,system\na,b,c\n", "no value"),
        ("rater,item,system,value\na,b,c,good\n", "value is 'good'"),
        ("rater,item,system,value\na,b,c,nan\n", "finite"),
        ("rater,item,system,value,role\na,b,c,1,judge\n", "role is 'judge'"),
        ("rater,item,system,value\n", "contains no ratings"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            ratings_csv.read_csv(file)
    with pytest.raises(InputError, match="no such file"):
        ratings_csv.read_csv(tmp_path / "none.csv")


def test_webmushra(tmp_path):
    file = tmp_path / "mushra.csv"
    file.write_text(
        "session_test_id,email,age,session_uuid,trial_id,rating_stimulus,rating_score,rating_time,rating_comment\n"
        'test,"a@b.c",30,uuid-1,trial1,reference,100,12345,""\n'
        'test,"a@b.c",30,uuid-1,trial1,C1,60,12345,"said ""nice"""\n'
        'test,"a@b.c",30,uuid-1,trial1,anchor35,20,12345,""\n'
    )
    data = imports.read(file, "webmushra")
    assert [(r.rater, r.item, r.system, r.role, r.value, r.seconds) for r in data.ratings] == [
        ("uuid-1", "trial1", "reference", "reference", 100.0, 12.345),
        ("uuid-1", "trial1", "C1", "system", 60.0, 12.345),
        ("uuid-1", "trial1", "anchor 3500 Hz", "anchor", 20.0, 12.345),
    ]
    file.write_text(
        "session_test_id,session_uuid,trial_id,choice_reference,choice_non_reference,choice_answer,choice_time,choice_comment\n"
        "test,u,t1,ours,theirs,non_reference,10,\n"
    )
    assert imports.read(file, "webmushra").preferences == (Preference("u", "AB", "t1", ("ours", "theirs"), "theirs"),)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a result file of webMUSHRA"):
        imports.read(file, "webmushra")
    with pytest.raises(InputError, match="format is 'xml'"):
        imports.read(file, "xml")


def test_power_agrees_with_simulation():
    wanted = power.sample_size(4.0, 40, 10, residual=14, item=6)
    rng = np.random.default_rng(3)
    shown = 0
    for _ in range(1500):
        difference = rng.normal(4, 6, 40) + rng.normal(0, 14 * np.sqrt(2 / wanted.raters_per_item), 40)
        t = difference.mean() / (difference.std(ddof=1) / np.sqrt(40))
        shown += abs(t) > 2.0227  # t(0.975, 39)
    assert wanted.power >= 0.8
    assert shown / 1500 == pytest.approx(wanted.power, abs=0.035)
    assert power.sample_size(4.0, 40, 10, residual=14, item=6, comparisons=6).raters_per_item > wanted.raters_per_item
    assert wanted.raters == -(-wanted.raters_per_item * 40 // 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 40, 10), "an unlimited number of raters"),
        ((0, 40, 10), "difference is 0"),
        ((5, 1, 10), "items is 1"),
        ((5, 9, 0), "trials"),
    ],
)
def test_power_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        power.sample_size(*arguments)
