"""The power calculation against simulated seeds, and its command on the stored results."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import __main__ as command
from experiments import claims, power
from experiments import plan as plans


def run(seed: int, value: float, steps: int = 100, seconds: float = 10.0) -> dict:
    """A run whose FAD is `value`, and whose loss falls as 20 / sqrt(step)."""
    return {
        "row": "",
        "seed": seed,
        "recipe": {"optimisation": {"steps": steps}},
        "train_seconds": seconds,
        "generate_seconds": 2.0,
        "losses": [[step, 20 / math.sqrt(step)] for step in range(steps // 4, steps + 1, steps // 4)],
        "perplexity": {"value": 9.0, "nats": {"a": 2.0, "b": 2.2}},
        "scores": {
            "fad_mini": {"value": value, "low": value - 1, "high": value + 1, "direction": "lower", "clips": {}}
        },
    }


@pytest.mark.parametrize(("difference", "deviation"), [(3.0, 2.0), (1.0, 1.0), (4.0, 1.5)])
def test_so_many_seeds_decide_as_often_as_wanted(difference: float, deviation: float) -> None:
    """By simulation: with the number of seeds the interval excludes 0 in 80 of 100 studies, with one less it does not."""
    seeds = power.seeds_needed(difference, deviation, 0.8)
    assert seeds is not None
    random = np.random.default_rng(0)

    def decided(count: int) -> float:
        each = random.normal(difference, deviation, (4000, count))
        half = stats.t.ppf(0.975, count - 1) * each.std(axis=1, ddof=1) / math.sqrt(count)
        return float((np.abs(each.mean(axis=1)) > half).mean())

    assert decided(seeds) > 0.78
    assert decided(seeds - 1) < 0.82 if seeds > 2 else True
    assert power.detectable(deviation, seeds, 0.8) <= difference
    assert power.detectable(deviation, seeds - 1, 0.8) > difference if seeds > 2 else True
    assert power.seeds_needed(0.01 * deviation, deviation, 0.8) is None


def test_a_difference_far_above_the_deviation_is_decided() -> None:
    """Where SciPy's noncentral t is NaN, too."""
    assert all(power.seeds_needed(difference, 0.01, 0.8) == 2 for difference in (1.0, 100.0))
    assert power.seeds_needed(1.0, 0.0, 0.8) == 2


def test_the_limit_of_a_deviation_holds_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    for count in (3, 5):
        limits = [power.upper_limit(float(np.std(random.normal(0, 2, count), ddof=1)), count) for _ in range(4000)]
        assert float(np.mean(np.array(limits) > 2)) == pytest.approx(0.8, abs=0.02)


def test_the_calculation_agrees_with_the_verdict() -> None:
    """What `claims` calls decided is what is counted here."""
    claim = plans.Claim("a beats b", better="a", than="b", metric="fad_mini")
    plan = dataclasses.replace(plans.load("table-4-patterns"), rows={}, claims=(claim,))
    rows = {"a": [run(i, 10.0 + x) for i, x in enumerate((0.1, -0.2, 0.1))], "b": [run(i, 15.0) for i in range(3)]}
    (found,) = power.of_claims(plan, rows, 3, 0.8)
    assert found.difference == pytest.approx(-5.0)
    assert found.deviation == pytest.approx(np.std([0.1, -0.2, 0.1], ddof=1))
    assert found.seeds == 2
    assert found.minutes == pytest.approx(2 * (12.0 + 12.0) / 60)
    assert claims.evaluate_claim(rows["a"], rows["b"], "fad_mini").holds == "yes"
    assert found.detectable < 5.0
    denied = dataclasses.replace(plan, claims=(dataclasses.replace(claim, denied=True),))
    assert power.of_claims(denied, rows, 3, 0.8) == []
    assert power.of_claims(plan, {"a": rows["a"][:1], "b": rows["b"]}, 3, 0.8) == []


def test_steps_are_of_equal_time_and_follow_the_curve() -> None:
    rows = {"fast": [run(0, 1.0, 100, 10.0), run(1, 1.0, 100, 12.0)], "slow": [run(0, 1.0, 100, 40.0)]}
    fast, slow = power.of_rows(rows)
    assert (fast.steps, fast.seconds, fast.equal_time) == (100, 0.1, 400)
    assert slow.equal_time == 100
    curve = [(step, 20 / math.sqrt(step)) for step in (25, 50, 75, 100)]
    assert power.steps_to(curve, 1.0) == pytest.approx(400, abs=1)
    assert power.steps_to(curve, 2.5) == 100  # it is there already
    assert power.steps_to([(50, 2.0), (100, 2.1)], 1.0) is None
    assert power.steps_to(curve, 1e-6) is None


def test_the_command_speaks_of_the_stored_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "table-4-patterns" / "core"
    folder.mkdir(parents=True)
    for row, value in (("delay", 10.0), ("parallel", 15.0)):
        for seed in range(3):
            one = run(seed, value + 0.1 * seed * (row == "delay")) | {"row": row}
            (folder / f"{row}-{seed}.json").write_text(json.dumps(one))
    assert command.main(["power", "table-4-patterns", "--results", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    (line,) = (line for line in told.splitlines() if line.startswith("delay beats parallel"))
    assert line.split()[6:10] == ["-4.9", "0.1", "0.212", "2"]
    assert "flattening" not in told
    assert command.main(["power", "table-3", "--results", str(tmp_path)]) == 2
    assert "no claim of 'Table 3: stereo' has results of two seeds" in capsys.readouterr().err
    assert command.main(["power", "table-4-patterns", "--seeds", "1"]) == 2
    assert "--seeds is 1" in capsys.readouterr().err
    assert command.main(["power", "table"]) == 2
    assert "several experiments begin with 'table'" in capsys.readouterr().err
