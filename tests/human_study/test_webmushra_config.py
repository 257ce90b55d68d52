"""webMUSHRA's configurations become studies that can be built; what has no counterpart is in one list."""

import numpy as np
import pytest
import soundfile
import yaml

from human_study.__main__ import main
from human_study.design import manifest, prepare, study_settings
from human_study.design.webmushra import configuration, plan
from musicgen.errors import InputError

RATE = 16000

STIMULI = {"C1": "audio/a.wav", "C2": "audio/b.wav"}
LABELS = {"no": "Not at all", "bit": "A bit", "much": "<b>Much</b>"}
GRADES = [{"value": value, "label": label} for value, label in LABELS.items()]


def page(kind, name, **options):
    return {"type": kind, "id": name, "name": "Trial", "content": "How <i>good</i><br>is it?"} | options


def mushra(name, **options):
    return (
        page("mushra", name, reference="audio/ref.wav", createAnchor35=True, createAnchor70=False, stimuli=STIMULI)
        | options
    )


def finish(questionnaire):
    return {"type": "finish", "questionnaire": questionnaire}


QUESTIONNAIRE = [
    {"type": "text", "label": "eMail", "name": "email", "optional": True},
    {"type": "number", "label": "Age", "name": "age", "min": 0, "max": 100, "default": 30},
    {"type": "likert", "name": "gender", "label": "Gender",
     "response": [{"value": "f", "label": "Female"}, {"value": "m", "label": "Male"}, {"value": "o"}]},
    {"type": "long_text", "name": "feedback", "label": "Feedback", "optional": False},
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """webMUSHRA's folder with configs/ and three clips of 0.6 seconds."""
    folder = tmp_path_factory.mktemp("webmushra")
    (folder / "configs").mkdir()
    (folder / "audio").mkdir()
    time = np.arange(int(0.6 * RATE)) / RATE
    for name, frequency in (("ref", 440), ("a", 550), ("b", 660)):
        soundfile.write(folder / "audio" / f"{name}.wav", 0.3 * np.sin(2 * np.pi * frequency * time), RATE)
    return folder


@pytest.fixture
def convert(root, tmp_path, capsys):
    """convert(pages, **options) -> (exit code, output folder, lines printed)."""

    def run(pages, *more, **options):
        file = root / "configs" / "test.yaml"
        file.write_text(yaml.safe_dump({"testname": "A <b>test</b>", "testId": "my_test", "pages": pages} | options))
        code = main(["import-config", str(file), "--output", str(tmp_path / "out"), *more])
        captured = capsys.readouterr()
        return code, tmp_path / "out", (captured.out + captured.err).splitlines()

    return run


def test_a_mushra_configuration_is_built_and_nothing_is_left_out_in_silence(convert, tmp_path):
    pages = [
        {"type": "generic", "id": "hello", "content": "<p>Welcome!</p>"},
        {"type": "volume", "id": "vol", "stimulus": "audio/ref.wav", "defaultVolume": 0.5},
        mushra("one", showWaveform=False),
        [
            "random",
            mushra("two"),
            ["random", mushra("three", content="Another question", switchBack=True), mushra("two")],
        ],
        {"type": "finish", "content": "Bye", "showResults": True, "writeResults": True, "questionnaire": QUESTIONNAIRE},
    ]
    code, out, lines = convert(pages, bufferSize=2048, showButtonPreviousPage=True, colour="red")
    assert code == 0
    assert lines[0] == f"{out / 'STUDY.yaml'}: 4 items of 2 systems, as mushra"
    assert lines[2:] == [
        "- the option 'colour': has no counterpart",
        "- showButtonPreviousPage: raters cannot go back to a stored page",
        "- a content of their own, such as 'Another question' (three): all pages ask 'How good is it?'",
        "- HTML of the content (one, two, two): its text alone is kept",
        "- showWaveform: False (one): a waveform is shown",
        "- the setting 'switchBack' (three): has no counterpart",
        "- the order of the pages: is drawn for every rater",
        "- lists of pages within a random list: their pages are not kept together",
        "- a page of the type 'generic' with 'Welcome!' (hello): has no counterpart: instructions fit into 'consent:'",
        "- volume (vol): raters set the volume on the page of the headphone check, if there is one",
        "- default 30 of the field age: fields are empty at first",
        "- finish: content 'Bye': the last page thanks in its own words",
        "- finish: showResults: raters do not see their ratings again",
        "- levels: all clips are cut to the length of the shortest and brought to one loudness",
    ]
    text = (out / "STUDY.yaml").read_text()
    assert all(f"# {line.removeprefix('- ')}" in text for line in lines[2:])
    settings = study_settings.read(out / "STUDY.yaml")
    assert (settings.name, settings.title, settings.languages) == ("my_test", {"en": "A test"}, ("en",))
    (question,) = settings.questions
    assert (question.method, question.anchors, question.text) == ("mushra", (3500,), {"en": "How good is it?"})
    fields = {field.name: field for field in settings.questionnaire.after}
    assert {name: (field.kind, field.required) for name, field in fields.items()} == {
        "email": ("text", False), "age": ("number", True), "gender": ("choice", True), "feedback": ("text", True),
    }  # fmt: skip
    assert fields["age"].range == (0, 100)
    assert (fields["gender"].options, fields["gender"].labels) == (("f", "m", "o"), {"en": ("Female", "Male", "o")})
    study = prepare.build(settings, tmp_path / "study")
    rated = [p for p in study.pages.values() if p.kind == "rating"]
    assert sorted(p.item for p in rated) == ["one", "three", "two", "two 2"]
    assert {len(p.stimuli) for p in rated} == {2 + 1 + 1}  # both conditions, hidden reference, anchor
    manifest.check_audio(study)


def test_every_kind_of_page_becomes_a_study_of_its_kind(convert, tmp_path):
    plain = {"stimuli": STIMULI}
    pages = [
        page("bs1116", "b", reference="audio/ref.wav", **plain),
        page("paired_comparison", "p", reference="audio/ref.wav", unforced="I do not know", **plain),
        page("likert_multi_stimulus", "m", response=GRADES, mustRate=True, mustPlayback="ended", **plain),
        page("likert_single_stimulus", "s", response=GRADES[:2], mustRate=False, **plain),
        page("likert_single_stimulus", "s2", response=GRADES * 4, **plain),
        page("likert_single_stimulus", "s3", response=[GRADES, GRADES], **plain),
        page("ranking", "r", **plain),
        {"type": "headphones_screen", "id": "h"},
    ]
    code, out, lines = convert(pages, language="de")
    assert code == 0
    assert [line.rpartition(", ")[2] for line in lines[:4]] == ["as likert", "as abx", "as likert", "as likert"]
    notes = "\n".join(lines)
    for part in (
        "a scale of 12 (s2): grades are 2 to 11; the page is left out", "several scales (s3): a page has one; it is left out",
        "4 kinds of pages or sets of conditions",
        "unforced: 'I do not know' (p): X is A or B", "mustRate: False (s): every clip must be rated",
        "the values 'no, bit, much' of the grades (m): are stored as 1 to 3", "bs1116 (b): grades are whole numbers",
        "a page of the type 'ranking' with 'How good is it?' (r): has no counterpart: it is left out",
        "headphones_screen (h): the headphone check has tones of its own",
        "likert_single_stimulus (s): a rater gets one condition of a page",
    ):  # fmt: skip
        assert part in notes, part
    assert "mustPlayback" not in notes  # "ended" is what our pages ask anyway
    found = {}
    for folder in sorted(out.iterdir()):
        settings = study_settings.read(folder / "STUDY.yaml")
        assert settings.headphone_check == "require"
        study = prepare.build(settings, tmp_path / folder.name)
        rated = [p for p in study.pages.values() if p.kind == "rating"]
        found[folder.name] = (settings.questions[0].scale, sorted(len(p.stimuli) for p in rated))
    assert found == {
        "1-bs1116": ((1, 5), [3]),  # both conditions and the hidden reference
        "2-paired_comparison": ((1, 100), [2, 2]),  # the reference and each condition
        "3-likert_multi_stimulus": ((1, 3), [2]),
        "4-likert_single_stimulus": ((1, 2), [1, 1]),
    }
    labels = study_settings.read(out / "3-likert_multi_stimulus" / "STUDY.yaml").questions[0].labels
    assert labels == {"de": ("Not at all", "A bit", "Much")}


def test_names_that_are_reserved_or_odd_are_changed_and_said(convert):
    stimuli = {1: "audio/a.wav", "anchor35": "audio/b.wav", "käse/1": "audio/a.wav"}
    code, out, lines = convert([mushra("one\ntwo", stimuli=stimuli)])
    assert code == 0
    assert list(study_settings.read(out / "STUDY.yaml").systems) == ["1", "condition anchor35", "k-se-1"]
    assert "- the condition 'anchor35' (one two): is called 'condition anchor35'" in lines


ITSELF = ["random"]
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([], "there is no page of the types mushra, bs1116"),
        ("mushra", "is no configuration of webMUSHRA"),
        ([["random", "x"]], "'x' is no page"),
        ([{"id": "x"}], "page 1 has the type None"),
        ([mushra("x", stimuli=None)], "page x: stimuli is None"),
        ([mushra("x", stimuli={"C1": ["a"]})], "stimuli: C1 is ['a']: a text is needed"),
        ([mushra("x", reference=None)], "page x: a page of the type mushra needs 'reference:'"),
        ([mushra("x", stimuli={"C1": "audio/none.wav"})], "page x: audio/none.wav is not in"),
        ([mushra("x", stimuli={"C1": "../../../etc/passwd"})], "lies outside"),
        ([mushra("x", stimuli={"C1": "configs/test.yaml"})], "configs/test.yaml"),
        ([mushra("x", stimuli={"ä": "audio/a.wav", "ö": "audio/b.wav"})], "two conditions would be called 'unnamed'"),
        ([page("likert_multi_stimulus", "x", stimuli=STIMULI, response=[GRADES])], "(several scales (x): a page has one"),
        ([page("likert_multi_stimulus", "x", stimuli=STIMULI)], "page x: response is None: a list of grades"),
        ([page("likert_multi_stimulus", "x", stimuli=STIMULI, response=["no"])], "'no' is no entry with 'value:'"),
        ([mushra("x"), finish({"a": 1})], "questionnaire is {'a': 1}"),
        ([mushra("x"), finish([{"type": "number", "min": "x"}])], "min of the field field 1 is 'x'"),
        ([mushra("x"), finish([{"type": "likert", "name": "y"}])], "response of the field y is None"),
        (ITSELF, "a value holds itself"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_wrong_is_one_line_and_leaves_nothing(convert, pages, message):
    code, out, lines = convert(pages)
    assert code == 2
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert len(lines[0]) < 600
    assert not list(out.parent.iterdir())


def test_a_folder_in_use_is_left_alone(convert, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    code, out, lines = convert([mushra("x")])
    assert (code, [path.name for path in out.iterdir()]) == (2, ["mine.txt"])
    assert "is there already" in lines[0]


def test_texts_that_only_webmushra_reads_are_read(tmp_path):
    """Its reader takes colons in texts without quotation marks; its own default configuration has some."""
    text = """pages:
- type: mushra
  id: one  # the first
  content: Reminder: in a test you, etc.: <b>judge</b>   # a note: kept out
  reference: a.wav
  stimuli: {C1: b.wav}
- type: generic
  content: 'quoted: so'
"""
    (tmp_path / "lenient.yaml").write_text(text)
    read = configuration.read(tmp_path / "lenient.yaml")
    assert read.pages[0].text("content").startswith("Reminder: in a test you, etc.: judge")
    assert (read.pages[0].id, read.pages[1].text("content"), read.mended) == ("one", "quoted: so", True)
    assert any("without quotation marks" in note for note in plan.make(read).notes)
    (tmp_path / "broken.yaml").write_text("pages: [\na: b: c\n")
    with pytest.raises(InputError, match="is not valid YAML"):
        configuration.read(tmp_path / "broken.yaml")


def test_many_pages_have_an_end(tmp_path):
    """Lists that name each other double with every line."""
    text = "pages:\n- &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcde", "abcd", strict=True):
        text += f"- &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(InputError, match="there are more than 10000"):
        configuration.read(tmp_path / "bomb.yaml")


def test_one_page_is_one_plan(tmp_path):
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"pages": [mushra("x")]}))
    made = plan.make(configuration.read(tmp_path / "c.yaml"))
    assert made.studies[0].references == {"x": "audio/ref.wav"}
    assert (made.name, made.title, made.headphones) == ("webmushra", "webmushra", False)
