"""pyMUSHRA's TinyDB file, in the layout that its `casting.json_to_dict` stores, becomes the ratings of this package."""

import copy
import json

import pytest

from human_study.__main__ import main
from human_study.analysis import import_formats
from human_study.analysis.ratings import Preference
from musicgen.errors import InputError


def trial(kind, name, responses, rater="u-1", **answers):
    return {
        "type": kind, "id": name, "responses": responses, "config": "configs/default.yaml", "testId": "mine",
        "date": "2024-05-01 10:00:00.000000", "questionaire": {"email": "ann@x.org", "age": 30, "uuid": rater} | answers,
    }  # fmt: skip


def mushra(rater, *scores):
    # pyMUSHRA makes a number of a condition that is called 1.
    scored = zip(("reference", "anchor35", 1), scores, strict=True)
    return trial("mushra", "t1", [{"stimulus": s, "score": v, "time": 2500, "comment": ""} for s, v in scored], rater)


PAIR = {"reference": "reference", "nonReference": "C1"}
TRIALS = [
    mushra("u-1", 100, 20, 60),
    mushra("u-2", 95, 30, 70.5),
    trial("bs1116", "t2", [PAIR | {"referenceScore": 5, "nonReferenceScore": 3.2, "time": 900}]),
    trial(
        "likert_multi_stimulus",
        "t3",
        [{"stimulus": "C1", "stimulusRating": 4, "time": 1}, {"stimulus": "C2", "stimulusRating": "NA"}],
    ),
    trial("likert_single_stimulus", "t4", [{"stimulus": "C1", "stimulusRating": "not at all", "time": 1771}]),
    trial("paired_comparison", "t5", [PAIR | {"answer": answer, "time": 10} for answer in ("correct", "undecided")]),
    trial("spatial", "t6", []),
]


def stored(path, trials=TRIALS, **tables):
    path.write_text(json.dumps({"_default": {}, "mine": {str(n): t for n, t in enumerate(trials, 1)}} | tables))
    return path


def test_every_kind_of_trial_is_read_or_named(tmp_path):
    found = import_formats.read(stored(tmp_path / "db.json"), "pymushra")
    assert [(r.rater, r.question, r.item, r.system, r.role, r.value, r.seconds) for r in found.data.ratings] == [
        ("u-1", "OVL", "t1", "reference", "reference", 100.0, 2.5),
        ("u-1", "OVL", "t1", "anchor 3500 Hz", "anchor", 20.0, 2.5),
        ("u-1", "OVL", "t1", "1", "system", 60.0, 2.5),
        ("u-2", "OVL", "t1", "reference", "reference", 95.0, 2.5),
        ("u-2", "OVL", "t1", "anchor 3500 Hz", "anchor", 30.0, 2.5),
        ("u-2", "OVL", "t1", "1", "system", 70.5, 2.5),
        ("u-1", "BS1116", "t2", "reference", "reference", 5.0, 0.9),
        ("u-1", "BS1116", "t2", "C1", "system", 3.2, 0.9),
        ("u-1", "likert", "t3", "C1", "system", 4.0, 0.001),
    ]
    assert found.data.scales == {"OVL": (0, 100), "BS1116": (1, 5)}
    assert found.data.preferences == (
        Preference("u-1", "AB", "t5", ("reference", "C1"), "reference", 0.01),
        Preference("u-1", "AB", "t5", ("reference", "C1"), None, 0.01),
    )
    assert found.left_out == (
        "1 grade in words, whose order the file does not state",
        "1 trial of the type 'spatial'",
        "1 unrated clip",
    )
    assert "x.org" not in repr(found)


def test_import_and_analyse(tmp_path, capsys):
    file = stored(tmp_path / "db.json", other={"1": mushra("u-9", 1, 2, 3)}, empty={})
    convert = ["import", str(file), "--format", "pymushra", "--output", str(tmp_path / "ours.csv")]
    assert main(convert) == 2
    assert "holds 2 tests (mine, other): name one with --test" in capsys.readouterr().err
    assert main([*convert, "--test", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "9 ratings by 2 raters" in printed
    assert "raters are told apart by the uuid of their submission" in printed
    assert "left out: 1 trial of the type 'spatial'" in printed
    assert "left out: 2 preferences of paired comparisons" in printed
    # The file does not state the scale of the grades; the others are declared.
    assert main(["analyse", str(tmp_path / "ours.csv"), "--no-screening"]) == 2
    assert "the highest of 1 ratings is 4" in capsys.readouterr().err
    assert main(["analyse", str(tmp_path / "ours.csv"), "--no-screening", "--scale", "1:7"]) == 0
    assert "| system | OVL | BS1116 (1 to 5) | likert (1 to 7) |" in capsys.readouterr().out
    assert main([*convert, "--test", "mine", "--rater-column", "email"]) == 0
    assert "9 ratings by 1 rater\n" in capsys.readouterr().out


def damaged(change):
    trials = copy.deepcopy(TRIALS)
    change(trials[0])
    return {"mine": {"1": trials[0]}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "a JSON object of tests is needed"),
        ({}, "holds 0 tests"),
        ({"a": {"1": 5}}, "entry 1 is no trial"),
        (damaged(lambda t: t.pop("responses")), "has no 'type' and list of 'responses'"),
        (damaged(lambda t: t.pop("questionaire")), "has no 'questionaire'"),
        (
            damaged(lambda t: t["questionaire"].pop("uuid")),
            "uuid is empty, and it tells raters apart: there are email, age",
        ),
        (damaged(lambda t: t.update(id="")), "id is empty or no text"),
        (damaged(lambda t: t.update(responses=[5])), "a response is no object"),
        (damaged(lambda t: t["responses"][0].update(score="x")), "score is 'x': not a number"),
        (damaged(lambda t: t["responses"][0].update(score=True)), "score is no finite number"),
        (damaged(lambda t: t["responses"][0].update(score=float("nan"))), "score is no finite number"),
        (damaged(lambda t: t["responses"][0].update(score=10**400)), "score is no finite number"),
        (damaged(lambda t: t["responses"][0].update(stimulus=[1])), "stimulus is empty or no text"),
        (damaged(lambda t: t["responses"][0].update(stimulus="x\ud800")), "stimulus"),
        (damaged(lambda t: t["responses"][0].update(time="soon")), "time is 'soon': not a number"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, document, message):
    file = tmp_path / "db.json"
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as caught:
        import_formats.read(file, "pymushra")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\x00", '{"a": {"1": "\\ud800"}}']
)
def test_what_is_no_json_is_one_line(tmp_path, text):
    (tmp_path / "db.json").write_text(text)
    with pytest.raises(InputError, match=r"db\.json: ") as caught:
        import_formats.read(tmp_path / "db.json", "pymushra")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        import_formats.read(tmp_path / "none.json", "pymushra")


def test_other_formats_have_one_test(tmp_path):
    with pytest.raises(InputError, match="--test is 'mine': a file of the format csv holds one test"):
        import_formats.read(tmp_path / "x.csv", "csv", test="mine")
    with pytest.raises(InputError, match="holds no test 'theirs': there are mine"):
        import_formats.read(stored(tmp_path / "db.json"), "pymushra", test="theirs")
