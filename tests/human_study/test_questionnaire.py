"""Questionnaires, from STUDY.yaml to the exported table; on both databases."""

import csv
import io
import json

import pytest
from sqlalchemy import insert, select

from human_study.analysis import exports, ratings_csv
from human_study.database import queries, schema
from human_study.design import questionnaire, study_settings
from human_study.sessions import raters
from musicgen.errors import InputError

FIELDS = """{before: [age, {name: device, required: false}, {name: room, kind: choice, options: [quiet, loud],
 text: {en: "How is the room?", de: "Wie ist der Raum?"}, labels: {en: [Quiet, Loud], de: [Leise, Laut]}}],
 after: [{name: remarks, kind: text, required: false, text: {en: "Remarks", de: "Anmerkungen"}}]}""".replace("\n", "")

ROOM = {"name": "room", "kind": "choice", "options": ["a", "b"], "text": {"en": "x", "de": "y"}}
TEXT = {"text": {"en": "x", "de": "y"}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([{"name": "room"}], "room: kind is missing: one of choice, number, text"),
        ([{"name": "room", "kind": "colour"}], "kind is 'colour': one of"),
        ([ROOM | {"text": {"en": "x"}}], "field room: no text for de"),
        ([{"name": "age", "text": {"en": "x"}}], "field age: no text for de"),
        ([ROOM | {"labels": {"en": ["x", "y"]}}], "field room: no labels for de"),
        ([ROOM | {"labels": {"en": ["x"]}}], "labels: en has 1, and there are 2 options"),
        ([ROOM | {"options": ["a"]}], "has 1 options: 2 to 30"),
        ([ROOM | {"options": ["a", "a"]}], "none of them twice"),
        ([ROOM | {"options": [True, False]}], "True is no text"),
        ([ROOM | {"minimum": 1}], "minimum and maximum are for the kind number"),
        ([{"name": "age", "minimum": 200}], "from 200 to 120: the minimum must be below"),
        (
            [{"name": "remarks", "kind": "text", "options": ["a", "b"]} | TEXT],
            "options and labels are for the kind choice",
        ),
        ([{"name": "age", "requierd": True}], "did you mean required"),
        (["age", "age"], "the field age is there twice"),
        ([{"name": f"f{n}", "kind": "text"} | TEXT for n in range(16)], "before has 16 fields: at most 15"),
        ([5], "a questionnaire field must be a mapping"),
        ([{"kind": "text"}], "every field needs a name"),
        ([{"name": "=cmd", "kind": "text"}], "questionnaire field '=cmd'"),
        ("age", "before is 'age': expected a list"),
    ],
)
def test_fields_that_cannot_be_are_one_line(fields, message):
    document = {"name": "t", "systems": {"a": "x"}, "questions": ["OVL"], "questionnaire": {"before": fields}}
    with pytest.raises(InputError, match=message) as caught:
        study_settings.parse(document, "STUDY.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="did you mean before"):
        study_settings.parse(document | {"questionnaire": {"befor": fields}}, "STUDY.yaml")


@pytest.fixture
def session(build_study, open_app):
    study = build_study(questionnaire=FIELDS, trials_per_rater=1)
    database, new = open_app(study)
    return study, database, new


def answer(rater, place, **answers):
    return rater.post(f"/api/questionnaires/{place}", {"answers": answers})


def test_settings_survive_the_manifest(session):
    study = session[0]
    again = study_settings.parse(json.loads(json.dumps(study_settings.as_document(study.settings))), "manifest")
    assert again.questionnaire == study.settings.questionnaire
    assert again.questionnaire.before[0] == questionnaire.Field("age", "number", minimum=18, maximum=120)


def test_before_the_pages_and_after_them(session):
    study, database, new = session
    rater = new()
    state = rater.start()
    assert (state["stage"], state["place"]) == ("questionnaire", "before")
    assert [(f["name"], f["required"]) for f in state["fields"]] == [("age", True), ("device", False), ("room", True)]
    texts = rater.http.get("/texts/de.json").json()
    assert texts["fields"]["room"] == {"text": "Wie ist der Raum?", "options": {"quiet": "Leise", "loud": "Laut"}}
    assert texts["fields"]["device"]["options"]["earphones"] == "Ohrhörer"
    assert sum("Fragen zu Ihnen" in paragraph for paragraph in texts["consent_text"]) == 1
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.lease)) == 0  # no page is taken meanwhile
    for answers, code in (
        ({"age": 30}, "unanswered"),
        ({"age": 30, "room": "  "}, "unanswered"),
        ({"age": 17, "room": "loud"}, "bad_answers"),
        ({"age": "30", "room": "loud"}, "bad_answers"),
        ({"age": 30, "room": "green"}, "bad_answers"),
        ({"age": 30, "room": 1}, "bad_answers"),
        ({"age": 30, "room": "loud", "name": "x"}, "bad_answers"),
        ({"age": True, "room": "loud"}, "invalid"),
        ({"age": [30], "room": "loud"}, "invalid"),
    ):
        refused = answer(rater, "before", **answers)
        assert (refused.status_code, refused.json()["code"]) == (422, code), answers
    assert answer(rater, "during").status_code == 422
    for _ in range(2):  # the answer was lost on its way: the same request again
        assert answer(rater, "before", age=30, room="loud", device=None).status_code == 200
    second = answer(rater, "before", age=31, room="loud")
    assert (second.status_code, second.json()["code"]) == (409, "already_answered")
    assert rater.rate_all()["place"] == "after"
    for bad in ("x" * 1001, "\0", "\ud800"):
        response = rater.http.post(
            "/api/questionnaires/after", content=json.dumps({"answers": {"remarks": bad}}),
            headers={"X-CSRF-Token": rater.csrf, "Content-Type": "application/json"},
        )  # fmt: skip
        assert response.status_code == 422, response.text
    assert answer(rater, "after", remarks="=1+1 \U0001f3b5").status_code == 200
    assert rater.state()["stage"] == "done"
    with database.read() as connection:
        tables = exports.raw_tables(connection, database, study)
    written = ratings_csv.to_csv(tables["questionnaires"], exports.COLUMNS["questionnaires"])
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [(row["place"], row["field"], row["answer"]) for row in rows] == [
        ("before", "age", "30"), ("before", "device", ""), ("before", "room", "loud"), ("after", "remarks", "'=1+1 \U0001f3b5"),
    ]  # fmt: skip
    assert {row["rater"] for row in rows} == {tables["raters"][0]["rater"]}


def test_answers_are_deleted_with_the_rater(session):
    _, database, new = session
    people = [new(), new()]
    for age, rater in enumerate(people, 40):
        rater.start(prolific_pid=f"worker{age}", study_id="s", session_id="t")
        assert answer(rater, "before", age=age, room="quiet").status_code == 200
    with database.write() as connection:
        assert raters.delete_rater(connection, database, "worker40") == 1
    with database.read() as connection:
        stored = connection.execute(select(schema.questionnaire.c.answers)).scalars().all()
    assert stored == [{"age": 41, "room": "quiet"}]


def test_nothing_is_asked_of_those_who_are_excluded(session):
    _, database, new = session
    rater = new()
    rater.start()
    answer(rater, "before", age=30, room="loud")
    trial = rater.state()["trial"]
    assert rater.submit(trial).status_code == 200
    with database.write() as connection:
        raters.exclude(connection, database, 1, "by hand")
    assert rater.state()["stage"] == "done"


def test_one_questionnaire_for_each_place_and_rater(session):
    """What a race of two requests would have to break."""
    _, database, new = session
    new().start()
    row = {"rater_id": 1, "place": "before", "answers": {}, "submitted_at": 0.0}
    with pytest.raises(Exception, match=r"(?i)unique"), database.write() as connection:
        connection.execute(insert(schema.questionnaire), [row, row])
    with pytest.raises(Exception, match=r"(?i)check"), database.write() as connection:
        connection.execute(insert(schema.questionnaire), row | {"place": "during"})
