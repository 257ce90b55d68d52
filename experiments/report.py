"""Stored results -> docs/experiments.md: tables beside the paper's, plots, tests of the claims, and provenance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from evaluation.reports.results import Results, load_results
from experiments import claims, listening
from experiments import plan as plans
from experiments.diagnosis import FOLDER
from experiments.metric_names import title
from experiments.plan import Claim, Plan
from experiments.plots import Rows, plot, plot_memorisation, shares
from musicgen import audio

NOT_RUN = "not run"
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


def write(results: Path, page: Path = DOCS / "experiments.md", pictures: Path = DOCS / "images") -> int:
    """Write the page and its plots. Returns the number of runs."""
    parts: list[str] = []
    summary: list[str] = []
    missing: list[str] = []
    total = 0
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
            heard = listening.tables(folder)
            parts.append(section(plan, rows, folder.name, f"images/{picture.name}", heard))
        if not found:
            summary += _summary(plan, {}, "")
            missing.append(section_not_run(plan, name))
    parts += missing
    for file in sorted((results / FOLDER).glob("*.json")):
        reading = file.with_suffix(".md")
        parts.append(diagnosed(load_results(file), file.stem, reading.read_text().strip() if reading.is_file() else ""))
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


def section(plan: Plan, rows: Rows, scale: str, picture: str, heard: Sequence[str] = ()) -> str:
    """One experiment at one scale. heard: the tables of its listening studies."""
    return "\n\n".join(
        part
        for part in (
            f"## {plan.title}, scale `{scale}`",
            plan.question,
            _memorised(rows) if plan.planted else _table(plan, rows),
            *heard,
            f"![{plan.title}]({picture})",
            _verdicts(plan, rows),
            plan.reading.get(scale, ""),
            plan.note,
            _paper(plan),
            _provenance(rows, scale),
            _left_to_run(plan, rows, scale),
        )
        if part
    )


def diagnosed(results: Results, model: str, reading: str = "") -> str:
    """The section of a diagnosis. reading: what it shows, written by hand."""
    head = ["clips", *(title(metric) for metric in results.metrics)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for system in results.systems:
        scores = [system.score(metric) for metric in results.metrics]
        cells = [
            f"{one.value:.3g} [{one.low:.3g}, {one.high:.3g}]" if one and one.low is not None else "–" for one in scores
        ]
        lines.append("| " + " | ".join([system.name, *cells]) + " |")
    about = (
        "Clips that differ from the references in one step of the model each (`experiments/diagnosis.py` defines them):"
    )
    source = f"n = {len(results.ids)}, 95 % intervals over clips, `python -m experiments diagnose {model}`."
    return "\n\n".join(
        part for part in (f"## What holds `{model}` back", about, "\n".join(lines), source, reading) if part
    )


def section_not_run(plan: Plan, name: str) -> str:
    """An experiment that has a plan and no results yet."""
    return "\n\n".join(
        part
        for part in (
            f"## {plan.title}, {NOT_RUN}",
            plan.question,
            _table(plan, {}),
            _verdicts(plan, {}),
            plan.note,
            _paper(plan),
            f"`python -m experiments run {name} --scale {plan.scale}` runs it.",
        )
        if part
    )


def _memorised(rows: Rows) -> str:
    """Share of examples with exact and partial (80 % of the codes) matches, with Wilson's interval."""
    head = ["", "planted", "prompt", "exact", "partial (80 %)", "examples"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, runs in rows.items():
        for times in runs[0]["memorisation"]:
            exact, partial = shares(runs, times, "exact"), shares(runs, times, "partial")
            for (prompt, one, n), (_, other, _) in zip(exact, partial, strict=True):
                cells = [name, f"{times} ×", f"{prompt} s", _wilson(one, n), _wilson(other, n), str(n)]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _wilson(share: float, n: int) -> str:
    interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return f"{share:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _table(plan: Plan, rows: Rows) -> str:
    head = ["", *(title(metric) for metric in plan.metrics), "steps", "s to generate, at best", "seeds × clips"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in plan.rows:
        if name not in rows:
            lines.append("| " + " | ".join([name, *[NOT_RUN] * (len(head) - 1)]) + " |")
            continue
        runs = rows[name]
        cells = [name]
        for metric in plan.metrics:
            if not claims.has(runs, metric):
                cells.append("–")
                continue
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
    """A line for each claim."""
    lines = []
    for claim in plan.claims:
        better, than = claims.matched(rows, claim)
        words, where = NOT_RUN, f"`{scale}`" if scale else "–"
        if better:
            found = claims.evaluate_claim(better, than, claim.metric)
            words = f"{_words(claim, found)} ({_times(len(better), 'seed')})"
        name = plan.title.split(":")[0]
        lines.append(f"| {name}: {claim.text} | {title(claim.metric)} | {words} | {where} |")
    return lines


def _verdicts(plan: Plan, rows: Rows) -> str:
    lines = []
    for claim in plan.claims:
        better, than = claims.matched(rows, claim)
        if not better:
            lines.append(f"- {claim.text} ({title(claim.metric)}): {NOT_RUN}")
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


def _left_to_run(plan: Plan, rows: Rows, scale: str) -> str:
    """The command for the rows without a result."""
    experiment = next(iter(rows.values()))[0]["experiment"]
    left = [name for name in plan.rows if name not in rows]
    return (
        f"Not run: {'; '.join(left)}. `python -m experiments run {experiment} --scale {scale}` runs them."
        if left
        else ""
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
_HEAD = """# The paper's experiments at small scale

`python -m experiments report` writes this page from the stored results of `python -m experiments run NAME`. Models are trained
on the synthetic corpus (`musicgen/training/corpus`) with the embedded tokeniser, and tested on the 100 held-out compositions
of the `synth` suite with its `*_mini` metrics ([definitions](metrics/README.md)): compare the order of the rows with the
paper's, not the values. In brackets: 95 % confidence intervals (Student's t) over seeds; each seed trains and generates
anew."""
