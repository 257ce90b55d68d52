"""Messages fit the place: at the page nobody has arguments, at the shell nobody has check boxes."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.ui import messages, texts
from musicgen import checkpoint, commandline
from musicgen.__main__ import main
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.errors import CheckpointError, InputError, MusicGenError
from tests.conftest import GOLDEN

TUNE = GOLDEN / "chroma" / "melody_a.wav"
CODE = re.compile(r"\b[a-z_]\w*=|--\w")
"""Arguments of Python and of the shell. Environment variables are in capitals, and the same everywhere."""
ROOT = Path(__file__).parents[2]
PYTHON = re.compile(r"(?<![-\w'\"(\[.])[a-z_]\w*=|\b[a-z_.]+\([a-z_]+=")
"""Arguments and calls of Python in a message."""
EXAMPLES_OF_VALUES = ("top_k=100", "passt=FILE", "NAME=VALUE", "checkpoint=FOLDER", "energy=0.5")
"""What options of the shell and fields of the page take."""
OTHERS_THAN_VISITORS = (
    "musicgen/commandline.py", "musicgen/commands", "musicgen/playback.py", "musicgen/training", "musicgen/plugins.py",
    "musicgen/serving/engines/ray_serve.py", "musicgen/serving/web/server.py", "demo/deploy.py", "demo/start.py",
    "evaluation", "human_study",
)  # fmt: skip
"""Modules that nothing at the page calls."""


def no_separator(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_name: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr("demucs.pretrained.get_model", unreachable)


def raised(work) -> MusicGenError:
    with pytest.raises(MusicGenError) as caught:
        work()
    return caught.value


def test_separation_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    no_separator(monkeypatch)
    error = raised(DemucsSeparator()._loaded)
    assert "pass separate=False" in str(error)
    page = messages.to_gradio_error(error).message
    assert "tick 'Already clean'" in page
    assert texts.MELODY_IS_CLEAN.startswith("Already clean")
    assert not CODE.search(page)
    arguments = [
        "generate",
        "--model",
        "mini-melody",
        "--melody",
        str(TUNE),
        "--separation",
        "-d",
        "1",
        "-o",
        str(tmp_path),
    ]
    assert main([*arguments, "x"]) == 2
    shell = capsys.readouterr().err
    assert "pass --no-separation" in shell
    assert "separate=" not in shell


def test_a_model_that_is_not_here() -> None:
    error = raised(lambda: checkpoint.find("facebook/musicgen-large"))
    assert "pass the path of a folder" in str(error)
    page = messages.to_gradio_error(error).message
    assert "choose another model, or ask the operator" in page
    assert "path" not in page
    assert "name a folder" in error.told("shell")


def test_an_error_keeps_its_messages_on_its_way_from_another_process() -> None:
    error = InputError("too loud: ", python="pass loudness=-20", shell="pass --loudness -20", page="move the slider")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is InputError
    for one in (error, copy):
        assert str(one) == "too loud: pass loudness=-20"
        assert one.told("shell") == "too loud: pass --loudness -20"
        assert one.told("page") == "too loud: move the slider"
    assert InputError("the same").told("page") == InputError("the same").told("shell") == "the same"


def test_commands_print_the_message_for_the_shell(capsys) -> None:
    @commandline.entry()
    def work() -> None:
        raise InputError("a: ", python="b", shell="c", page="d")

    assert work() == 2
    assert capsys.readouterr().err == "error: a: c\n"


def known_messages() -> Iterator[tuple[str, dict[str, str]]]:
    """Module and texts of each error that is raised on purpose: the place -> the message there, values as "…"."""
    classes = {"InputError", "CheckpointError", "MusicGenError", "QueueFull"}
    for package in ("musicgen", "demo", "evaluation", "human_study"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes:
                    message = _text(node.args[0]) if node.args else ""
                    parts = {str(keyword.arg): _text(keyword.value) for keyword in node.keywords}
                    remedies = {place: parts.get(place, "") for place in ("python", "shell", "page")}
                    yield (
                        path.relative_to(ROOT).as_posix(),
                        {place: f"{message}{remedy}" for place, remedy in remedies.items()},
                    )


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_text(node.body)} {_text(node.orelse)}"
    return "…"


def test_every_message_speaks_of_what_can_be_done_where_it_is_read() -> None:
    messages = list(known_messages())
    assert len(messages) > 500
    for module, told in messages:
        assert not PYTHON.search(told["shell"]) or any(one in told["shell"] for one in EXAMPLES_OF_VALUES), told[
            "shell"
        ]
        if module.startswith(OTHERS_THAN_VISITORS):
            continue
        page = told["page"]
        for_somebody_else = any(
            one in page for one in ("operator", "command line", "set another folder with --temporary", "energy=0.5")
        )
        assert not CODE.search(page) or for_somebody_else, page
        assert not page.rstrip().endswith((":", ",", "…, ")), page


def test_a_model_with_damaged_files_is_the_operators_at_the_page() -> None:
    damaged = CheckpointError("model.safetensors: damaged")
    assert str(damaged) == damaged.told("shell") == "model.safetensors: damaged"
    assert "choose another model, or tell the operator" in messages.to_gradio_error(damaged).message
    missing = messages.to_gradio_error(raised(lambda: checkpoint.find("facebook/musicgen-large"))).message
    assert missing.count("choose another model") == 1
