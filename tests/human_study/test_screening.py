"""Every rule by hand, the protocol's log, and planted careless raters."""

import numpy as np
import pytest

from human_study.analysis import screening, screening_rules
from human_study.analysis.ratings import Rating, StudyData
from musicgen.errors import InputError
from tests.human_study import simulation


def rating(rater, value, item="i", system="a", role="system", **more):
    return Rating(rater, "OVL", item, system, role, value, **more)


def references(rater, *values):
    return [rating(rater, value, f"i{n}", "reference", "reference") for n, value in enumerate(values)]


def gone(exclusions):
    return sorted(e.rater for e in exclusions if e.rating is None)


def test_hidden_reference_in_its_three_readings():
    data = StudyData(
        tuple(references("fine", 90, 85, 99) + references("once", 84, 99, 99) + references("often", 60, 70, 99))
    )
    assert gone(screening_rules.hidden_reference(data, mode="any")) == ["often", "once"]
    assert gone(screening_rules.hidden_reference(data, mode="mean")) == ["often"]
    assert gone(screening_rules.hidden_reference(data, mode="fraction", fraction=0.4)) == ["often"]
    assert gone(screening_rules.hidden_reference(data, mode="any", below=100)) == ["fine", "often", "once"]
    assert screening_rules.hidden_reference(data, mode="any")[0].reason == "hidden reference below 85 on 2 of 3 items"
    with pytest.raises(InputError, match="mode is 'all'"):
        screening_rules.hidden_reference(data, mode="all")


def test_bs1534():
    seven = references("ok", *[95] * 6, 80) + references("out", *[95] * 5, 80, 80)
    assert gone(screening_rules.bs1534_reference(StudyData(tuple(seven)))) == ["out"]  # 1/7 is under 15 %, 2/7 is not
    anchors = [rating(r, v, f"i{n}", "anchor 7000 Hz", "anchor") for r, high in (("ok", 1), ("out", 2))
               for n, v in enumerate([95] * high + [50] * (7 - high))]  # fmt: skip
    # Two raters are too few for the rule on items that are hardly degraded: a half is over a quarter.
    assert gone(screening_rules.bs1534_anchor(StudyData(tuple(anchors)), undegraded=1)) == ["out"]


def anchor(rater, item, value):
    return rating(rater, value, item, "anchor 7000 Hz", "anchor")


@pytest.mark.parametrize(
    ("high", "raters", "excluded"), [(10, 10, 0), (3, 10, 0), (2, 10, 2), (2, 8, 2), (3, 12, 3), (4, 12, 0)]
)
def test_nobody_is_excluded_for_an_item_that_the_filter_hardly_degrades(high, raters, excluded):
    """BS.1534-3 §4.1.2: where over 25 % of the assessors rate the mid anchor above 90, the item is left out. One item in five
    is dull, and a fifth is over the 15 % of items that a rater may have."""
    data = [
        anchor(f"r{r}", f"i{i}", 95 if i == 0 and r < high else 90 if i == 1 else 40)
        for r in range(raters) for i in range(5)
    ]  # fmt: skip
    assert len(gone(screening_rules.bs1534_anchor(StudyData(tuple(data))))) == excluded


def test_an_item_left_out_saves_nobody_from_the_others():
    data = [anchor(f"r{r}", f"i{i}", 95 if i == 0 or (r == 0 and i == 1) else 40) for r in range(10) for i in range(5)]
    assert gone(screening_rules.bs1534_anchor(StudyData(tuple(data)))) == ["r0"]


def test_a_raters_own_second_rating_is_not_the_others():
    """By numpy alone: the mean of what other raters gave, against the mean of the rater's own."""
    rng = np.random.default_rng(5)
    values = {f"r{n}": rng.uniform(0, 100, (2, 8)) for n in range(4)}
    data = [rating(r, float(v), f"i{i}") for r, own in values.items() for row in own for i, v in enumerate(row)]
    found = screening_rules.correlations(StudyData(tuple(data)))
    for name, own in values.items():
        others = np.concatenate([v for other, v in values.items() if other != name]).mean(axis=0)
        assert found[name] == (pytest.approx(np.corrcoef(own.mean(axis=0), others)[0, 1]), 8)
    alone = [rating("x", float(v), f"i{i}") for i in range(6) for v in (10 * i, 10 * i + 1)]
    assert screening_rules.correlations(StudyData(tuple(alone))) == {"x": (0.0, 0)}


def test_listening_speed_and_attention():
    data = StudyData(
        (rating("a", 50, heard=1.0, seconds=20.0), rating("b", 50, heard=0.5, seconds=2.0), rating("c", 50)),
        failed_checks={"c": 1},
        marked={"a": "by hand"},
    )
    assert gone(screening_rules.full_listening(data)) == ["b"]
    assert gone(screening_rules.full_listening(data, minimum=0.5)) == []
    assert gone(screening_rules.too_fast(data)) == ["b"]
    assert gone(screening_rules.attention(data)) == ["c"]
    assert gone(screening_rules.attention(data, allowed_failures=1)) == []
    assert gone(screening_rules.marked(data)) == ["a"]


def test_reasons_count_in_singular_and_plural():
    failed = screening_rules.attention(StudyData((), failed_checks={"a": 1, "b": 3}))
    assert [one.reason for one in failed] == [
        "1 attention check failed, 0 allowed",
        "3 attention checks failed, 0 allowed",
    ]


def test_a_value_below_its_limit_does_not_look_equal_to_it():
    data = StudyData((rating("a", 84.9996, role="reference", heard=0.9699, seconds=4.999),))
    (heard,) = screening_rules.full_listening(data, minimum=0.97)
    (reference,) = screening_rules.hidden_reference(data)
    (fast,) = screening_rules.too_fast(data)
    assert heard.reason == "heard 96.99% of a clip: less than 97%"
    assert reference.reason == "hidden reference 84.9996 on average: below 85"
    assert fast.reason == "median page took 4.999 s: under 5 s"
    (plain,) = screening_rules.full_listening(data, minimum=0.98)
    assert plain.reason == "heard 97% of a clip: less than 98%"


def test_correlation_leaves_the_rater_out():
    values = {"x": [10, 20, 30, 40, 50], "z": [50, 40, 30, 20, 10], "flat": [50] * 5}
    values |= {f"y{n}": [12, 22, 28, 41, 52 - n] for n in range(3)}
    data = StudyData(tuple(rating(r, v, f"i{n}") for r, own in values.items() for n, v in enumerate(own)))
    found = screening_rules.correlations(data)
    others = np.mean([own for name, own in values.items() if name != "x"], axis=0)
    assert found["x"] == (pytest.approx(np.corrcoef(values["x"], others)[0, 1]), 5)
    assert found["flat"] == (0.0, 5)
    assert gone(screening_rules.crowdmos_correlation(data)) == ["flat", "z"]
    assert gone(screening_rules.crowdmos_correlation(data, overlap=6)) == []
    assert "flat" in gone(screening_rules.crowdmos_strict(data, ratings=6))


def test_outlier_ratings_and_their_raters():
    crowd = [rating(f"r{n}", 50 + n % 5, f"i{item}") for n in range(20) for item in range(30)]
    once = [rating("once", 100 if item == 0 else 52, f"i{item}") for item in range(30)]
    often = [rating("often", 100 if item < 10 else 52, f"i{item}") for item in range(10, 30)]
    often += [rating("often", 1, f"i{item}") for item in range(5)]
    found = screening_rules.crowdmos_outliers(StudyData(tuple(crowd + once + often)))
    assert gone(found) == ["often"]
    assert [(e.rater, e.rating.value) for e in found if e.rating] == [("once", 100)]


def test_the_log_names_step_who_and_why_and_the_means_move():
    data, bad = simulation.study(np.random.default_rng(0), honest=12, careless=3)
    result = screening.screen(data)
    assert [step.name for step in result.steps][:2] == ["all", "marked"]
    assert [step.name for step in result.steps][2:] == [
        entry["step"] for entry in screening.default_protocol(result.data)
    ]
    assert result.steps[0].raters_left == 15
    assert all(e.reason and e.step and e.rater for e in result.exclusions)
    assert set(bad) <= {e.rater for e in result.exclusions if e.rating is None}
    assert result.steps[0].means[("OVL", "good")] < result.steps[-1].means[("OVL", "good")]
    assert set(result.data.raters).isdisjoint(gone(result.exclusions))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"step": "hidden_referense"}, "did you mean hidden_reference"),
        ({"step": "hidden_reference", "under": 3}, "no threshold 'under'"),
        ({"step": "hidden_reference", "below": "85"}, "below is '85'"),
        ({"step": "hidden_reference", "below": [85]}, r"below is \[85\]"),
        ({"step": "hidden_reference", "below": float("nan")}, "below is nan"),
        ({"step": "hidden_reference", "below": float("inf")}, "below is inf"),
        ({"step": "hidden_reference", "below": 10**5000}, "below is a long int"),
        ({"step": "hidden_reference", "mode": 3}, "mode is 3"),
        ({"step": "attention", "allowed_failures": 0.5}, "allowed_failures is 0.5"),
        ({"step": ["attention"]}, "no step"),
        ({}, "no step None"),
        ("hidden_reference", "no step None"),
    ],
)
def test_bad_protocols_are_refused(step, message):
    with pytest.raises(InputError, match=message):
        screening.screen(StudyData((rating("a", 1),)), [step])


def test_planted_careless_raters_are_found_and_honest_ones_kept():
    found, planted, lost, honest = simulation.confusion(None, 12, seed=7)
    assert found / planted >= 0.95
    assert lost / honest <= 0.05
