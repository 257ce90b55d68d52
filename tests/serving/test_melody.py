"""Melodies, and their editor."""

from pathlib import Path

import pytest

from demo.ui import melody_editor, texts
from demo.ui.events import inputs
from musicgen import audio, chroma
from musicgen.errors import InputError
from musicgen.serving import melody
from tests.conftest import GOLDEN
from tools import make_example_melodies

TUNE = GOLDEN / "chroma" / "melody_a.wav"


def test_an_extracted_melody_is_the_models_conditioning() -> None:
    frames = melody.extract(TUNE, separate=False)
    assert melody.to_one_hot(frames).equal(chroma.of_audio(audio.read(TUNE)))
    assert melody.similarity(frames, frames) == 1.0
    assert melody.similarity([1, 2], [1, 2, 1, 3]) == 0.75
    with pytest.raises(InputError, match="no such audio file"):
        melody.extract(Path("nowhere.wav"), separate=False)


def test_the_editor_reads_its_own_value() -> None:
    assert melody_editor.load(melody_editor.dump((1, 2))) == (1, 2)
    assert melody_editor.load(melody_editor.dump(())) is None
    for text in ("x", "[]", '{"frames": 3}', "[" * 100_000):
        with pytest.raises(InputError, match="damaged"):
            melody_editor.load(text)
    assert melody_editor.SECONDS_PER_FRAME == melody.SECONDS_PER_FRAME
    assert [name.replace("♯", "#") for name in melody_editor.PITCH_CLASSES] == list(chroma.PITCH_CLASSES)


@pytest.mark.parametrize("name", list(texts.EXAMPLE_MELODIES))
def test_example_melodies_are_what_the_composer_wrote(name: str) -> None:
    """Chroma frames of the file against the notes of the composition."""
    made = make_example_melodies.PLAYED | make_example_melodies.HUMMED
    part = make_example_melodies.melody(*made[Path(name).stem])
    frames = melody.from_audio(audio.read(inputs.EXAMPLE_MELODIES / name))
    heard = []
    for index, frame in enumerate(frames):
        time = (index + 0.5) * melody.SECONDS_PER_FRAME
        sounding = {note.pitch % 12 for note in part.notes if note.onset <= time < note.offset}
        if sounding:
            heard.append(frame in sounding)
    assert len(heard) > 60
    assert sum(heard) / len(heard) > 0.7
