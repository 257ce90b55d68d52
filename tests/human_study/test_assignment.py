"""Page assignment: balanced, reproducible from the seed, no item twice."""

from collections import Counter

import pytest

from human_study.sessions import assignment
from human_study.sessions.assignment import PageQuota


def quotas(missing):
    return [PageQuota(n, question, item, 0, 0, missing) for n, (question, item) in enumerate(
        (q, i) for q in ("OVL", "REL", "MEL") for i in ("a", "b", "c", "d"))]  # fmt: skip


def test_same_seed_same_choice_and_another_seed_another():
    picks = [
        assignment.choose_page(quotas(2), (), (), assignment.random_stream("page", 0, rater, 0)).page_id
        for rater in range(40)
    ]
    assert picks == [
        assignment.choose_page(quotas(2), (), (), assignment.random_stream("page", 0, rater, 0)).page_id
        for rater in range(40)
    ]
    assert len(set(picks)) > 8


def test_the_page_that_lacks_most_raters_comes_first_and_no_item_twice():
    lacking = [PageQuota(1, "OVL", "a", 0, 0, 1), PageQuota(2, "OVL", "b", 0, 0, 3), PageQuota(3, "REL", "b", 0, 0, 2)]
    rng = assignment.random_stream(1)
    assert assignment.choose_page(lacking, (), (), rng).page_id == 2
    assert assignment.choose_page(lacking, {"b"}, (), rng).page_id == 1
    assert assignment.choose_page(lacking, {"a", "b"}, (), rng) is None
    assert assignment.choose_page([PageQuota(1, "OVL", "a", 5, 0, 0)], (), (), rng) is None


def test_questions_take_turns():
    rng = assignment.random_stream(2)
    asked, items = [], set()
    for _ in range(3):
        quota = assignment.choose_page(quotas(5), items, asked, rng)
        asked.append(quota.question)
        items.add(quota.item)
    assert sorted(asked) == ["MEL", "OVL", "REL"]


@pytest.mark.parametrize(("trials", "checks", "practice"), [(10, 2, True), (1, 3, False), (5, 0, True)])
def test_sequences(trials, checks, practice):
    for seed in range(50):
        kinds = assignment.page_kinds(assignment.random_stream(seed), trials, checks, practice)
        assert Counter(kinds) == Counter(
            {"rating": trials, **({"attention": checks} if checks else {}), **({"practice": 1} if practice else {})}
        )
        assert kinds[0] == ("practice" if practice else "rating")


def test_every_column_is_equally_likely():
    counts = Counter(
        assignment.presentation_order("abcd", assignment.random_stream("order", n))[0] for n in range(4000)
    )
    assert all(abs(count - 1000) < 120 for count in counts.values())
