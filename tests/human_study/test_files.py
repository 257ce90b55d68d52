"""Files that people write, change or lose: YAML, JSON, secrets and databases are refused in one line; what holds worker ids is
for its owner alone; the examples of docs/human_study.md are what the program takes."""

import argparse
import copy
import json
import os
import re
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sqlalchemy import insert, select

from human_study import __main__ as program
from human_study.analysis import screening
from human_study.database import queries, schema, study_database
from human_study.design import documents, manifest, prepare, study_settings
from human_study.sessions import raters
from human_study.web.app import create_app
from musicgen.errors import InputError
from tests import machine
from tests.human_study.client import Rater

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "human_study.md").read_text(encoding="utf-8")


def one_line(run, message):
    with pytest.raises(InputError, match=message) as caught:
        run()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


# The page of documentation


def blocks(language):
    """The fenced blocks of the page in one language ("" for commands and pictures of folders)."""
    parts = re.split(r"^```(.*)$", PAGE, flags=re.MULTILINE)
    return [text for name, text in zip(parts[1::4], parts[2::4], strict=True) if name == language]


def test_every_yaml_of_the_page_is_taken(tmp_path):
    studies = [block for block in blocks("yaml") if "systems:" in block]
    protocols = [block for block in blocks("yaml") if "systems:" not in block]
    assert len(studies) >= 1
    assert len(protocols) >= 1
    for number, block in enumerate(studies):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block, encoding="utf-8")
        settings = study_settings.read(file)
        assert settings.questions
        for step in settings.screening or ():
            screening.check_step(step)
    for block in protocols:
        for step in yaml.safe_load(block):
            screening.check_step(step)
    # Settings within a line of the page.
    inline = [text for text in re.findall(r"`([a-z_]+: \{[^`]*\})`", PAGE) if "…" not in text]
    for text in inline:
        (name,) = document = yaml.safe_load(text)
        assert name in study_settings.StudySettings.__dataclass_fields__
        known = study_settings.ProlificSettings.__dataclass_fields__ if name == "prolific" else document[name]
        assert set(document[name]) <= set(known)


@pytest.mark.parametrize("number", range(sum("systems:" in block for block in blocks("yaml"))))
def test_every_study_of_the_page_is_built_and_rated(number, study_files, tmp_path):
    """With the tests' clips in place of the page's folders: a rater goes from consent to the receipt."""
    document = yaml.safe_load([block for block in blocks("yaml") if "systems:" in block][number])
    clips = study_files / "samples"
    document["systems"] = dict(zip(document["systems"], (str(clips / "bright"), str(clips / "dull")), strict=False))
    document |= {name: str(clips / name) for name in ("reference", "melody") if name in document}
    document |= {"trials_per_rater": 3, "headphone_check": "off", "clock": False, "open_link": True, "prolific": None}
    (tmp_path / "STUDY.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    study = prepare.build(study_settings.read(tmp_path / "STUDY.yaml"), tmp_path / "study")
    database = study_database.open_database(study)
    rater = Rater(create_app(study, database, hosts=("testserver",)))
    state = rater.start()
    stages = [state["stage"]]
    while state["stage"] in {"trial", "questionnaire"}:
        sent = rater.submit(state["trial"]) if state["stage"] == "trial" else rater.fill_in(state)
        assert sent.status_code == 200, sent.text
        state = rater.state()
        stages.append(state["stage"])
    database.dispose()
    assert stages[-1] == "done"
    assert stages.count("trial") == 1 + 3 + 1  # practice, ratings, an attention check
    assert stages.count("questionnaire") == sum(
        len(places) > 0 for places in document.get("questionnaire", {}).values()
    )


def commands_of_the_page():
    for block in blocks(""):
        for line in block.splitlines():
            if "-m human_study" in line:
                words = shlex.split(line, comments=True)
                yield words[words.index("human_study") + 1 :]
    for text in re.findall(r"`python -m human_study ([^`]*)`", PAGE):
        yield shlex.split(text)


def test_every_command_of_the_page_is_taken():
    found = list(commands_of_the_page())
    assert len(found) >= 6
    for words in found:
        options = program._parser().parse_args(words)
        assert isinstance(options, argparse.Namespace), words
        if words[0] == "power":  # needs neither a study nor a server
            assert program.main(words) == 0, words
    named = {words[0] for words in found}
    assert named <= set(program.COMMANDS)
    for target in re.findall(r"^make ([a-z]+)", "\n".join(blocks("")), re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


# YAML and JSON


YAML_FAULTS = {
    "deep": "name: " + "[" * 5000,
    "month": "name: t\nseed: 2024-13-45\n",
    "date": "name: 2024-01-01\nsystems: {a: x}\nquestions: [OVL]\n",
    "digits": f"name: t\nsystems: {{a: x}}\nquestions: [OVL]\nseed: {'9' * 5000}\n",
    "list": "- 1\n",
    "nothing": "",
    "text": "name: [t]\nsystems: {a: x}\nquestions: [OVL]\n",
    "key": "? [a]\n: b\n",
    "tag": "!!python/object/apply:os.system ['true']",
    "tag of a number": "name: !!int x\n",
    "tag of a date": "name: !!timestamp x\n",
    "tag of a set": "name: !!float ''\n",
    "itself": "name: &a [*a]\nsystems: {a: x}\nquestions: [OVL]\n",
    "missing": "name: t\n",
    "half": "name: 'x\n",
}


@pytest.mark.parametrize("fault", YAML_FAULTS)
def test_a_bad_study_file_is_one_line(tmp_path, fault):
    file = tmp_path / "STUDY.yaml"
    file.write_text(YAML_FAULTS[fault])
    assert one_line(lambda: study_settings.read(file), ".").startswith(str(file))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: t\nquestions: [OVL\nseed: 1\n", "line 3, column 5: expected ',' or ']', but got ':' while parsing a flow "
         "sequence that begins in line 2, column 12"),
        ("name: t\ntitle: a: b\n", "line 2, column 9: mapping values are not allowed here"),
        ("name: t\n\ttitle: a\n", "line 2, column 1: found character '\\t' that cannot start any token"),
        ("name: t\nti\0tle: a\n", "line 2, column 3: the character '\\x00' is not allowed"),
    ],
)  # fmt: skip
def test_a_yaml_error_names_file_line_and_column(tmp_path, text, told):
    file = tmp_path / "STUDY.yaml"
    file.write_text(text)
    message = one_line(lambda: study_settings.read(file), "is not valid YAML")
    assert message.startswith(str(file))
    assert told in message
    assert "unicode string" not in message


@pytest.mark.parametrize("word", ["off", "no", "false", '"off"', "record"])
def test_words_that_yaml_reads_as_truth_values_are_settings(tmp_path, word):
    file = tmp_path / "STUDY.yaml"
    file.write_text(f"name: t\nsystems: {{a: x}}\nquestions: [OVL]\nheadphone_check: {word}\n")
    assert study_settings.read(file).headphone_check == ("record" if word == "record" else "off")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("headphone_check: on", "headphone_check is True: expected text (YAML reads on, yes, off and no as true and false"),
        ("contact: no", "contact is False: expected text (YAML reads"),
        ("contact: 5", "contact is 5: expected text (put quotes around it)"),
        ("languages: [no]", "False is no text (put quotes around it)"),
        ("languages: [fr]\nquestions: [{name: X}]", "no wording for fr: add text: {fr: …}"),
        ("languages: [fr, en]\nquestions: [{name: X, text: {en: x}}]", "no wording for fr: add text: {fr: …}"),
        ("languages: [fr]\nquestions: [{name: X, method: likert, text: {fr: x}, labels: {en: [a, b]}}]",
         "no labels for fr: add labels: {fr: [from the lowest, …]}"),
        ("languages: [fr]\nquestionnaire: {before: [{name: x, kind: text}]}", "no text for fr: add text: {fr: …}"),
    ],
)  # fmt: skip
def test_hints_fit_what_was_written(tmp_path, setting, told):
    file = tmp_path / "STUDY.yaml"
    questions = "" if "questions:" in setting else "questions: [OVL]\n"
    file.write_text(f"name: t\nsystems: {{a: x}}\n{questions}{setting}\n")
    assert told in one_line(lambda: study_settings.read(file), ".")


def test_a_study_file_that_is_no_text_is_one_line(tmp_path):
    file = tmp_path / "STUDY.yaml"
    file.write_bytes(b"\xff\xfe\x00name")
    one_line(lambda: study_settings.read(file), "is not valid YAML")
    one_line(lambda: documents.read_yaml(tmp_path), "cannot be read")
    one_line(lambda: documents.read_yaml(tmp_path / "none"), "cannot be read: No such file")


def test_languages_without_texts_are_one_line(study_files, tmp_path, capsys, build_study):
    from tests.human_study.conftest import STUDY

    (study_files / "STUDY.yaml").write_text(STUDY + "languages: [fr]\n")
    assert program.main(["build", str(study_files / "STUDY.yaml"), "--output", str(tmp_path / "s")]) == 2
    error = capsys.readouterr().err
    assert "there are no texts in 'fr': de, en are there" in error
    assert error.count("\n") == 1
    study = build_study(languages="[fr]")  # built by another program
    database = study_database.open_database(study)
    one_line(lambda: create_app(study, database), "no texts in 'fr'")
    database.dispose()


def places(document, path=()):
    """Every place of a JSON document: the first entry stands for all of a list."""
    yield path
    if isinstance(document, dict):
        for name in document:
            yield from places(document[name], (*path, name))
    elif isinstance(document, list) and document:
        yield from places(document[0], (*path, 0))


def changed(document, path, value):
    out = copy.deepcopy(document)
    *parents, last = path
    parent = out
    for step in parents:
        parent = parent[step]
    if value is KeyError:
        del parent[last]
    else:
        parent[last] = value
    return out


def read_or_error(folder):
    try:
        return manifest.read(folder)
    except InputError as error:
        return str(error)


def test_a_manifest_that_is_wrong_in_any_place_is_one_line_or_a_study(build_study, tmp_path):
    """Each value in turn is missing, a list, a text, a huge number, … : a study, or one line with the file's name."""
    study = build_study(screening="[{step: attention}]")
    document = json.loads((study.path / manifest.FILE).read_text())
    copied = tmp_path / "study"
    copied.mkdir()
    refused = 0
    for path in [path for path in places(document) if path]:
        for value in (KeyError, [], {}, "x", -1, 0, 1e308, True, None, [[1]], {"a": [1]}):
            (copied / manifest.FILE).write_text(json.dumps(changed(document, path, value)))
            answer = read_or_error(copied)
            if isinstance(answer, str):
                refused += 1
                assert "\n" not in answer, path
                assert answer.startswith(str(copied)), (path, answer)
            else:
                # What was taken can be used.
                for page in answer.pages.values():
                    assert all(name in answer.clips for name in page.stimuli)
                    assert page.kind != "rating" or answer.question(page.question)
    assert refused > 500


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"version": 1}', "[]", "", "{", "\ud800", '{"version": ' + "9" * 5000 + "}", "null", '{"version": {}}',
     '{"version": 2}'],
)  # fmt: skip
def test_a_damaged_manifest_is_one_line(build_study, text):
    study = build_study()
    (study.path / manifest.FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert one_line(lambda: manifest.read(study.path), ".").startswith(str(study.path))


def test_clips_of_a_manifest_stay_in_the_folder(build_study):
    study = build_study()
    text = (study.path / manifest.FILE).read_text()
    name = next(iter(study.clips))
    (study.path / manifest.FILE).write_text(text.replace(name, "../../../../etc/passwd"))
    one_line(lambda: manifest.read(study.path), "32 hexadecimal digits")


# Secrets


@pytest.mark.parametrize("name", [manifest.SECRET, manifest.ADMIN_TOKEN])
@pytest.mark.parametrize("content", [b"", b"\n", b"   \n", b"tiny!", b"\xff" * 40, b"a b" * 20, b"a\nb" * 20, None])
def test_a_server_without_secrets_does_not_start(build_study, name, content, capsys):
    study = build_study()
    if content is None:
        (study.path / name).unlink()
    else:
        (study.path / name).write_bytes(content)
    assert program.main(["serve", str(study.path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {study.path / name}: ")
    assert error.count("\n") == 1
    if content and content.strip():
        assert content.decode("latin-1").strip() not in error


def test_an_app_without_secrets_is_not_made(build_study):
    study = build_study()
    database = study_database.open_database(study)
    (study.path / manifest.ADMIN_TOKEN).write_text("")
    one_line(lambda: create_app(study, database), r"admin\.token: holds 0 characters")
    database.dispose()
    (study.path / manifest.SECRET).write_text("")
    one_line(lambda: study_database.open_database(study), r"secret\.key: holds 0 characters")


# Databases


def test_a_file_that_is_no_database_is_one_line(build_study):
    study = build_study()
    (study.path / manifest.DATABASE).write_bytes(b"no database" * 1000)
    text = one_line(lambda: study_database.open_database(study), "cannot open the database")
    assert str(study.path / manifest.DATABASE) in text


def test_a_damaged_database_is_one_line(build_study, capsys):
    study = build_study()
    study_database.open_database(study).dispose()
    file = study.path / manifest.DATABASE
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(data)
    assert program.main(["analyse", str(study.path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "change", ["UPDATE alembic_version SET version_num = '9999'", "DROP TABLE trial", "DROP TABLE study"]
)
def test_a_newer_or_incomplete_database_is_one_line(build_study, change, capsys):
    study = build_study()
    study_database.open_database(study).dispose()
    with sqlite3.connect(study.path / manifest.DATABASE) as connection:
        connection.execute(change)
    connection.close()
    assert program.main(["analyse", str(study.path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot ")
    assert error.count("\n") == 1
    assert ("newer version" in error) == ("9999" in change)


def test_a_database_of_the_first_revision_is_upgraded(build_study, database_url):
    """Raters with a stored page had shown themselves before the column was there; others had not. No page is lost."""
    import alembic.command
    import alembic.config

    study = build_study()
    database = study_database.open_database(study, database_url)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(study_database.MIGRATIONS))
    with database.write() as connection:
        config.attributes["connection"], config.attributes["metadata"] = connection, schema.metadata
        for _ in range(2):
            raters.enter(connection, database, study, platform="open", language="en")
        page = connection.execute(select(schema.page.c.id)).scalars().first()
        queries.insert_row(
            connection, schema.trial, study_id=database.study_id, rater_id=1, page_id=page, idempotency_key="k",
            body_sha256="b", receipt="r", position=0, started_at=1.0, submitted_at=2.5,
        )  # fmt: skip
        alembic.command.downgrade(config, "0001")
    database.dispose()
    again = study_database.open_database(study, database_url)
    with again.read() as connection:
        trial = connection.execute(select(schema.trial)).one()
        assert (trial.receipt, trial.submitted_at, trial.confidence) == ("r", 2.5, None)
        assert queries.count_rows(connection, select(schema.questionnaire)) == 0
        assert connection.execute(select(schema.rater.c.alive_at).order_by(schema.rater.c.id)).scalars().all() == [
            2.5,
            None,
        ]
    again.dispose()


# Who may read


def modes(folder):
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")] if "audio" not in path.parts or path.name == "audio"
    }  # fmt: skip


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_nobody_else_can_read_what_is_stored(study_files, tmp_path, capsys):
    from tests.human_study.conftest import STUDY

    (study_files / "STUDY.yaml").write_text(STUDY)
    folder = tmp_path / "deep" / "study"
    assert program.main(["build", str(study_files / "STUDY.yaml"), "--output", str(folder)]) == 0
    study = manifest.read(folder)
    database = study_database.open_database(study)
    rater = Rater(create_app(study, database, hosts=("testserver",)))
    rater.start(prolific_pid="worker5f0c", study_id="s", session_id="t")
    rater.rate_all(lambda *_: 90)
    assert {"study.db", "study.db-wal", "study.db-shm"} <= {path.name for path in folder.iterdir()}
    found = modes(folder)
    database.dispose()
    assert program.main(["export", str(folder)]) == 0
    assert program.main(["analyse", str(folder), "--no-screening"]) == 0
    capsys.readouterr()
    found |= modes(folder)
    assert found["."] == found["audio"] == found["export"] == found["results"] == 0o700
    open_files = {name: oct(mode) for name, mode in found.items() if mode & 0o077}
    assert open_files == {}


@pytest.mark.usefixtures("no_umask")
def test_files_of_an_earlier_version_are_closed(build_study):
    study = build_study()
    study_database.open_database(study).dispose()
    (study.path / manifest.DATABASE).chmod(0o644)
    study.path.chmod(0o755)
    (study.path / "export").mkdir()
    (study.path / "export" / "raters.csv").write_text("")
    assert program.main(["export", str(study.path)]) == 0
    assert modes(study.path)["study.db"] == modes(study.path)["export/raters.csv"] == 0o600
    assert modes(study.path)["."] == 0o700
    elsewhere = study.path.parent / "elsewhere.db"
    study_database.open_database(study, f"sqlite:///{elsewhere}").dispose()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600


# A folder that cannot be written


def without_rights(*arguments, cwd=ROOT):
    """A command of a user who, as all but root, is bound to the modes of files."""
    prefix = []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            machine.lacks("setpriv is not installed (Debian: apt install util-linux)")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    return subprocess.run(
        [*prefix, sys.executable, "-m", "human_study", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def sealed(build_study):
    """A study with ratings whose folder cannot be written. What the server left in its log of writes is there."""
    study = build_study()
    database = study_database.open_database(study)
    keep_open = database.engine.connect()  # the last connection would fold the log into the database
    rater = Rater(create_app(study, database, hosts=("testserver",)))
    rater.start()
    rater.rate_all(lambda *_: 90)
    yield study, database, keep_open
    study.path.chmod(0o700)
    keep_open.close()
    database.dispose()


@pytest.mark.parametrize("state", ["running", "stopped", "killed"])
def test_a_read_only_study_is_analysed_and_not_served(sealed, state, tmp_path):
    study, database, keep_open = sealed
    if state == "killed":
        wal = (study.path / "study.db-wal").read_bytes()
        assert wal
    if state != "running":
        keep_open.close()
        database.dispose()
    if state == "killed":
        (study.path / "study.db-wal").write_bytes(wal)
    study.path.chmod(0o500)
    done = without_rights("analyse", study.path, "--output", tmp_path / "results", "--no-screening")
    assert done.returncode == 0, done.stderr
    assert "| bright |" in done.stdout
    assert (tmp_path / "results" / "report.html").is_file()
    for command in (("analyse", study.path, "--no-screening"), ("serve", study.path), ("invite", study.path)):
        done = without_rights(*command)
        assert done.returncode == 2, done.stdout
        assert done.stderr.count("\n") == 1
        assert str(study.path) in done.stderr
        assert ("--output" if command[0] == "analyse" else "--database") in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyse", "{folder}/a.csv", "--protocol", "{folder}/none.yaml"], "none.yaml: cannot be read"),
        (["analyse", "{folder}/a.csv", "--protocol", "{folder}/bad.yaml"], "is not valid YAML"),
        (["analyse", "{folder}/a.csv", "--output", "{folder}/a.csv"], "a.csv: Not a directory"),
        (["analyse", "{folder}/five.csv"], "state it with --scale, such as --scale 1:5"),
        (["analyse", "{folder}/five.csv", "--scale", "0:100"], "nobody is left: screening step hidden_reference"),
        (["analyse", "{folder}/a.csv", "--scale", "5"], "LOW:HIGH"),
        (["import", "{folder}/a.csv", "--output", "{folder}/none/b.csv"], "none/b.csv: No such file or directory"),
        (["import", "{folder}", "--output", "{folder}/b.csv"], "no such file"),
        (["build", "{folder}/bad.yaml"], "is not valid YAML"),
        (["build", "x" * 5000 + ".yaml"], ""),
        (["serve", "x\0y"], "not a built study"),
        (["invite", "none", "--public-url", "study.example.org"], "must begin with https://"),
        (["load", "--url", "http://["], "limited to a server on 127.0.0.1"),
        (["load", "--every", "nan"], "nan s between two pages"),
        (["power", "nan"], "difference is nan"),
        (["power", "3", "--items", "-4"], "items is -4"),
    ],
)  # fmt: skip
def test_commands_answer_in_one_line(tmp_path, arguments, message, capsys):
    rows = [
        f"r{r},i{i},{s},{v}" for r in range(3) for i in range(4) for s, v in (("reference", 95), ("a", 40 + r + 2 * i))
    ]
    (tmp_path / "a.csv").write_text("rater,item,system,value\n" + "\n".join(rows) + "\n")
    rows = [
        f"r{r},i{i},{s},{v}" for r in range(3) for i in range(4) for s, v in (("reference", 5), ("a", 1 + (r + i) % 4))
    ]
    (tmp_path / "five.csv").write_text("rater,item,system,value\n" + "\n".join(rows) + "\n")
    (tmp_path / "bad.yaml").write_text("a: [")
    assert program.main([argument.format(folder=tmp_path) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert program.main(["analyse", str(tmp_path / "five.csv"), "--scale", "1:5"]) == 0
    assert "| reference | 5.00±0.00 |" in capsys.readouterr().out


def test_insert_of_a_bad_text_is_no_traceback(build_study, database_url):
    """PostgreSQL takes no zero byte: its error is one of ours."""
    database = study_database.open_database(build_study(), database_url)

    def store():
        with database.write() as connection:
            connection.execute(insert(schema.event).values(study_id=10**6, at=0.0, kind="x" * 500, detail="\0"))

    if not database.sqlite:
        one_line(store, "cannot use the database")
    database.dispose()
