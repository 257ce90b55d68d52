"""What README.md shows is what works: its Python, its commands and those of docs/training.md, its table of models."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from accelerate.state import AcceleratorState

from musicgen import catalog, samples
from musicgen.__main__ import main
from tests import standins

_SHORT = ["optimisation.steps=1", "optimisation.batch=2", "data.validation=1"]
TOY = {
    "lora": _SHORT,
    "fine-tune": _SHORT,
    "tokenizer/encodec-32khz": [
        "optimisation.steps=1", "optimisation.batch=1", "optimisation.precision=float32", "optimisation.compile=false",
        "shape.filters=4", "shape.hidden_size=16", "shape.codebook_size=16", "quantisation.start_step=0", "adversarial=null",
        "quantisation.vectors_per_code=1", "data.validation_files=1",
    ],
}  # fmt: skip
"""What makes the README's trainings short; the rest of each command stays as it is written."""

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "docs" / "training.md").read_text()


@pytest.fixture(autouse=True)
def desk(hub_cache: Path, audiocraft_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tune called bach.mp3, and tiny random models under the published names."""
    demucs, small = tmp_path / "demucs", tmp_path / "small"
    demucs.mkdir()
    standins.publish_demucs(hub_cache, demucs)
    standins.publish(hub_cache, "facebook/musicgen-small", standins.write(standins.transformers_model(), small))
    standins.publish(hub_cache, "facebook/musicgen-melody", audiocraft_folder("melody"))
    desk = tmp_path / "desk"
    desk.mkdir()
    t = np.arange(64_000) / 32_000
    soundfile.write(desk / "bach.mp3", 0.3 * np.sin(2 * np.pi * 440 * t), 32_000)
    (desk / "my-music").mkdir()
    for number in range(12):
        tune = 0.3 * np.sin(2 * np.pi * (220 + 20 * number) * t)
        soundfile.write(desk / "my-music" / f"{number}.flac", tune, 32_000)
        (desk / "my-music" / f"{number}.json").write_text(json.dumps({"description": f"tune {number}"}))
    (desk / "list.csv").write_text("prompt,seed\nslow piano,3\nloud drums,4\n")
    lines = [json.dumps({"path": f"{number}.flac"}) for number in range(12)]
    (desk / "my-music" / "manifest.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(desk)
    return desk


def blocks(language: str, *documents: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", "".join(documents), flags=re.DOTALL)


def test_the_python_examples_run() -> None:
    first, published, many = blocks("python", README)
    assert len(first.strip().splitlines()) <= 11
    names: dict = {}
    exec(first.replace("duration=10.0", "duration=0.5"), names)
    assert names["wav"].shape == (2, 1, 16_000)
    assert soundfile.info("lofi.flac").frames == 16_000
    exec(published.replace("duration=10.0", "duration=0.5"), names)
    assert names["wav"].shape == (1, 1, 16_000)
    exec(many.replace("duration=10.0", "duration=0.5"), names)
    assert names["other"].shape == (1, 16_000)


def test_the_shell_commands_run(desk: Path) -> None:
    commands = [
        line
        for block in blocks("bash", README, TRAINING)
        for line in block.splitlines()
        if line.startswith("python -m musicgen")
    ]
    assert len(commands) >= 5
    for command in commands:
        arguments = shlex.split(command.replace("--duration 10", ""), comments=True)[3:]
        if arguments[0] == "generate" and "--timeline" in arguments:
            arguments += ["--duration", "1.5", "--timeline", "0:0.5 drum and bass|1 strings"]
        elif arguments[0] == "generate" and "--from-file" not in arguments:
            arguments += ["--duration", "0.5"]
        if arguments[0] == "repaint":
            arguments[arguments.index("--span") + 1] = "0.1:0.3"
        if arguments[0] == "train":
            arguments += [*TOY[arguments[1]], "--device", "cpu"]
            AcceleratorState._reset_state(reset_partial_state=True)
        assert main(arguments) == 0, command
    assert (desk / "other.flac").is_file()
    assert len(list((desk / "clips").iterdir())) == 2
    assert len(list((desk / "lofi-takes").iterdir())) == 8
    assert len(samples.read(desk / "outputs" / "list").samples) == 2
    assert soundfile.info(desk / "new.flac").frames == soundfile.info(desk / "other.flac").frames
    assert (desk / "my-folder" / "model.safetensors").is_file()


def test_the_table_of_models_is_the_catalogues() -> None:
    rows = re.findall(r"\| `(facebook/\S+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|", README)
    assert [row[0] for row in rows] == [entry.name for entry in catalog.PUBLISHED]
    for (_, makes, follows, channels, weights, files), entry in zip(rows, catalog.PUBLISHED, strict=True):
        assert (makes, follows, channels) == (entry.makes, entry.follows, entry.channels)
        size, unit = weights.split()
        assert float(size) * {"M": 1e6, "B": 1e9}[unit] == pytest.approx(entry.lm_parameters, rel=0.04)
        assert float(files.removesuffix(" GB")) == pytest.approx(entry.download_bytes / 1e9, abs=0.06)


def test_the_table_of_parts_is_the_catalogues() -> None:
    rows = re.findall(r"^\| `(\S+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", README, flags=re.MULTILINE)
    parts = {part.name: part for part in catalog.PARTS}
    assert [row[0] for row in rows if row[0] in parts] == list(parts)
    for name, use, memory, licence in rows:
        part = parts[name]
        assert (use, licence) == (part.use, part.licence)
        if part.parameters is None:
            assert memory == "as its file"
        else:
            size, unit = memory.split()
            assert float(size) * {"MB": 1e6, "GB": 1e9}[unit] == pytest.approx(4 * part.parameters, rel=0.04)
