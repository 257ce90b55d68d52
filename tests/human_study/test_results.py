"""From ratings to tables: by hand, through files, and as a report that stands alone."""

import csv
import dataclasses
import html
import io
import re

import numpy as np
import pytest
from markdown_it import MarkdownIt

from human_study.__main__ import main
from human_study.analysis import import_formats, power, ratings, ratings_csv, report, results, tables
from human_study.analysis.ratings import Preference, Rating, StudyData
from musicgen import statistics
from musicgen.errors import InputError, one_line
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
    "text",
    ["=1+1", "+1", "-1", "-1.5e3", "-1+1", "+A1", "@SUM(A1)", "\tx", "\r=x", "\n=x", "＝1", 'a,b\n"c"', "ümlaut", "'=x", "''=x",
     "'-1", "'quoted"],
)  # fmt: skip
def test_cells_never_start_a_formula_and_come_back(tmp_path, text):
    data = StudyData((Rating(text, "OVL", text, "sys", "system", 50.0, 1.0, 3.5, 0, 2),))
    out = ratings_csv.to_csv(ratings_csv.rows_of(data))
    for row in csv.reader(io.StringIO(out, newline="")):
        for cell in row:
            if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝")):
                float(cell)  # a number is no formula
    file = tmp_path / "ratings.csv"
    file.write_text(out, newline="")
    assert ratings_csv.read_csv(file) == data


def test_numbers_stay_numbers_and_headers_are_no_formulas():
    rows = [["system", "=HYPERLINK(1)", "@x", "-1"], ["a", "-1.25", "+3.00", "-"], ["b", "–", "< 0.001", "=1"]]
    read = list(csv.reader(io.StringIO(tables.csv(rows), newline="")))
    assert read[0] == ["system", "'=HYPERLINK(1)", "'@x", "-1"]
    assert read[1:] == [["a", "-1.25", "+3.00", "'-"], ["b", "–", "< 0.001", "'=1"]]
    # Columns of one name are columns all the same, and a table without rows has its header.
    assert tables.csv([["a", "a"], ["1", "2"]]) == "a,a\r\n1,2\r\n"
    assert tables.csv([["a", "b"]]) == "a,b\r\n"


def test_negative_differences_are_numbers_in_the_tables(tmp_path):
    given = [
        Rating(f"r{r}", "OVL", f"i{i}", system, "system", value + r + i)
        for r in range(3) for i in range(4) for system, value in (("a", 20), ("=b", 70))
    ]  # fmt: skip
    report.write(results.analyse(StudyData(tuple(given)), protocol=()), "t", tmp_path)
    with (tmp_path / "comparisons.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["first"], row["second"]) == ("'=b", "a")
    assert float(row["difference"]) == 50
    with (tmp_path / "screening.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert not any(name.startswith(("=", "+", "-", "@")) for name in header)


def test_a_report_of_strangers_names_is_text(tmp_path, capsys):
    """Files of other programs hold any names: the tables, the report and the terminal show them."""
    name = "[x](http://y) |<b>|\\input{a}\n%\x1b[31m"
    given = [
        Rating(f"r{r}", "OVL", f"i{i}", system, "system", value + r + i)
        for r in range(3) for i in range(4) for system, value in ((name, 20), ("b", 70))
    ]  # fmt: skip
    report.write(results.analyse(StudyData(tuple(given)), protocol=()), name, tmp_path)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render((tmp_path / "table.md").read_text())
    assert html.unescape(re.findall(r"<td>(.*?)</td>", page, re.DOTALL)[0]) == one_line(name)
    assert re.search(r"<(a|b)\b", page) is None
    rows = (tmp_path / "table.tex").read_text().splitlines()
    assert len(rows) == 2 + 1 + 1 + 2 + 2
    assert not any("\\input" in row or "\x1b" in row for row in rows)
    assert "<b>" not in (tmp_path / "report.html").read_text()
    file = tmp_path / "ratings.csv"
    file.write_text(ratings_csv.to_csv(ratings_csv.rows_of(StudyData(tuple(given)))), newline="")
    assert main(["analyse", str(file), "--output", str(tmp_path / "out")]) == 0
    assert "\x1b" not in capsys.readouterr().out


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
        ("rater,item,system,value\na,b,c,1_0\n", "value is '1_0'"),
        ("rater,item,system,value\na,b,c,٣\n", "value is '٣': not a number"),
        (f"rater,item,system,value\na,b,c,{'9' * 5000}\n", "a finite number is needed"),
        ("rater,item,system,value,position\na,b,c,1,1e300\n", "position is 1e300"),
        ("rater,item,system,value,heard\na,b,c,1,7\n", "heard is 7"),
        ("rater,item,system,value\na,b,c,1,2\n", "has 5 cells, and the header has 4"),
        ("rater,item,system,value\na,b,c\n", "has 3 cells"),
        ("rater,item,system,value,role\na,b,c,1,\n", "role is empty"),
        ("rater,item,system,value,question\na,b,c,1,\n", "question is empty"),
        ("rater,item,system,value,value\na,b,c,1,2\n", "'value' is there twice"),
        ("rater,item,system,value\nr1,i1,a,50\nr1,i1,a,60\n", "csv:3: rater r1 has rated a of item i1 in line 2"),
        ("rater,item,system,value\na,b,c\0,1\n", "zero bytes"),
        (f"rater,item,system,value\na,b,{'x' * 200000},1\n", "is not CSV"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            ratings_csv.read_csv(file)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
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
    data = import_formats.read(file, "webmushra").data
    assert [(r.rater, r.item, r.system, r.role, r.value, r.seconds) for r in data.ratings] == [
        ("uuid-1", "trial1", "reference", "reference", 100.0, 12.345),
        ("uuid-1", "trial1", "C1", "system", 60.0, 12.345),
        ("uuid-1", "trial1", "anchor 3500 Hz", "anchor", 20.0, 12.345),
    ]
    file.write_text(
        "session_test_id,session_uuid,trial_id,choice_reference,choice_non_reference,choice_answer,choice_time,choice_comment\n"
        "test,u,t1,ours,theirs,non_reference,10,\n"
    )
    assert import_formats.read(file, "webmushra").data.preferences == (
        Preference("u", "AB", "t1", ("ours", "theirs"), "theirs"),
    )
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a result file of webMUSHRA"):
        import_formats.read(file, "webmushra")
    with pytest.raises(InputError, match="format is 'xml'"):
        import_formats.read(file, "xml")


MUSHRA = "session_test_id,{questions}trial_id,rating_stimulus,rating_score,rating_time\n"


def webmushra(folder, questions, rows, name="mushra.csv"):
    file = folder / name
    lines = [",".join(["test", *answers, "t1", stimulus, str(score), "1000"]) for answers, stimulus, score in rows]
    file.write_text(MUSHRA.format(questions="".join(f"{q}," for q in questions)) + "\n".join(lines) + "\n")
    return file


def test_webmushra_tells_raters_apart_without_a_session(tmp_path):
    """Files from before 2022 have no session_uuid; later ones have an empty one where the browser gave none."""
    people = [("ann@x.org", "30"), ("bob@x.org", "30"), ("cy@x.org", "41")]
    rows = [(who, stimulus, 50) for who in people for stimulus in ("reference", "C1")]
    old = import_formats.read(webmushra(tmp_path, ("email", "age"), rows), "webmushra").data
    assert len(old.raters) == 3
    assert "x.org" not in repr(old)  # an address is no pseudonym
    empty = [((*who, ""), stimulus, score) for who, stimulus, score in rows]
    assert (
        import_formats.read(webmushra(tmp_path, ("email", "age", "session_uuid"), empty), "webmushra").data.raters
        == old.raters
    )
    mixed = [((*who, "u1" if who[0].startswith("ann") else ""), s, score) for who, s, score in rows]
    file = webmushra(tmp_path, ("email", "age", "session_uuid"), mixed)
    assert sorted(import_formats.read(file, "webmushra").data.raters) == sorted(
        {"u1", *old.raters} - {old.ratings[0].rater}
    )
    apart = import_formats.read(file, "webmushra").told_apart_by
    assert "in 4 rows without it the answers to the questionnaire (email, age)" in apart
    assert len(import_formats.read(file, "webmushra", "age").data.raters) == 2  # stated, and so taken


@pytest.mark.parametrize(
    ("questions", "rows", "message"),
    [
        ((), [((), "C1", 50)], "nothing tells who rated"),
        (("session_uuid",), [(("",), "C1", 50)], "nothing tells who rated"),
        (("email", "age"), [(("a", "1"), "C1", 50), (("", " "), "C2", 50)], ":3: nothing tells who rated"),
        (("age",), [(("30",), "C1", 50), (("30",), "C1", 70)], "has rated this in line 2"),
        (("email",), [(("a",), "", 50)], "rating_stimulus is empty"),
        (("email",), [(("a",), "C1", "")], "rating_score is ''"),
    ],
)
def test_webmushra_is_refused_where_nothing_tells_raters_apart(tmp_path, questions, rows, message):
    with pytest.raises(InputError, match=message) as caught:
        import_formats.read(webmushra(tmp_path, questions, rows), "webmushra")
    if "rate" in message:
        assert "--rater-column" in str(caught.value) or "rating" in message


def test_webmushra_pairs(tmp_path):
    """paired_comparison.csv never has a session_uuid; its answers say whether the reference was found."""
    head = "session_test_id,email,trial_id,choice_reference,choice_non_reference,choice_answer,choice_time,choice_comment\n"
    file = tmp_path / "paired_comparison.csv"
    answers = {"correct": "ours", "incorrect": "theirs", "undecided": None, "unknown": None}
    lines = [f"test,p{n},t1,ours,theirs,{answer},10," for n, answer in enumerate(answers)]
    file.write_text(head + "\n".join(lines) + "\n")
    read = import_formats.read(file, "webmushra").data
    assert [p.preferred for p in read.preferences] == list(answers.values())
    assert len(read.raters) == 4
    file.write_text(head + "test,p,t1,ours,theirs,perhaps,10,\n")
    with pytest.raises(InputError, match="choice_answer is 'perhaps'"):
        import_formats.read(file, "webmushra")
    with pytest.raises(InputError, match="--rater-column is 'nobody'"):
        import_formats.read(file, "webmushra", "nobody")


def on_a_scale(low, high, raters=6):
    """Raters of a table on another scale: the reference at its upper end, two systems below it."""
    rng = np.random.default_rng(4)
    return StudyData(
        tuple(
            Rating(f"r{r}", "OVL", f"i{i}", system, role, float(low + share * (high - low)))
            for r in range(raters) for i in range(6)
            for system, role, share in (("reference", "reference", 1.0), ("a", "system", rng.uniform(0.5, 0.9)),
                                        ("b", "system", rng.uniform(0.1, 0.5)))
        )
    )  # fmt: skip


def test_scales_give_the_same_result_at_the_same_place():
    """The thresholds stand at the same place of every scale: means are moved and stretched, exclusions stay."""
    hundred = results.analyse(ratings.with_scale(on_a_scale(0, 100), (0, 100), "x"))
    five = results.analyse(ratings.with_scale(on_a_scale(1, 5), (1, 5), "x"))
    assert [s.score.workers for s in five.scores] == [s.score.workers for s in hundred.scores] == [6] * 3
    assert [(s.score.mean - 1) / 4 for s in five.scores] == pytest.approx([s.score.mean / 100 for s in hundred.scores])
    assert five.alone == hundred.alone
    assert "below 4.4, mean" in [row[0] for row in tables.variants(five)]
    low = StudyData((*on_a_scale(1, 5).ratings, Rating("r9", "OVL", "i0", "reference", "reference", 4.3)), scale=(1, 5))
    assert [e.reason for e in results.analyse(low, protocol=[{"step": "hidden_reference"}]).screened.exclusions] == [
        "hidden reference 4.30 on average: below 4.4"
    ]
    text = report.html(five, "t")
    assert text.count("<svg") == 3
    assert "1 to 1.2" in text  # the histogram has the scale's bins


@pytest.mark.parametrize(
    ("low", "high", "scale", "message"),
    [
        (1, 5, None, r"the highest of 108 ratings is 5, which looks like another scale than 0 to 100: .*--scale 1:5"),
        (0, 10, None, r"--scale [01]:10, or --scale 0:100"),
        (0, 100, (1, 5), r"outside the scale from 1 to 5"),
        (-3, 3, None, r"outside the scale from 0 to 100"),
        (0, 1000, None, r"with 1000, outside the scale from 0 to 100"),
    ],
)
def test_other_scales_are_asked_for(low, high, scale, message):
    with pytest.raises(InputError, match=message):
        ratings.with_scale(on_a_scale(low, high), scale, "x.csv")


@pytest.mark.parametrize("text", ["5", "5:1", "1:1", "a:b", "0:inf", "0:1e999", "nan:1", ":", "1:2:3", "9" * 50 + ":1"])
def test_bad_scales(text):
    with pytest.raises(InputError, match="LOW:HIGH"):
        ratings.parse_scale(text)


def test_nobody_left_is_an_error_that_names_the_step():
    data = StudyData(on_a_scale(1, 5).ratings)  # on 0 to 100 a reference at 5 is bad
    with pytest.raises(
        InputError, match=r"nobody is left: screening step hidden_reference .*the last 6 of 6 raters"
    ) as e:
        results.analyse(data)
    assert "\n" not in str(e.value)


def test_the_error_counts_those_who_went_out_before():
    rows = on_a_scale(1, 5).ratings
    first = rows[0].rater
    data = StudyData(rows, failed_checks={first: 1})
    with pytest.raises(
        InputError,
        match=r"the last 5 of 6 raters \(before it: attention 1\), the first because of '.*--no-screening shows the table",
    ):
        results.analyse(data, protocol=[{"step": "attention"}, {"step": "hidden_reference"}])


def test_agreement_takes_the_mean_of_repeated_ratings():
    base = [Rating(r, "OVL", f"i{i}", "a", "system", 10 * i + d) for r, d in (("x", 0), ("y", 1)) for i in range(6)]
    twice = [dataclasses.replace(b, value=b.value + s) for b in base for s in (-3, 3)]
    one, two = (results.analyse(StudyData(tuple(d)), protocol=()).agreements[0].alpha for d in (base, twice))
    assert one == pytest.approx(two)


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
