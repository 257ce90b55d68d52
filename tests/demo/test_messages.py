"""Messages fit the place: at the page nobody has arguments, at the shell nobody has check boxes."""

import pickle
import re
from pathlib import Path

import pytest

from demo.ui import events, texts
from musicgen import checkpoint, commandline
from musicgen.__main__ import main
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.errors import InputError, MusicGenError
from tests.conftest import GOLDEN

TUNE = GOLDEN / "chroma" / "melody_a.wav"
CODE = re.compile(r"\b\w+=|--\w")
"""Arguments of Python and of the shell."""


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
    page = events.to_gradio_error(error).message
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
    page = events.to_gradio_error(error).message
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
