"""What surrounds every command: a reader that goes, an interruption, an error, odd text, a package that is missing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.__main__ import main as page_main
from evaluation.__main__ import main as evaluation_main
from evaluation.embedders import train_mini
from experiments.__main__ import main as experiments_main
from human_study.__main__ import main as study_main
from musicgen import commandline, extras
from musicgen.__main__ import main as musicgen_main
from musicgen.errors import InputError
from musicgen.training import quality
from musicgen.training.tokenizer import compare_with_opus

ROOT = Path(__file__).parents[1]
TALKATIVE = [
    ("musicgen", "models"),
    ("musicgen", "train", "--help"),
    ("evaluation", "suites"),
    ("human_study", "--help"),
    ("experiments", "list"),
]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A bash command in which $PYTHON is this interpreter; its status is that of the first program of a pipe."""
    script = f"{command}; exit ${{PIPESTATUS[0]}}"
    names = os.environ | {"PYTHON": sys.executable} | environment
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, errors="replace", env=names, cwd=ROOT, check=False
    )


@pytest.mark.parametrize("arguments", TALKATIVE, ids=" ".join)
def test_a_reader_that_goes_at_once_is_no_error(arguments: tuple[str, ...]) -> None:
    ran = shell(f'"$PYTHON" -m {" ".join(arguments)} | true')
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_work_goes_on_without_a_reader(tmp_path: Path) -> None:
    """Every clip is saved, though nobody reads what is said of the first; nor is the progress bar read."""
    command = f'"$PYTHON" -m musicgen generate a b c -m mini -d 0.5 --seed 1 -o {tmp_path} 2>&1 | true'
    assert shell(command).returncode == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["00-a-1.wav", "01-b-2.wav", "02-c-3.wav"]


def test_output_that_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    out = tmp_path / "é"
    ran = shell(f'"$PYTHON" -m musicgen generate a -m mini -d 0.5 --seed 1 -o {out}', PYTHONIOENCODING="ascii:strict")
    assert ran.returncode == 0, ran.stderr
    assert "\\xe9/00-a-1.wav" in ran.stdout
    assert (out / "00-a-1.wav").is_file()


def test_streams_that_the_shell_closed() -> None:
    assert shell('"$PYTHON" -m experiments list >&- 2>&-').returncode == 0
    assert shell('"$PYTHON" -m experiments run nothing 2>&-').returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "caf\udce9", "-m", "mini", "-d", "0.5", "-o", "{out}"],
        ["generate", "x", "--negative-prompt", "\udcff\udcfe", "-m", "mini", "-d", "0.5", "-o", "{out}"],
        ["generate", "x", "-m", "caf\udce9", "-d", "0.5", "-o", "{out}"],
        ["train", "caf\udce9"],
        ["export", "caf\udce9", "{out}/model"],
    ],
)
def test_bytes_that_are_no_text_are_one_line(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Python passes such bytes on from the shell: as lone surrogates."""
    assert musicgen_main([argument.format(out=tmp_path) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1, told
    assert told.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_such_bytes_from_a_shell(tmp_path: Path) -> None:
    ran = shell(f"\"$PYTHON\" -m musicgen generate $'caf\\xe9' -m mini -d 0.5 -o {tmp_path}")
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith("error: ")
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr


def test_a_file_may_have_such_a_name(tmp_path: Path) -> None:
    """Names of files are bytes: those are read and written as they are, and stored as far as they are text."""
    command = (
        f"cd {tmp_path} && cp {ROOT}/tests/golden/chroma/melody_a.wav $'caf\\xe9.wav' && "
        f"PYTHONPATH={ROOT} \"$PYTHON\" -m musicgen generate x -m mini-melody -d 0.5 --melody $'caf\\xe9.wav' -o $'\\xe9.wav'"
    )
    ran = shell(command)
    assert ran.returncode == 0, ran.stderr
    from musicgen.settings import Settings

    settings = Settings.of_file(tmp_path / os.fsdecode(b"\xe9.wav"))
    assert settings.melody.name == "caf�.wav"


MAINS = {
    "musicgen": musicgen_main,
    "evaluation": evaluation_main,
    "study": study_main,
    "page": page_main,
    "experiments": experiments_main,
}


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("musicgen", [], "name a command: generate, repaint, daw, inspect, models, train, export, demo"),
        ("musicgen", ["genrate", "x"], "unknown 'genrate': did you mean generate?"),
        ("musicgen", ["--modls"], "unknown option --modls"),
        ("musicgen", ["generate", "x", "--duratoin", "3"], "unknown option --duratoin: did you mean --duration?"),
        ("musicgen", ["generate", "x", "--duratoin=3"], "unknown option --duratoin: did you mean --duration?"),
        ("musicgen", ["generate", "x", "-z"], "unknown option -z"),
        ("musicgen", ["generate", "x", "--duration", "long"], "argument --duration/-d: invalid float value: 'long'"),
        ("musicgen", ["generate", "x", "--seed"], "argument --seed: expected one argument"),
        ("musicgen", ["models", "x"], "unknown arguments: x"),
        ("evaluation", [], "name a command: generate, score, statistics, run"),
        ("evaluation", ["run", "synth", "--systm", "mini", "--out", "x"], "unknown option --systm: did you mean --system?"),
        ("evaluation", ["run", "synth", "--out", "x"], "the following arguments are required: --system"),
        ("evaluation", ["table", "x.json", "--format", "markdwn"], "unknown 'markdwn': did you mean markdown?"),
        ("study", ["serv"], "unknown 'serv': did you mean serve?"),
        ("study", ["power", "--diference", "3"], "unknown option --diference"),
        ("page", ["--max-duration", "x"], "argument --max-duration: invalid float value: 'x'"),
        ("page", ["--max-duratoin", "3"], "unknown option --max-duratoin: did you mean --max-duration?"),
        ("page", ["--auth", "nobody"], "--auth is USER:PASSWORD"),
        ("experiments", ["lst"], "unknown 'lst': did you mean list?"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(
    program: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert MAINS[program](arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.endswith(" --help)\n")
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (musicgen_main, ["export", "nothing/here", "{file}/model"]),
        (musicgen_main, ["train", "mini", "data.path=nothing", "--output", "{file}/run"]),
        (study_main, ["analyse", "nothing.csv", "--output", "{file}/results"]),
        (quality.main, ["nothing/here", "--json", "{file}/figures.json"]),
        (quality.main, ["nothing/here", "--features", "{folder}"]),
        (train_mini.main, ["nothing", "--out", "{file}/mini.safetensors"]),
        (compare_with_opus.main, ["nothing/here", "nothing", "--output", "{folder}"]),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(
    main: Callable[[list[str]], int], arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before what is read is looked for, even: none of it is there."""
    (tmp_path / "file").touch()
    places = {"file": tmp_path / "file", "folder": tmp_path}
    assert main([argument.format(**places) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: cannot write {tmp_path}")
    assert len(told.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_values_that_begin_with_a_dash_are_no_options() -> None:
    """As argparse takes them: numbers, texts with a space, all behind `--`, and beginnings of names."""
    parser = commandline.Parser(prog="x")
    parser.add_argument("texts", nargs="*")
    parser.add_argument("--level", type=float)
    parser.add_argument("-n", type=int)
    for arguments, level, texts in (
        (["--level", "-3.5"], -3.5, []),
        (["--lev", "-.5"], -0.5, []),
        (["--level=-1", "- a text"], -1.0, ["- a text"]),
        (["--", "--levl"], None, ["--levl"]),
        (["-n3", "-"], None, ["-"]),
    ):
        found = parser.parse_args(arguments)
        assert (found.level, found.texts) == (level, texts)


def test_a_script_names_itself(tmp_path: Path) -> None:
    """The installed command is named as its user typed it."""
    script = tmp_path / "musicgen"
    script.write_text("import sys\nfrom musicgen.__main__ import main\nsys.exit(main())\n")
    ran = shell(f'PYTHONPATH={ROOT} "$PYTHON" {script} generate --duratoin 3')
    assert (ran.returncode, ran.stderr) == (
        2,
        "error: unknown option --duratoin: did you mean --duration? (see musicgen generate --help)\n",
    )
    assert "(see python -m musicgen --help)" in shell('"$PYTHON" -m musicgen').stderr


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    @commandline.entry("interrupted: go on")
    def main(error: BaseException | None) -> None:
        if error is not None:
            raise error

    assert main(None) == 0
    assert main(InputError("too long")) == 2
    assert capsys.readouterr().err == "error: too long\n"
    assert main(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted: go on\n"
    with pytest.raises(BrokenPipeError):  # of another pipe than the output: a fault of ours
        main(BrokenPipeError())


def test_control_c_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "musicgen", "generate", "x", "-m", "mini", "-d", "500", "-o", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        told = ""
        while "steps" not in told:
            told += (read := process.stderr.read(20))
            assert read, "ended before it began"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.rstrip().endswith("interrupted")
    assert "Traceback" not in rest
    assert not list(tmp_path.iterdir())


WITHOUT = """
import runpy, sys
missing = sys.argv[1]
class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
module, sys.argv = sys.argv[2], sys.argv[2:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("gradio", "demo", ["musicgen", "demo"]),
        ("gradio", "demo", ["demo"]),
        ("accelerate", "training", ["musicgen", "train", "lora", "data.path=music"]),
        ("ray", "evaluation", ["evaluation", "score", "synth", ".", "--out", "r.json", "--ray", "local"]),
        ("sqlalchemy", "study", ["human_study", "serve", "study"]),
    ],
)
def test_a_package_of_an_extra_that_is_missing_is_named(
    missing: str, extra: str, command: list[str], tmp_path: Path
) -> None:
    program = [sys.executable, "-c", WITHOUT, missing, *command]
    ran = subprocess.run(
        program, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert ran.returncode == 2, ran.stderr
    assert f'needs {missing}, which is not installed: pip install "musicgen[{extra}]"' in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1


def test_a_module_that_an_installed_package_lacks_is_a_fault() -> None:
    with pytest.raises(ModuleNotFoundError), extras.needed("demo", "the page"):
        import numpy.nothing  # noqa: F401
    with pytest.raises(InputError, match=r'x needs nothing_like_it, which .*: pip install "musicgen\[demo\]"'):
        extras.load("nothing_like_it.part", "demo", "x")
