"""Stored results -> docs/experiments.md: tables beside the paper's, plots, tests of the claims, and provenance."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from evaluation.metrics.registry import METRICS
from experiments import claims
from experiments import plan as plans
from experiments.plan import Claim, Plan
from musicgen import audio

DOCS = plans.FOLDER.parent / "docs"
WORDS = {
    "yes": "holds here",
    "no": "the opposite holds here",
    "unclear": "not significant here",
}
DENIED = {
    "yes": "does not hold here",
    "no": "holds here",
    "unclear": "no significant difference here either",
}
"""For claims that there is no such difference."""
COLOURS = ("#4f46e5", "#f59e0b", "#059669", "#dc2626", "#0891b2", "#7c3aed")
_OWN = {"perplexity": "PPL ↓", "coherence": "Coherence, distance ↓"}
"""Titles of metrics that the evaluation does not have."""
Rows = dict[str, list[dict[str, Any]]]


def write(results: Path, page: Path = DOCS / "experiments.md", pictures: Path = DOCS / "images") -> int:
    """Write the page and its plots. Returns the number of runs."""
    parts, summary, missing, total = [], [], [], 0
    for name in plans.names():
        plan = plans.load(name)
        found = False
        for folder in sorted(path for path in (results / name).glob("*") if path.is_dir()):
            rows = read(folder, plan)
            count = sum(len(runs) for runs in rows.values())
            if count == 0:
                continue
            found, total = True, total + count
            drawn = plot_memorisation(rows) if plan.planted else plot(plan, rows)
            picture = pictures / f"experiment-{name}-{folder.name}.png"
            audio.write_bytes(picture, drawn)
            summary += _summary(plan, rows, folder.name)
            parts.append(section(plan, rows, folder.name, f"images/{picture.name}"))
        if not found:
            missing.append(f"- {plan.title}: `python -m experiments run {name}`. {plan.question}")
    if missing:
        parts.append("## Not run\n\n" + _NOT_RUN + "\n\n" + "\n".join(missing))
    if summary:
        table = "\n".join(["| claim of the paper | metric | result | scale |", "|---|---|---|---|", *summary])
        parts.insert(0, f"## Summary\n\n{table}")
    audio.write_bytes(page, ("\n\n".join([_HEAD, *parts]) + "\n").encode())
    return total


def read(folder: Path, plan: Plan) -> Rows:
    """Row → its runs, ordered by seed; rows without runs are omitted."""
    found: Rows = {name: [] for name in plan.rows}
    for file in folder.glob("*.json"):
        result = json.loads(file.read_text())
        if result["row"] in found:
            found[result["row"]].append(result | _memorisation_scores(result, plan))
    return {name: sorted(runs, key=lambda run: run["seed"]) for name, runs in found.items() if runs}


def _memorisation_scores(result: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Shares of planted examples that are continued exactly, over all prompts, as scores."""
    scores = {}
    for metric, times in plans.memorisation_metrics(plan).items():
        clips = {
            f"{prompt} s, {number}": float(equal == 1.0)
            for prompt, cell in result["memorisation"].get(times, {}).items()
            for number, equal in enumerate(cell["equal"])
        }
        if clips:
            value = sum(clips.values()) / len(clips)
            scores[metric] = {"value": value, "low": None, "high": None, "direction": "higher", "clips": clips}
    return {"scores": scores} if plan.planted else {}


def section(plan: Plan, rows: Rows, scale: str, picture: str) -> str:
    """One experiment at one scale."""
    return "\n\n".join(
        part
        for part in (
            f"## {plan.title}, scale `{scale}`",
            plan.question,
            _memorised(rows) if plan.planted else _table(plan, rows),
            f"![{plan.title}]({picture})",
            _verdicts(plan, rows),
            plan.reading.get(scale, ""),
            plan.note,
            _paper(plan),
            _provenance(rows, scale),
        )
        if part
    )


def plot(plan: Plan, rows: Rows) -> bytes:
    """PNG with a panel for each metric: rows with their intervals, every seed as a mark."""
    from matplotlib.figure import Figure

    names, width = list(rows), 3.2 * len(plan.metrics)
    height = 0.45 * len(rows) + 1.4
    whole = Figure(figsize=(width, height + (3.2 if plan.curves else 0)), layout="constrained")
    figure: Any = whole
    if plan.curves:
        halves: Any = whole.subfigures(2, 1, height_ratios=[height, 3.2])
        figure, below = halves
        _curves(below, rows)
    for axes, metric in zip(figure.subplots(1, len(plan.metrics), squeeze=False)[0], plan.metrics, strict=True):
        for place, name in enumerate(names):
            mean, low, high = claims.mean_and_interval(rows[name], metric)
            axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color="#4f46e5", capsize=3)
            each = claims.values(rows[name], metric)
            axes.plot(each, [place] * len(each), "|", color="#94a3b8", markersize=9)
        axes.set_yticks(range(len(names)), names if axes.get_subplotspec().is_first_col() else [""] * len(names))
        axes.invert_yaxis()
        axes.set_title(title(metric), fontsize=9)
        axes.grid(axis="x", alpha=0.3)
    buffer = io.BytesIO()
    whole.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _curves(figure: Any, rows: Rows) -> None:
    """Training and held-out losses over steps, a line for each seed."""
    left, right = figure.subplots(1, 2)
    for number, (name, runs) in enumerate(rows.items()):
        for run in runs:
            style = {"color": COLOURS[number % len(COLOURS)], "linewidth": 1.2}
            label = name if run is runs[0] else None
            left.plot(*zip(*run["losses"], strict=True), label=label, **style)
            held_out = [(one["step"], one["loss"]) for one in run["validations"]]
            right.plot(*zip(*held_out, strict=True), marker="o", markersize=3, label=label, **style)
    for axes, text in ((left, "training"), (right, "held out")):
        axes.set_title(text, fontsize=9)
        axes.set_xlabel("step")
        axes.set_ylabel("cross-entropy (nats)")
        axes.grid(alpha=0.3)
    right.legend(frameon=False, fontsize=8)


def plot_memorisation(rows: Rows) -> bytes:
    """PNG with a panel for each number of repetitions: exact (lines) and partial (dashes) matches over prompt length."""
    from matplotlib.figure import Figure

    groups = list(next(iter(rows.values()))[0]["memorisation"])
    figure = Figure(figsize=(3.4 * len(groups), 3.2), layout="constrained")
    for axes, times in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        for number, (name, runs) in enumerate(rows.items()):
            for kind, style in (("exact", "-"), ("partial", "--")):
                shares = [(float(prompt), share) for prompt, share, _ in _shares(runs, times, kind)]
                axes.plot(*zip(*shares, strict=True), style, color=COLOURS[number], label=f"{name}, {kind}")
        axes.set_title(f"planted {times} time{'' if times == '1' else 's'}", fontsize=9)
        axes.set_xlabel("prompt (s)")
        axes.set_ylabel("share of examples")
        axes.set_ylim(-0.03, 1.03)
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _memorised(rows: Rows) -> str:
    """Share of examples with exact and partial (80 % of the codes) matches, with Wilson's interval."""
    head = ["", "planted", "prompt", "exact", "partial (80 %)", "examples"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in rows.items():
        for times in runs[0]["memorisation"]:
            exact, partial = _shares(runs, times, "exact"), _shares(runs, times, "partial")
            for (prompt, one, n), (_, other, _) in zip(exact, partial, strict=True):
                cells = [name, f"{times} ×", f"{prompt} s", _wilson(one, n), _wilson(other, n), str(n)]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shares(runs: Sequence[dict[str, Any]], times: str, kind: str) -> list[tuple[str, float, int]]:
    """(prompt, share, examples) over all seeds."""
    found = []
    for prompt in runs[0]["memorisation"][times]:
        cells = [run["memorisation"][times][prompt] for run in runs]
        examples = sum(cell["examples"] for cell in cells)
        found.append((prompt, sum(cell[kind] for cell in cells) / examples, examples))
    return found


def _wilson(share: float, n: int) -> str:
    interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return f"{share:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def title(metric: str) -> str:
    """Heading of a column, with an arrow to better values."""
    if metric in _OWN:
        return _OWN[metric]
    if metric.startswith("exact "):
        return f"{metric.replace('exact', 'Exact, planted')} ↑"
    return f"{METRICS[metric].title} {'↓' if METRICS[metric].direction == 'lower' else '↑'}"


def _table(plan: Plan, rows: Rows) -> str:
    head = ["", *(title(metric) for metric in plan.metrics), "steps", "s to generate, at best", "seeds × clips"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in rows.items():
        cells = [name]
        for metric in plan.metrics:
            mean, low, high = claims.mean_and_interval(runs, metric)
            cells.append(f"{mean:.3g} [{low:.3g}, {high:.3g}]")
        times = [run["generate_seconds"] for run in runs if run["generate_seconds"] is not None]
        cells += [
            str(runs[0]["steps"]),
            f"{min(times):.0f}" if times else "–",
            f"{len(runs)} × {runs[0]['clips']}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _summary(plan: Plan, rows: Rows, scale: str) -> list[str]:
    """A line for each claim that could be tested."""
    lines = []
    for claim in plan.claims:
        better, than = _matched(rows, claim)
        if better:
            words = _words(claim, claims.evaluate_claim(better, than, claim.metric))
            seeds = _times(len(better), "seed")
            name = plan.title.split(":")[0]
            lines.append(f"| {name}: {claim.text} | {title(claim.metric)} | {words} ({seeds}) | `{scale}` |")
    return lines


def _verdicts(plan: Plan, rows: Rows) -> str:
    lines = []
    for claim in plan.claims:
        better, than = _matched(rows, claim)
        if not better:
            lines.append(f"- {claim.text} ({title(claim.metric)}): not run yet")
            continue
        found = claims.evaluate_claim(better, than, claim.metric)
        unit = " nats" if claim.metric == "perplexity" else ""
        measured = f"{found.difference:.3g}{unit} [{found.low:.3g}, {found.high:.3g}], {_times(len(better), 'seed')}"
        lines.append(
            f"- {claim.text} ({title(claim.metric)}): **{_words(claim, found)}**; {claim.better} − {claim.than} = {measured}"
            f"{_clipwise(better, than, claim.metric)}"
        )
    return "\n".join(lines)


def _words(claim: Claim, found: claims.ClaimTest) -> str:
    return (DENIED if claim.denied else WORDS)[found.holds]


def _clipwise(better: list[dict[str, Any]], than: list[dict[str, Any]], metric: str) -> str:
    tested = claims.clip_p_value(better, than, metric)
    if tested is None:
        return ""
    p, clips = tested
    return f"; these models' own clips: p {'<' if p < 0.001 else '='} {max(p, 0.001):.3f}, n = {clips}"


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _matched(rows: Rows, claim: Claim) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs of seeds that have both rows and the claim's metric."""

    def measured(row: str) -> list[dict[str, Any]]:
        return [run for run in rows.get(row, []) if claim.metric == "perplexity" or claim.metric in run["scores"]]

    one, other = measured(claim.better), measured(claim.than)
    seeds = {run["seed"] for run in one} & {run["seed"] for run in other}
    return [run for run in one if run["seed"] in seeds], [run for run in other if run["seed"] in seeds]


def _paper(plan: Plan) -> str:
    columns, rows = plan.paper.get("columns", []), plan.paper.get("rows", {})
    if not rows:
        return ""
    lines = ["The paper's:", "", "| | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    lines += [f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines)


def _provenance(rows: Rows, scale: str) -> str:
    runs: Sequence[dict[str, Any]] = [run for each in rows.values() for run in each]
    first = runs[0]
    optimisation, experiment = first["recipe"]["optimisation"], first["experiment"]
    seconds, device = first["recipe"]["data"]["seconds"], first["machine"]["device"]
    # Rows that test the same model share its training.
    trained = {(json.dumps(run["recipe"]), json.dumps(run.get("tokenizer"))): run["train_seconds"] for run in runs}
    cost = (sum(trained.values()) + sum(run.get("generate_seconds") or 0 for run in runs)) / 60
    commits = ", ".join(f"`{commit}`" for commit in sorted({run["commit"] for run in runs}))
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    steps = sorted({run["recipe"]["optimisation"]["steps"] for run in runs})
    return (
        f"Scale `{scale}`: {' or '.join(map(str, steps))} steps of {optimisation['batch']} crops of {seconds:g} s"
        f"{_music(first)}; {_compared(first)}seeds {seeds}; {cost:.0f} minutes of training and generation, "
        f"including waits for other work ({device}); commit {commits}. Each run's recipe, losses and clip values: "
        f"`experiments/results/{experiment}/{scale}/`."
    )


def _music(run: dict[str, Any]) -> str:
    corpus = run.get("corpus")
    return f" from {corpus['clips']} clips, {corpus['hours']:.1f} hours" if corpus else ""


def _compared(run: dict[str, Any]) -> str:
    """Length and references of the clips. Older results do not say: they have the originals of 10 s."""
    if "memorisation" in run:
        return ""
    test = run.get("test") or {"seconds": 10.0, "references": "original"}
    return f"clips of {test['seconds']:g} s against references {_REFERENCES[test['references']]}; "


_REFERENCES = {"original": "as rendered", "through the tokeniser": "reconstructed by the tokeniser"}
_NOT_RUN = "These have plans and no results yet. `--scale core` takes the least time."
_HEAD = """# The paper's experiments at small scale

`python -m experiments report` writes this page from the stored results of `python -m experiments run NAME`. Models are trained
on the synthetic corpus (`musicgen/training/corpus`) with the embedded tokeniser, and tested on the 100 held-out compositions
of the `synth` suite with its `*_mini` metrics ([definitions](metrics/README.md)): compare the order of the rows with the
paper's, not the values. In brackets: 95 % confidence intervals (Student's t) over seeds; each seed trains and generates
anew."""
