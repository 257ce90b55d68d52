"""Who hears what: balanced, seeded, nobody twice."""

from collections import Counter

import pytest

from human_study import design
from human_study.design import Place


def places(missing):
    return [Place(n, question, item, 0, 0, missing) for n, (question, item) in enumerate(
        (q, i) for q in ("OVL", "REL", "MEL") for i in ("a", "b", "c", "d"))]  # fmt: skip


def test_same_seed_same_choice_and_another_seed_another():
    picks = [design.choose(places(2), (), (), design.stream("page", 0, rater, 0)).page_id for rater in range(40)]
    assert picks == [
        design.choose(places(2), (), (), design.stream("page", 0, rater, 0)).page_id for rater in range(40)
    ]
    assert len(set(picks)) > 8


def test_what_lacks_most_comes_first_and_no_item_twice():
    lacking = [Place(1, "OVL", "a", 0, 0, 1), Place(2, "OVL", "b", 0, 0, 3), Place(3, "REL", "b", 0, 0, 2)]
    rng = design.stream(1)
    assert design.choose(lacking, (), (), rng).page_id == 2
    assert design.choose(lacking, {"b"}, (), rng).page_id == 1
    assert design.choose(lacking, {"a", "b"}, (), rng) is None
    assert design.choose([Place(1, "OVL", "a", 5, 0, 0)], (), (), rng) is None


def test_questions_take_turns():
    rng = design.stream(2)
    asked, items = [], set()
    for _ in range(3):
        place = design.choose(places(5), items, asked, rng)
        asked.append(place.question)
        items.add(place.item)
    assert sorted(asked) == ["MEL", "OVL", "REL"]


@pytest.mark.parametrize(("trials", "checks", "practice"), [(10, 2, True), (1, 3, False), (5, 0, True)])
def test_sequences(trials, checks, practice):
    for seed in range(50):
        kinds = design.sequence(design.stream(seed), trials, checks, practice)
        assert Counter(kinds) == Counter(
            {"rating": trials, **({"attention": checks} if checks else {}), **({"practice": 1} if practice else {})}
        )
        assert kinds[0] == ("practice" if practice else "rating")


def test_every_place_in_the_row_is_as_likely():
    counts = Counter(design.order("abcd", design.stream("order", n))[0] for n in range(4000))
    assert all(abs(count - 1000) < 120 for count in counts.values())
