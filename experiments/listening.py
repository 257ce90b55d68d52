"""Results of an experiment's listening study: the mean ratings of its clips.

RESULTS/NAME/SCALE/listening/SEED.json     means and intervals of each row and question, from which the report is made
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.plan import Plan, Scale
from experiments.study import REFERENCE, study_folder, system_name
from human_study.analysis import ratings_reader
from human_study.analysis.results import analyse
from human_study.database import study_database
from human_study.design import manifest
from musicgen import audio
from musicgen.errors import InputError

FOLDER = "listening"


def collect(
    output: Path, results: Path, name: str, plan: Plan, scale: Scale, seed: int, database: str | None = None
) -> Path:
    """Screen and analyse the ratings of an experiment's listening study, and store the means.

    Args:
        output: Folder of the runs, in which the study is.
        results: Folder of the results.
        name: Of the experiment.
        plan: Its plan.
        scale: At which it was run.
        seed: The runs whose clips were rated.
        database: Its URL where the study was served from another one than the SQLite file in the study folder.

    Returns:
        The file of the result.

    Raises:
        InputError: There is no such study, or nobody has rated it.
    """
    folder = study_folder(output, name, scale, seed)
    if not (folder / manifest.FILE).is_file():
        raise InputError(
            f"{folder}: there is no study: run `python -m experiments study {name} --scale {scale.name} --seed {seed}` first, "
            "with the same --output"
        )
    study = manifest.read(folder)
    opened = study_database.open_database(study, database)
    try:
        with opened.read() as connection:
            data = ratings_reader.read(connection, opened, study)
    finally:
        opened.dispose()
    if not data.raters:
        raise InputError(f"{folder}: there are no ratings yet")
    found = analyse(data, protocol=study.settings.screening)
    rows = {system_name(row): row for row in plan.rows} | {REFERENCE: REFERENCE}
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for one in found.scores:
        scores.setdefault(one.question, {})[rows[one.system]] = {
            "mean": round(one.score.mean, 2),
            "half_width": None if one.score.half_width is None else round(one.score.half_width, 2),
            "ratings": one.score.ratings,
        }
    made = {
        "experiment": name, "scale": scale.name, "seed": seed, "raters": len(data.raters),
        "kept": len(found.screened.data.raters), "questions": scores,
    }  # fmt: skip
    file = results / name / scale.name / FOLDER / f"{seed}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    audio.write_bytes(file, (json.dumps(made, indent=1) + "\n").encode())
    return file


def tables(folder: Path) -> list[str]:
    """The stored means of a scale's folder of results as Markdown, one table for each study.

    Args:
        folder: RESULTS/NAME/SCALE.
    """
    found = []
    for file in sorted((folder / FOLDER).glob("*.json")):
        made = json.loads(file.read_text())
        questions = made["questions"]
        rows = list(dict.fromkeys(row for scores in questions.values() for row in scores))
        lines = ["| | " + " | ".join(f"{question} ↑" for question in questions) + " | ratings |"]
        lines.append("|" + "---|" * (len(questions) + 2))
        for row in rows:
            cells = [_cell(scores.get(row)) for scores in questions.values()]
            number = sum(scores[row]["ratings"] for scores in questions.values() if row in scores)
            lines.append("| " + " | ".join([row, *cells, str(number)]) + " |")
        about = (
            f"Listening study of the clips of seed {made['seed']}: {made['kept']} of {made['raters']} raters after the "
            "screening, means ± half of the 95 % interval (CrowdMOS)."
        )
        found.append("\n".join([about, "", *lines]))
    return found


def _cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return "–"
    return f"{score['mean']:.2f}" + ("" if score["half_width"] is None else f" ± {score['half_width']:.2f}")
