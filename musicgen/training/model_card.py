"""python -m musicgen.training.model_card RUN OUTPUT: a trained model as a folder to publish, with its model card.

    RUN/model/          the weights, in the transformers layout
    RUN/history.json    losses and validations
    QUALITY.json        `python -m musicgen.training.quality` wrote it
    TEXT.md             intended use and limits, written by hand
        -> OUTPUT/README.md, curves.png, quality.json and the model's files

All numbers of the card are from these files.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import musicgen
from musicgen import commandline, textfiles
from musicgen.errors import InputError
from musicgen.training.lm.checkpointing import latest_recipe
from musicgen.training.lm.shards import Index, read_index
from musicgen.training.quality import table, thresholds_table

LICENCE = "MIT"
QUALITY = "quality.json"
HISTORY = "history.json"


def write(run: Path, output: Path, quality: Path | None, text: Path | None, tokens: str = "") -> None:
    """Write the folder `output` from a finished run."""
    model = run / "model"
    if not (model / "config.json").is_file():
        raise InputError(f"{run}: no trained model inside: finish the run first")
    if output.exists():
        raise InputError(f"{output} exists already: choose another folder")
    parts = [(part, json.loads((part / HISTORY).read_bytes())) for part in lineage(run)]
    index = read_index(tokens or latest_recipe(run).data.tokens or str(run / "tokens"))
    shutil.copytree(model, output)
    _plot([history for _, history in parts], output / "curves.png")
    results = None if quality is None else json.loads(quality.read_bytes())
    if results is not None:
        # Without the values of every clip.
        rows = {name: row["summary"] for name, row in results["rows"].items()}
        (output / QUALITY).write_text(json.dumps(results | {"rows": rows}, indent=1) + "\n", encoding="utf-8")
    told = "" if text is None else textfiles.read(text).strip()
    (output / "README.md").write_text(_card(output.name, parts, index, results, told), encoding="utf-8")


def lineage(run: Path) -> list[Path]:
    """The runs that led to this one, in order: each fine-tunes the model of the one before."""
    start = latest_recipe(run).start.model
    before = run.parent / Path(start).parent.name if start else None
    if before is None or not (before / HISTORY).is_file():
        return [run]
    return [*lineage(before), run]


def _card(
    name: str,
    parts: Sequence[tuple[Path, dict[str, Any]]],
    index: Index | None,
    quality: dict[str, Any] | None,
    text: str,
) -> str:
    run, history = parts[-1]
    model = musicgen.load(run / "model", "cpu", "float32")
    last = history["validations"][-1]
    size = sum(file.stat().st_size for file in (run / "model").iterdir()) / 1e6
    weights = sum(parameter.numel() for parameter in model.lm.parameters()) / 1e6
    encoder = sum(parameter.numel() for parameter in model.text.parameters()) / 1e6
    perplexity = ", ".join(f"{value:.1f}" for value in last["perplexity"])
    lines = [
        "---",
        f"license: {LICENCE.lower()}",
        "library_name: transformers",
        "pipeline_tag: text-to-audio",
        "---",
        f"# {name}",
        "",
        text,
        "",
        "## What it is",
        "",
        f"- Follows: {'text and melody' if model.melody is not None else 'text'}; {model.channels} channel"
        f"{'s' if model.channels > 1 else ''}, {model.sample_rate} Hz, context {model.max_duration:g} s.",
        f"- Language model: {weights:.1f} M weights, {model.lm.config.num_layers} layers of width {model.lm.config.dim}, "
        f"{model.lm.config.num_codebooks} codebooks of {model.lm.config.codebook_size}; text encoder {encoder:.1f} M; "
        f"{size:.1f} MB on disk.",
        f"- Licence of weights and data: {LICENCE}. `musicgen.load({name!r})`, or transformers' own classes.",
        "",
        "## Data",
        "",
    ]
    if index is not None:
        seconds = index.frames / _rate(index)
        lines.append(
            f"{seconds / 3600:.1f} hours in {sum(index.train.values())} clips ({sum(index.valid.values())} more held out, "
            f"{len(index.not_used)} not used), composed and rendered by `musicgen.training.corpus`: no recording and no "
            "text of anybody else went into it."
        )
    lines += [
        "",
        "## Training",
        "",
        f"Held out: loss {last['loss']:.3f}, perplexity of the codebooks {perplexity}. The runs that led here:",
        "",
        "| recipe | steps | crops a step | seconds | held-out loss |",
        "|---|---|---|---|---|",
        *(_row(part, each) for part, each in parts),
        "",
        *_origin(parts[0][0]),
        f"`make pretrained` makes all of them. The last recipe, whole (seed {latest_recipe(run).seed}):",
        "",
        "```yaml",
        yaml.safe_dump(_recipe(run), sort_keys=False).strip(),
        "```",
        "",
        "![loss over the steps](curves.png)",
        "",
        "## Quality",
        "",
    ]
    if quality is None:
        lines.append("Not measured.")
    else:
        first, last_seed = quality["seeds"]
        lines += [
            f"`python -m musicgen.training.quality {name}`: the held-out compositions of the seeds {first} to {last_seed}, "
            f"{quality['duration']:g} s each, on {platform.machine()} ({platform.system()}).",
            "",
            table(quality),
            "",
            thresholds_table(quality),
        ]
    return "\n".join(lines) + "\n"


def _row(run: Path, history: dict[str, Any]) -> str:
    recipe, last = latest_recipe(run), history["validations"][-1]
    batch, seconds = recipe.optimisation.batch, recipe.data.seconds
    return f"| `{run.name}` | {last['step']} | {batch} | {seconds:g} | {last['loss']:.3f} |"


def _origin(first: Path) -> list[str]:
    """The model that the first run fine-tuned, if any."""
    start = latest_recipe(first).start.model
    return [f"They went on from `{start}`.", ""] if start else []


def _recipe(run: Path) -> dict[str, Any]:
    """The last recipe without paths of this machine."""
    values = latest_recipe(run).as_dict()
    values["data"] |= {"path": "", "tokens": ""}
    return values


def _rate(index: Index) -> float:
    numerator, _, denominator = index.rate.partition("/")
    return int(numerator) / int(denominator or 1)


def _plot(histories: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the losses of the runs one after the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    before = 0
    for number, history in enumerate(histories):
        steps, losses = zip(*history["losses"], strict=True)
        validations = history["validations"]
        axis.plot(
            [before + step for step in steps], losses, color="#9aa5b1", linewidth=1,
            label=None if number else "training",
        )  # fmt: skip
        axis.plot(
            [before + one["step"] for one in validations], [one["loss"] for one in validations],
            color="#1f6feb", marker="o", markersize=3, label=None if number else "held out (EMA)",
        )  # fmt: skip
        if number:
            axis.axvline(before, color="#d0d7de", linewidth=1, zorder=0)
        before += validations[-1]["step"]
    axis.set_xlabel("step")
    axis.set_ylabel("cross-entropy (nats)")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = commandline.Parser(prog="python -m musicgen.training.model_card", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("output", type=Path, help="the new folder; its name is the model's")
    parser.add_argument("--quality", type=Path, help="what musicgen.training.quality wrote with --json")
    parser.add_argument("--text", type=Path, help="Markdown that opens the card")
    parser.add_argument("--tokens", default="", help="the tokens' folder, if not the recipe's")
    options = parser.parse_args(arguments)
    write(options.run, options.output, options.quality, options.text, options.tokens)


if __name__ == "__main__":
    sys.exit(main())
