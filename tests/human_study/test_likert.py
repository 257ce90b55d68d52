"""Labelled scales, from STUDY.yaml to the report: what is taken, what is stored, and that every number stays on its scale."""

import csv

import numpy as np
import pytest
from scipy import stats

from human_study.__main__ import main
from human_study.analysis import exports, plots, ratings_csv, ratings_reader, report, results, tables
from human_study.analysis import ratings as ratings_module
from human_study.analysis.ratings import Rating, StudyData
from human_study.design import study_settings
from human_study.web.load_test import complete_answer
from musicgen.errors import InputError

SEVEN = """[
  {name: MOS, method: likert, text: {en: "How good?", de: "Wie gut?"}},
  {name: EFFORT, method: likert, stimuli: multiple, hidden_reference: true, text: {en: "How hard?", de: "Wie schwer?"},
   labels: {en: [none, '', '', some, '', '', all], de: [nichts, '', '', etwas, '', '', alles]}}]""".replace("\n", " ")


def parse(question, **settings):
    return study_settings.parse({"name": "t", "systems": {"a": "x"}, "questions": [question]} | settings, "STUDY.yaml")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"points": 1}, "points is 1: from 2 to 11"),
        ({"points": 12}, "points is 12: from 2 to 11"),
        ({"points": 7}, "points is 7, and there are no labels: 5 points have those of ITU-T P.800"),
        ({"points": 4, "labels": {"en": ["a", "b"], "de": ["a", "b"]}}, "labels: en has 2, and the scale has 4 points"),
        ({"labels": {"en": ["a", "b"]}}, "no labels for de"),
        ({"labels": {"en": ["a", "b"], "de": ["a", "b", "c"]}}, "labels: de has 3, and the scale has 2"),
        ({"labels": {"en": "ab"}}, "labels: en must be a list, not str"),
        ({"labels": {"en": [1, 2]}}, "labels: en: 1 is no text"),
        ({"labels": {1: ["a", "b"]}}, "labels: 1 is no text"),
        ({"method": "rating", "points": 5}, "points and labels are for the method likert"),
        ({"method": "mushra", "stimuli": "single"}, "stimuli is single"),
        ({"stimuli": "one"}, "stimuli is 'one': one of single, multiple"),
        ({"label": {}}, "did you mean labels"),
    ],
)
def test_scales_that_cannot_be_are_one_line(question, message):
    with pytest.raises(InputError, match=message) as caught:
        parse({"name": "OVL", "method": "likert"} | question, reference="r")
    assert "\n" not in str(caught.value)


def test_the_default_is_the_absolute_category_rating_of_p800():
    (question,) = parse({"name": "OVL", "method": "likert"}).questions
    assert (question.scale, question.stimuli, question.labels) == ((1, 5), "single", {})
    (labelled,) = parse(
        {"name": "OVL", "method": "likert", "labels": {"en": ["no", "yes"], "de": ["nein", "ja"]}}
    ).questions
    assert labelled.scale == (1, 2)


@pytest.fixture
def session(build_study, open_app):
    study = build_study(questions=SEVEN, raters_per_sample=1)
    database, new = open_app(study)
    return study, database, new


def test_pages_have_one_clip_or_all_and_values_of_their_scale(session):
    study, database, new = session
    counts = {}
    for page in study.pages.values():
        counts.setdefault(page.question, set()).add(len(page.stimuli))
    assert counts == {"MOS": {1}, "EFFORT": {3}}
    rater = new()
    state = rater.start()
    texts = rater.http.get("/texts/de.json").json()
    assert texts["labels"] == {"EFFORT": ["nichts", "", "", "etwas", "", "", "alles"]}
    assert [texts["bands"][band] for band in state["trial"]["bands"]][-1] == "Exzellent"
    seen = set()
    while state["stage"] == "trial":
        trial = state["trial"]
        high = {"MOS": 5, "EFFORT": 7}[trial["question"]]
        assert trial["scale"] == [1, high]
        seen.add(trial["question"])
        body = complete_answer(trial)
        for wrong in (0, high + 1, 50):
            values = dict.fromkeys(body["values"], wrong)
            refused = rater.submit(trial, body | {"values": values})
            assert (refused.status_code, refused.json()["code"]) == (422, "bad_value")
            assert f"from 1 to {high}" in refused.json()["error"]
        assert rater.submit(trial, body).status_code == 200
        state = rater.state()
    assert seen == {"MOS", "EFFORT"}
    while (rater := new()).start()["stage"] == "trial":
        rater.rate_all(lambda trial, _clip: trial["scale"][1])
    with database.read() as connection:
        data = ratings_reader.read(connection, database, study)
        rows = exports.raw_tables(connection, database, study)["ratings"]
    assert data.scales == {"MOS": (1.0, 5.0), "EFFORT": (1.0, 7.0)}
    assert {row["question"]: row["scale"] for row in rows} == {"MOS": "1:5", "EFFORT": "1:7"}
    assert len(data.ratings) == 6 + 9  # three items of two systems; with the hidden reference for EFFORT


def test_an_exported_table_is_read_with_its_scales(session, tmp_path, capsys):
    study, database, new = session
    while (rater := new()).start()["stage"] == "trial":
        rater.rate_all(lambda trial, _clip: trial["scale"][1])
    with database.read() as connection:
        data = ratings_reader.read(connection, database, study)
    file = tmp_path / "ratings.csv"
    file.write_text(ratings_csv.to_csv(ratings_csv.rows_of(data), ratings_csv.COLUMNS), newline="")
    again = ratings_module.with_scale(ratings_csv.read_csv(file), None, "x")
    assert (again.ratings, again.scales) == (data.ratings, data.scales)
    assert main(["analyse", str(file), "--no-screening"]) == 0
    printed = capsys.readouterr().out
    assert "| system | EFFORT (1 to 7) | MOS (1 to 5) |" in printed
    assert "| bright | 7.00" in printed
    assert main(["analyse", str(file), "--scale", "1:9"]) == 2
    assert "the column scale says" in capsys.readouterr().err
    rows = list(csv.reader(file.open(newline="")))
    rows[1][rows[0].index("scale")] = "1:9"
    file.write_text("\r\n".join(",".join(row) for row in rows))
    with pytest.raises(InputError, match="rows before it have another for question"):
        ratings_csv.read_csv(file)


def test_mean_opinion_scores_have_the_interval_of_the_others():
    """One rating of every item by every rater, rater and item effects absent: the plain interval is Student's of scipy."""
    rng = np.random.default_rng(0)
    votes = rng.integers(1, 6, (8, 10))
    data = StudyData(
        tuple(Rating(f"r{r}", "MOS", f"i{i}", "a", "system", float(votes[r, i])) for r in range(8) for i in range(10)),
        scales={"MOS": (1, 5)},
    )
    (score,) = results.analyse(data, protocol=()).scores
    low, high = stats.t.interval(0.95, votes.size - 1, votes.mean(), stats.sem(votes, axis=None))
    assert score.score.mean == pytest.approx(votes.mean())
    assert score.plain == pytest.approx((high - low) / 2)
    assert score.score.half_width > 0
    drawn = plots.distributions([score], (1, 5))  # a bin for each grade
    for grade in range(1, 6):
        assert f"<title>{grade}: {(votes == grade).sum()}</title>" in drawn


def test_thresholds_stand_at_the_same_place_of_each_questions_scale():
    """A rater's references on two scales, each at the same height: the mean is in points of 100."""
    data = StudyData(
        tuple(
            Rating(rater, question, f"i{i}", "reference", "reference", low + share * (high - low))
            for rater, share in (("good", 0.9), ("bad", 0.8))
            for question, (low, high) in {"MOS": (1, 5), "OVL": (0, 100)}.items()
            for i in range(3)
        ),
        scales={"MOS": (1, 5), "OVL": (0, 100)},
    )
    result = results.analyse(data, protocol=[{"step": "hidden_reference"}])
    assert [(e.rater, e.reason) for e in result.screened.exclusions] == [
        ("bad", "hidden reference 80 of 100 on average: below 85 of 100")
    ]
    assert [row[0] for row in tables.variants(result)][1:] == [
        "not applied",
        *(f"below 85 of 100, {m}" for m in ("any", "mean", "fraction")),
    ]
    text = report.html(result, "t")
    assert "MOS (1 to 5)" in text
