"""Many clips from a list: every line's own options, interruptions, faulty lines, and the folder that others take."""

import csv
import json
import threading
from pathlib import Path

import pytest
import torch

import musicgen
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.pipeline.scoring import ScoringOptions, score
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from human_study.design import prepare, study_settings
from musicgen import audio, batch, samples
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.batch import prompts_file
from musicgen.engine import batch_size, memory
from musicgen.engine.scheduler import Scheduler
from musicgen.engine.selection import Engine
from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.postprocessing import postprocess
from musicgen.settings import Settings
from tests.conftest import GOLDEN

SMALL = "facebook/musicgen-small"
MELODY = GOLDEN / "chroma" / "melody_a.wav"
RUN = Settings("1", SMALL, None, 1.0, 0)
pytestmark = pytest.mark.usefixtures("published_models")


def run(*arguments: str | Path | float) -> int:
    return main([str(argument) for argument in arguments])


def lines(path: Path, *values: object) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def table(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_table_and_lines_of_json_say_the_same(tmp_path: Path) -> None:
    rows = [
        ("id", "prompt", "duration", "seed", "top_k", "do_sample", "loudness", "timeline", "loop", "condition_guidance",
         "chords", "bpm"),
        ("a", "slow, sad piano", "1.5", "9", "20", "no", "none", "", "yes", "", "", ""),
        ("b", "", "", "", "", "", "-20", "0:00.5 drums", "", "energy=2", "C G", "90"),
    ]  # fmt: skip
    of_table, errors = batch.read(table(tmp_path / "a.csv", *rows), RUN, seed=3)
    assert not errors
    of_json, errors = batch.read(
        lines(
            tmp_path / "a.jsonl",
            {"id": "a", "prompt": "slow, sad piano", "duration": 1.5, "seed": 9, "top_k": 20, "do_sample": False,
             "loudness": None, "loop": True},
            {"id": "b", "loudness": -20, "timeline": [[0.5, "drums"]], "condition_guidance": {"energy": 2.0}, "chords": "C G",
             "bpm": 90},
        ),
        RUN,
        seed=3,
    )  # fmt: skip
    assert not errors
    assert [(one.id, one.settings) for one in of_table] == [(one.id, one.settings) for one in of_json]
    first, second = (one.settings for one in of_json)
    assert (first.seed, second.seed) == (9, 4)  # the seed of a line without one: the run's plus its index
    assert first.options == GenerationOptions(top_k=20, do_sample=False)
    assert second.duration == RUN.duration
    of_text, _ = batch.read(_text(tmp_path, "slow, sad piano\n\n日本の歌\n"), RUN)
    assert [one.settings.prompt for one in of_text] == ["slow, sad piano", "日本の歌"]
    assert [one.id for one in of_text] == ["0001-slow-sad-piano", "0002-日本の歌"]


def _text(folder: Path, text: str) -> Path:
    file = folder / "list.txt"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "x", "temprature": 2}', "unknown key 'temprature': did you mean temperature?"),
        ('{"prompt": "x", "model": "mini"}', "model is of the whole run and not of one line: pass --model"),
        ('{"prompt": "x"', "not JSON"),
        ('["x"]', "a line must be a JSON object"),
        ('{"prompt": 5}', "prompt is 5: it must be text"),
        ('{"duration": "long"}', "duration is 'long': it must be a number of seconds"),
        ('{"duration": 1e9}', "duration is 1e+09 s: it must be above 0 and at most 600 s"),
        ('{"top_k": -1}', "top_k is -1"),
        ('{"seed": -1}', "seed is -1"),
        ('{"loop": "yes"}', "loop is 'yes': it must be true or false"),
        ('{"loudness": 3}', "loudness is 3 LUFS: it must lie between -70 and 0"),
        ('{"timeline": 5}', "timeline is 5"),
        ('{"timeline": "9 drums"}', "the timeline has an entry at 9 s, but the clip is 1 s long"),
        ('{"conditions": "x"}', "conditions is 'x'"),
        ('{"melody": "missing.wav"}', "melody is 'missing.wav': no such file in"),
        ('{"chords": "C", "melody": "x.wav"}', "chords take the place of a melody"),
        ('{"chords": "Q"}', "the chord 'Q' cannot be read"),
        ('{"bpm": 90}', "bpm without chords"),
        ('{"id": "good"}', "id 'good' is also that of"),
        ('{"id": ""}', "id has 0 characters"),
    ],
)
def test_a_faulty_line_is_named_and_loses_no_other(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"id": "good"}}\n\n{line}\n{{"prompt": "last"}}\n', encoding="utf-8")
    clips, errors = batch.read(file, RUN)
    assert [clip.id for clip in clips] == ["good", "0003-last"]
    (error,) = errors
    assert error.where == f"{file}:3"
    assert message in str(error)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("slow, sad piano,1",
         "there are more cells than columns, the last '1': a text with a comma stands in \"quotation marks\""),
        ("piano,fast", "duration is 'fast': it must be a number of seconds"),
        ("piano,inf", "duration is inf: it must be a number of seconds"),
    ],
)  # fmt: skip
def test_a_faulty_row_is_named(row: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"prompt,duration\ndrums,2\n{row}\nbass,1\n", encoding="utf-8")
    clips, errors = batch.read(file, RUN)
    assert [clip.settings.prompt for clip in clips] == ["drums", "bass"]
    assert [str(error) for error in errors] == [f"{file}:3: {message}"]


def test_a_column_that_is_no_key_and_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.csv:1: unknown key 'temprature': did you mean temperature\?"):
        batch.read(table(tmp_path / "a.csv", ("prompt", "temprature"), ("x", "2")), RUN)
    with pytest.raises(InputError, match="lists no prompt: it is empty"):
        batch.read(_text(tmp_path, "\n \n"), RUN)


def test_each_clip_is_that_of_python(tmp_path: Path) -> None:
    """Of other lengths and options than its neighbours in the batch, with a loop, a timeline and given audio."""
    audio.write(tmp_path / "given.wav", Audio(audio.read(MELODY).wave[:, :16_000], 32_000))
    file = lines(
        tmp_path / "a.jsonl",
        {"prompt": "drums"},
        {"prompt": "piano", "duration": 1.6, "top_k": 20, "seed": 77, "loudness": None},
        {"prompt": "bass", "loop": True, "temperature": 0.8, "loudness": None},
        {"prompt": "pad", "timeline": "0:00.5 bells", "loudness": None},
        {"prompt": "more", "continue_from": "given.wav", "loudness": None},
    )
    out = tmp_path / "out"
    assert (
        run(
            "generate",
            "--prompts",
            file,
            "-m",
            SMALL,
            "-d",
            1,
            "--seed",
            3,
            "-o",
            out,
            "--batch-size",
            2,
            "--format",
            "wav",
        )
        == 0
    )
    model = musicgen.load(SMALL)
    made = samples.read(out, complete=True).by_id()
    expected = {
        "0001-drums": postprocess(
            Audio(model.generate(["drums"], 1.0, seed=3)[0], 32_000), loop=False, loudness=-14.0
        ).audio.wave,
        "0002-piano": model.generate(["piano"], 1.6, seed=77, options={"top_k": 20})[0],
        "0003-bass": model.generate(["bass"], 1.0, seed=5, loop=True, options={"temperature": 0.8})[0],
        "0004-pad": model.generate(["pad"], 1.0, seed=6, timeline="0:00.5 bells")[0],
        "0005-more": model.generate(["more"], 1.0, seed=7, continue_from=tmp_path / "given.wav")[0],
    }
    assert made.keys() == expected.keys()
    for name, wave in expected.items():
        found = audio.read(out / made[name].audio).wave
        torch.testing.assert_close(found, wave.clamp(-1, 1), atol=2 / 32_768, rtol=0)
    # The file of a clip tells all of it, as that of a single clip does.
    assert Settings.of_file(out / made["0003-bass"].audio).loop
    assert run("generate", "--from-file", out / made["0002-piano"].audio, "-o", tmp_path / "again.wav") == 0
    again = audio.read(tmp_path / "again.wav").wave
    torch.testing.assert_close(again, audio.read(out / made["0002-piano"].audio).wave, atol=2 / 32_768, rtol=0)


def test_what_the_model_cannot_make_loses_no_other_clip(tmp_path: Path, capsys) -> None:
    """A melody for a model without one is found by the model; the next run makes what is missing, and nothing else."""
    audio.write(tmp_path / "tune.wav", audio.read(MELODY))
    bad = {"prompt": "piano", "melody": "tune.wav"}
    file = lines(tmp_path / "a.jsonl", {"prompt": "drums"}, bad, {"prompt": "x", "topk": 1}, {"prompt": "bass"})
    command = ("generate", "--prompts", file, "-m", SMALL, "-d", 0.5, "-o", tmp_path / "out")
    assert run(*command) == 2
    printed = capsys.readouterr()
    assert f"error: {file}:3: unknown key 'topk': did you mean top_k?" in printed.err
    assert f"error: {file}:2: the model {SMALL} follows text only" in printed.err
    assert "2 of 4 lines gave no clip: mend them and run the same command" in printed.err
    assert "2 clips, 1.0 s of music in" in printed.out
    assert "clips an hour" in printed.out
    first = samples.read(tmp_path / "out").by_id()
    assert first.keys() == {"0001-drums", "0004-bass"}

    lines(file, {"prompt": "drums"}, {"prompt": "piano"}, {"prompt": "x", "top_k": 1}, {"prompt": "bass"})
    assert run(*command) == 0
    assert "2 clips, 1.0 s of music in" in (out := capsys.readouterr().out)
    assert "2 clips were there" in out
    second = samples.read(tmp_path / "out").by_id()
    assert len(second) == 4
    assert {name: second[name] for name in first} == first
    assert run(*command) == 0
    assert "  4 clips were there\n" in capsys.readouterr().out


def test_an_interrupted_run_goes_on_with_the_same_clips(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "a.jsonl", *({"prompt": f"piece {number}", "duration": 0.5 + 0.1 * number} for number in range(5))
    )
    clips, _ = batch.read(file, RUN)
    model = musicgen.load(SMALL)
    batch.generate(model, clips, tmp_path / "whole", system="s", batch_size=2)
    before = threading.active_count()

    def interrupt(report: batch.BatchReport) -> None:
        if report.made == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.generate(model, clips, tmp_path / "part", system="s", batch_size=2, progress=interrupt)
    assert threading.active_count() == before  # nothing goes on behind the caller's back
    assert len(samples.read(tmp_path / "part").samples) == 2
    report = batch.generate(model, clips, tmp_path / "part", system="s", batch_size=3)
    assert (report.made, report.there, report.batch_size) == (3, 2, 3)
    whole, part = (samples.read(tmp_path / name, complete=True).by_id() for name in ("whole", "part"))
    assert part == whole  # every hash too: the batch changes nothing of a clip


def test_another_option_for_a_clip_that_is_there_is_refused(tmp_path: Path, capsys) -> None:
    file = lines(tmp_path / "a.jsonl", {"prompt": "drums"}, {"prompt": "bass"})
    command = ("generate", "--prompts", file, "-m", SMALL, "-o", tmp_path / "out")
    assert run(*command, "-d", 0.5) == 0
    manifest = (tmp_path / "out" / samples.MANIFEST).read_bytes()
    for changed, message in (
        (("-d", 1), "another duration ('0.5', now '1.0')"),
        (("-d", 0.5, "--top-k", 9), "another top_k ('250', now '9')"),
        (("-d", 0.5, "--seed", 1), "another seed ('0', now '1')"),
        (("-d", 0.5, "-m", "mini"), "another model ('facebook/musicgen-small', now 'mini')"),
    ):
        assert run(*command, *changed) == 2
        assert f"{file}:1: {tmp_path / 'out'} has the clip '0001-drums' with {message}" in capsys.readouterr().err
    assert run(*command, "-d", 0.5, "--format", "wav") == 2
    assert (
        f"{file}:1: {tmp_path / 'out'} has the clip '0001-drums' as .flac, now .wav: choose another folder, or go on with "
        "--format flac\n"
    ) in capsys.readouterr().err
    assert (tmp_path / "out" / samples.MANIFEST).read_bytes() == manifest
    (gone,) = (tmp_path / "out").glob("0001*.flac")
    gone.unlink()
    assert run(*command, "-d", 0.5) == 2
    assert f"{gone.name} is missing, which manifest.jsonl lists" in capsys.readouterr().err


def test_a_melody_and_a_style_lie_beside_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of the list are its own; those of the command line are the shell's. A line's chords replace the run's melody."""
    (tmp_path / "list").mkdir()
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "list" / "near.wav", tmp_path / "far.wav"):
        audio.write(place, audio.read(MELODY))
    file = lines(
        tmp_path / "list" / "a.jsonl", {"prompt": "a"}, {"melody": "near.wav"}, {"chords": "C G"}, {"melody": None}
    )
    assert run("generate", "--prompts", file, "-m", "facebook/musicgen-melody", "--melody", "far.wav", "--no-separation",
               "-d", 0.5, "-o", "out") == 0  # fmt: skip
    found = [sample.settings for sample in samples.read("out").samples]
    by_seed = sorted(found, key=lambda settings: settings["seed"])
    assert [settings["melody"] and settings["melody"]["name"] for settings in by_seed] == [
        "far.wav",
        "near.wav",
        None,
        None,
    ]
    assert [settings["chords"] and settings["chords"]["chords"] for settings in by_seed] == [None, None, "C G", None]


def test_the_evaluation_and_a_study_take_the_folder_as_it_is(tmp_path: Path) -> None:
    references = tmp_path / "references"
    names = [f"{number:02d}" for number in range(5)]
    for number, name in enumerate(names):
        wave = audio.read(MELODY).wave[:, 2_000 * number : 2_000 * number + 64_000]
        audio.write(references / f"{name}.wav", Audio(wave, 32_000))
        (references / f"{name}.txt").write_text("calm piano")
    file = lines(tmp_path / "list.jsonl", *({"id": name, "prompt": "calm piano"} for name in names))
    assert run("generate", "--prompts", file, "-m", SMALL, "-d", 2, "-o", tmp_path / "small") == 0
    (tmp_path / "suite.yaml").write_text("name: s\nversion: 1\ndata: {kind: folder}\nduration: 2\nmetrics: [chroma]\n")
    suite = load_suite(str(tmp_path / "suite.yaml"))
    options = ScoringOptions(progress=False, resamples=50, bounds=False)
    items = load_items(suite, references)
    found = score(suite, items, [tmp_path / "small"], Embedders(), Cache(tmp_path / "cache"), options)
    assert found.systems[0].name == "musicgen-small"
    assert found.systems[0].scores[0].n == 5

    settings = {"name": "t", "questions": ["OVL"], "trials_per_rater": 1, "attention_checks": 0, "practice": False,
                "headphone_check": "off", "systems": {"small": str(tmp_path / "small")}}  # fmt: skip
    study = prepare.build(study_settings.parse(settings, "t"), tmp_path / "study")
    assert {clip.item for clip in study.clips.values()} == set(names)


def test_the_automatic_batch_size_is_the_largest_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = musicgen.load(SMALL)

    def needed(slots: int) -> int:
        with Scheduler(model, slots=slots) as scheduler:
            cross = memory.text_bytes(model.lm.config, model.precision, 2 * slots, memory.MAX_TOKENS, model.device)
            return scheduler.bytes + cross

    monkeypatch.setattr(memory, "free", lambda _: 1 << 50)
    assert batch_size.automatic(model, 3) == 3
    assert batch_size.automatic(model, 1000) == batch_size.MOST_ON_CPU
    six = needed(6)
    monkeypatch.setattr(memory, "free", lambda _: int(six / batch_size.SHARE * 1.05))
    assert batch_size.automatic(model, 1000) == 6
    monkeypatch.setattr(memory, "free", lambda _: 0)
    assert batch_size.automatic(model, 1000) == 1


def test_a_back_end_of_somebody_else_says_what_its_pool_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = musicgen.load(SMALL)
    assert isinstance(model.engine, Engine)
    monkeypatch.setattr(memory, "free", lambda _: 1000)
    for backend in model.engine.backends.values():
        monkeypatch.setattr(backend, "pool_bytes", lambda rows, capacity, text: 50 * rows)  # noqa: ARG005
    assert batch_size.automatic(model, 1000) == 5  # two rows a clip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--batch-size", "2"], "--batch-size is for a list of prompts: pass --prompts FILE, too"),
        (["x", "--format", "mp3"], "--format is for a list of prompts"),
        (["x", "--prompts", "a.txt"], "leave 'x' out, or add it there"),
        (["--prompts", "a.txt", "--batch-size", "0"], "'0' is neither auto nor a whole number from 1 on"),
        (["--prompts", "a.txt", "--batch-size", "1000000"], "slots need"),
        (["--prompts", "a.txt", "--format", "aac"], "--format is 'aac': one of wav, flac, mp3, ogg"),
        (["--prompts", "a.txt", "--output", "one.wav"], "--output one.wav: a list of prompts fills a folder"),
        (["--prompts", "a.txt", "--output", "-"], "--output -: a list of prompts fills a folder"),
        (["--prompts", "a.txt", "--play"], "--play is for one clip, and --prompts for many"),
        (["--prompts", "missing.txt"], "missing.txt: cannot be read"),
        (["--prompts", "a.txt", "--duration", "nan"], "duration is nan"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("piano\n")
    code = run("generate", *arguments, "-m", SMALL)
    error = capsys.readouterr().err.strip()
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_an_unknown_column_is_one_error(tmp_path: Path, capsys) -> None:
    """Not one of each row, and before the model is loaded."""
    for column, told in (
        ("temprature", "unknown key 'temprature': did you mean temperature?"),
        ("model", "of the whole run"),
    ):
        file = tmp_path / "list.csv"
        file.write_text(f"prompt,{column}\n" + "piano,1\n" * 20)
        assert run("generate", "--prompts", file, "-m", SMALL, "-o", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert f"error: {file}:1: " in error
        assert told in error
        assert len(error.strip().splitlines()) == 1, error


def test_every_option_of_generation_is_a_key() -> None:
    assert set(GenerationOptions().as_dict()) <= set(prompts_file.KEYS)
