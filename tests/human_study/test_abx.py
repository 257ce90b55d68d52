"""ABX pages, from STUDY.yaml to the report: who knows what X is, what is stored, and the exact statistics."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats
from sqlalchemy import select

from human_study.analysis import abx, exports, ratings_reader, report, results, tables
from human_study.analysis.ratings import Match, StudyData
from human_study.database import schema
from human_study.design import study_settings
from human_study.web import file_padding
from human_study.web.load_test import complete_answer
from musicgen.errors import InputError

STUDY = """\
name: abx
systems: {bright: samples/bright, dull: samples/dull}
reference: samples/reference
questions: [{name: ABX, hidden_reference: true, confidence: true}]
raters_per_sample: 40
trials_per_rater: 3
attention_checks: 0
practice: false
headphone_check: "off"
open_link: true
clock: false
"""


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            {"name": "ABX"},
            r"the method abx compares systems: at least two are needed \(abx: or hidden_reference: true\)",
        ),
        ({"name": "ABX", "anchors": [3500]}, "a page of the method abx compares two systems: no anchors"),
        ({"name": "OVL", "method": "ab", "hidden_reference": True}, "a hidden reference with the method abx alone"),
        ({"name": "OVL", "confidence": True}, "confidence is for the method abx"),
        ({"name": "ABX", "confidenc": True}, "did you mean confidence"),
        ({"name": "ABX", "stimuli": "single"}, "stimuli is single"),
    ],
)
def test_questions_that_cannot_be_are_one_line(question, message):
    document = {"name": "t", "systems": {"a": "x"}, "reference": "r", "questions": [question]}
    with pytest.raises(InputError, match=message) as caught:
        study_settings.parse(document, "STUDY.yaml")
    assert "\n" not in str(caught.value)


@pytest.fixture
def session(build_study, open_app):
    study = build_study(STUDY)
    database, new = open_app(study)
    return study, database, new


def heard_clip(database, token):
    """The name of the clip behind a token, which only the database knows."""
    clip, table = schema.clip, schema.token
    with database.read() as connection:
        query = select(clip.c.name).join(table, table.c.clip_id == clip.c.id).where(table.c.token == token)
        return connection.execute(query).scalar_one()


def test_x_is_a_or_b_by_chance_and_nothing_that_is_sent_says_which(session):
    study, database, new = session
    pages = [page for page in study.pages.values() if page.kind == "rating"]
    assert len(pages) == 3 * 2  # three items; the recording and each system
    assert all(study.clips[page.stimuli[0]].role == "reference" for page in pages)
    sent, matches, firsts = [], [], []
    for _ in range(16):
        rater = new()
        state = rater.start()
        while state["stage"] == "trial":
            trial = state["trial"]
            a, b, x = trial["clips"]
            assert (a["label"], b["label"], x["label"]) == ("A", "B", "X")
            names = [heard_clip(database, clip["token"]) for clip in trial["clips"]]
            assert names[2] in names[:2]
            assert names[0] != names[1]
            matches.append(names[2] == names[0])
            firsts.append(study.clips[names[0]].system)
            sent.append(trial)
            assert rater.submit(trial, complete_answer(trial)).status_code == 200
            state = rater.state()
    # 48 fair coins leave this range once in 10,000 runs.
    assert 11 <= sum(matches) <= 37
    assert len(set(firsts)) == 3
    # What the page gets has the same fields and lengths, whichever X is; tokens are random.
    shapes = {
        json.dumps(
            {
                key: [sorted(clip) for clip in value] if key == "clips" else value
                for key, value in trial.items()
                if key not in {"lease", "prompt"}
            }
        )
        for trial in sent
    }
    assert len(shapes) == 1
    assert len({clip["seconds"] for trial in sent for clip in trial["clips"]}) == 1
    assert len({clip["token"] for trial in sent for clip in trial["clips"]}) == 3 * len(sent)


@pytest.mark.parametrize("compressed", ["", "?compressed=true"])
def test_sizes_of_files_do_not_say_what_x_is(session, compressed):
    """The files on disk differ by more than the random padding; what is sent has the size of the largest and padding alone."""
    study, database, new = session
    nearest, equal, told = [], 0, False
    for _ in range(20):
        rater = new()
        trial = rater.start()["trial"]
        names = [heard_clip(database, clip["token"]) for clip in trial["clips"]]
        files = [study.clips[name].compressed if compressed else study.clips[name].lossless for name in names]
        on_disk = [study.audio_file(file).stat().st_size for file in files]
        told = told or max(on_disk) - min(on_disk) > file_padding.MAX_PADDING
        answers = [rater.http.get(f"/audio/{clip['token']}{compressed}") for clip in trial["clips"]]
        sizes = [len(response.content) for response in answers]
        assert len({response.headers["content-type"] for response in answers}) == 1
        assert max(on_disk) < min(sizes)
        assert max(sizes) < max(on_disk) + file_padding.MAX_PADDING + 64  # and the header of the padding
        equal += len(set(sizes)) < 3
        nearest.append((abs(sizes[2] - sizes[0]) < abs(sizes[2] - sizes[1])) == (names[2] == names[0]))
    assert equal <= 2  # by chance: three random numbers of 4,096 are not all different once in 1,366 times
    assert told or compressed  # MP3 files of one bit rate are equally large anyway
    assert any(nearest)  # 20 fair coins are all equal once in 500,000 runs
    assert not all(nearest)


def test_long_padding_is_several_blocks():
    data = b"fLaC" + bytes([0x80]) + (34).to_bytes(3, "big") + bytes(34) + b"frames"
    padded = b"".join(file_padding.pad_flac(data, file_padding.MAX_BLOCK + 5))
    place, kinds, total = 4, [], 0
    while True:  # by RFC 9639, §8: a header of one bit, 7 bits of type and 24 bits of length
        last, kind, size = (
            padded[place] >> 7,
            padded[place] & 0x7F,
            int.from_bytes(padded[place + 1 : place + 4], "big"),
        )
        kinds.append(kind)
        total += size * (kind == 1)
        place += 4 + size
        if last:
            break
    assert (kinds, total, padded[place:]) == ([0, 1, 1], file_padding.MAX_BLOCK + 5, b"frames")


def test_what_is_no_answer_is_refused(session):
    _, database, new = session
    rater = new()
    trial = rater.start()["trial"]
    body = complete_answer(trial)
    a, _, x = (clip["token"] for clip in trial["clips"])
    for change, code in (
        ({"preferred": x}, "foreign_stimulus"),
        ({"preferred": ""}, "foreign_stimulus"),
        ({"preferred": None}, "foreign_stimulus"),
        ({"preferred": "0" * 32}, "foreign_stimulus"),
        ({"confidence": None}, "bad_values"),
        ({"confidence": 4}, "invalid"),
        ({"confidence": 0}, "invalid"),
        ({"values": {a: 50}}, "bad_values"),
        ({"heard": {token: spans for token, spans in body["heard"].items() if token != x}}, "foreign_stimulus"),
    ):
        refused = rater.submit(trial, body | change)
        assert (refused.status_code, refused.json()["code"]) == (422, code), change
    receipts = {rater.submit(trial, body | {"preferred": a, "confidence": 3}).json()["receipt"] for _ in range(2)}
    assert len(receipts) == 1
    other = rater.submit(trial, body | {"preferred": a, "confidence": 1})
    assert (other.status_code, other.json()["code"]) == (409, "already_rated")
    with database.read() as connection:
        assert connection.execute(select(schema.trial.c.confidence)).scalars().all() == [3]


def test_from_the_pages_to_the_tables(session, tmp_path):
    """Raters who hear the difference to "dull" and guess otherwise: counted by hand, then by the reader and the tables."""
    study, database, new = session
    counted: dict[tuple[str, ...], list[bool]] = {}
    for number in range(6):
        rater = new()
        state = rater.start()
        while state["stage"] == "trial":
            trial = state["trial"]
            a, b, x = trial["clips"]
            systems = [study.clips[heard_clip(database, clip["token"])].system for clip in (a, b, x)]
            right = "dull" in systems[:2] or number % 2 == 0
            chosen = a if (systems[2] == systems[0]) == right else b
            counted.setdefault(tuple(sorted(systems[:2])), []).append(right)
            assert rater.submit(trial, complete_answer(trial) | {"preferred": chosen["token"]}).status_code == 200
            state = rater.state()
    with database.read() as connection:
        data = ratings_reader.read(connection, database, study)
        rows = exports.raw_tables(connection, database, study)["abx"]
    assert len(rows) == len(data.matches) == 18
    assert sum(row["correct"] for row in rows) == sum(itertools.chain(*counted.values()))
    assert {row["confidence"] for row in rows} <= {1, 2, 3}
    assert (data.ratings, data.preferences) == ((), ())
    result = results.analyse(data)
    found = {tuple(sorted((score.first, score.second))): score for score in result.matches}
    for pair, right in counted.items():
        assert (found[pair].correct, found[pair].trials) == (sum(right), len(right))
    assert found["", abx.ALL].trials == 18
    assert found["", abx.ALL].raters == 6
    files = report.write(result, "abx", tmp_path)
    text = files[0].read_text()
    assert "Clopper and Pearson" in text
    assert "Those raters compared two systems 18 times." in text
    assert "<svg" not in text  # there are no means to draw
    assert (tmp_path / "abx.csv").read_text().splitlines()[0].endswith("p binomial,p Holm,d'")
    assert len(tables.matches(result)) == 1 + len(counted) + 1


def answers(right, wrong, pair=("a", "b")):
    return tuple(Match(f"r{n}", "ABX", "i", pair, "a", "a" if n < right else "b") for n in range(right + wrong))


def test_twelve_of_sixteen():
    """The textbook case of an ABX test: p = 0.038; the interval by quantiles of the beta distribution."""
    (score,) = abx.scores(StudyData((), matches=answers(12, 4)))
    assert (score.correct, score.trials, score.share) == (12, 16, 0.75)
    assert score.p == pytest.approx(sum(math.comb(16, k) for k in range(12, 17)) / 2**16)
    assert round(score.p, 4) == 0.0384
    assert score.low == pytest.approx(stats.beta.ppf(0.025, 12, 5))
    assert score.high == pytest.approx(stats.beta.ppf(0.975, 13, 4))
    assert score.adjusted == score.p


@pytest.mark.parametrize(("right", "wrong"), [(0, 1), (1, 0), (0, 9), (9, 0), (1, 1), (30, 3)])
def test_the_oracle_agrees_at_the_ends(right, wrong):
    (score,) = abx.scores(StudyData((), matches=answers(right, wrong)))
    exact = stats.binomtest(right, right + wrong, 0.5).proportion_ci(0.95, method="exact")
    assert (score.low, score.high) == (exact.low, exact.high)
    assert score.p == stats.binomtest(right, right + wrong, 0.5, alternative="greater").pvalue
    assert (score.d_prime is None) == (wrong == 0)


def test_pairs_are_corrected_and_added_up():
    data = StudyData((), matches=answers(12, 4) + answers(9, 7, ("a", "c")))
    first, second, everything = abx.scores(data)
    assert (first.adjusted, second.adjusted) == (pytest.approx(2 * first.p), pytest.approx(second.p))
    assert (everything.first, everything.correct, everything.trials, everything.adjusted) == (abx.ALL, 21, 32, None)


def test_d_prime_is_that_of_simulated_raters():
    rng = np.random.default_rng(0)
    n = 200_000
    for d in (0.5, 1.0, 2.0):
        first, second = rng.normal(0, 1, n), rng.normal(d, 1, n)
        is_second = rng.random(n) < 0.5
        x = rng.normal(np.where(is_second, d, 0), 1)
        # Which of A and B is the stronger one, and is X strong? Both judged apart.
        share = float(np.mean(((second > first) == (x > d / 2)) == is_second))
        assert abx.d_prime(share) == pytest.approx(d, abs=0.03)
    assert abx.d_prime(0.4) == abx.d_prime(0.5) == 0.0
