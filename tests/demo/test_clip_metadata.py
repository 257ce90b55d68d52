"""Settings in links and in the files of clips."""

import base64
import dataclasses
import json
import os
import shutil
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from musicgen import audio, catalog
from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.serving import clip_metadata
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from musicgen.settings import Settings, SourceFile
from musicgen.timeline import TimelineEntry
from tests.fuzz import changed, refused

REQUEST = ClipRequest(
    prompt="drums “and” bass",
    model="mini-melody",
    duration=12.5,
    seed=4,
    options=GenerationOptions(top_k=9, negative_prompt="noise", melody_guidance_scale=2.0),
    frames=(0, 11, 5),
    separate=False,
    timeline=(TimelineEntry(3.0, "strings"),),
    precision="int8",
    loop=True,
)


def test_a_link_brings_the_settings_back() -> None:
    assert clip_metadata.read_link(clip_metadata.make_link(REQUEST, 4)) == (REQUEST, {})


def test_a_link_that_is_no_link_is_refused() -> None:
    good = clip_metadata.make_link(REQUEST, 4)
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 50_000_000)).decode()
    for text in (
        "",
        "x",
        good[:-9],
        good[5:],
        "A" * 100_000,
        bomb,
        base64.urlsafe_b64encode(zlib.compress(b"[[]]")).decode(),
    ):
        with pytest.raises(InputError, match="the link holds no settings"):
            clip_metadata.read_link(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": GenerationOptions(do_sample=False, window_overlap=0.2)}, "the options do_sample, window_overlap"),
        ({"options": GenerationOptions(decoding_steps=(3, 2, 2, 2))}, "the options decoding_steps"),
        ({"conditions": {"map": SourceFile("map.bin", "0" * 64)}}, "the conditions map"),
    ],
)
def test_a_file_with_what_the_page_has_no_field_for_is_refused(changes: dict, message: str, tmp_path: Path) -> None:
    stored = Settings(version="1", model="mini", prompt="x", duration=1.0, seed=1, **changes)
    audio.write(tmp_path / "clip.wav", Audio(torch.zeros(1, 32_000), 32_000), stored.comment())
    with pytest.raises(
        InputError, match=f"was made with {message}, which this page does not have: use the command line"
    ):
        clip_metadata.read_file(tmp_path / "clip.wav", "clip.wav", ModelCatalog())


def test_a_file_brings_the_settings_back(tmp_path: Path) -> None:
    audio.write(tmp_path / "clip.ogg", Audio(torch.zeros(1, 32_000), 32_000), clip_metadata.make_comment(REQUEST, 4))
    # Without a recording there is nothing to separate.
    expected = dataclasses.replace(REQUEST, separate=None)
    assert clip_metadata.read_file(tmp_path / "clip.ogg", "clip.ogg", ModelCatalog()) == (expected, {})
    audio.write(tmp_path / "other.wav", Audio(torch.zeros(1, 32_000), 32_000), "a comment")
    with pytest.raises(InputError, match=r"my\.wav: holds no settings"):
        clip_metadata.read_file(tmp_path / "other.wav", "my.wav", ModelCatalog())


LINK = json.loads(zlib.decompress(base64.urlsafe_b64decode(clip_metadata.make_link(REQUEST, 4) + "==")))
PAGE = json.loads(clip_metadata.make_comment(REQUEST, 4))


@settings(deadline=None, max_examples=60)
@given(changed(LINK), changed(PAGE))
def test_any_link_and_any_files_settings_are_read_or_refused_in_a_line(link: dict, page: dict) -> None:
    refused(
        lambda: clip_metadata.read_link(base64.urlsafe_b64encode(zlib.compress(json.dumps(link).encode())).decode())
    )
    clip = Path(os.environ["HF_HOME"]) / "fuzzed.wav"
    audio.write(clip, Audio(torch.zeros(1, 320), 32_000), json.dumps(page))
    refused(lambda: clip_metadata.read_file(clip, clip.name, ModelCatalog()))


def test_a_local_model_is_not_confused_with_an_embedded_one_of_its_name(tmp_path: Path) -> None:
    """An operator's model called mini-melody is not the embedded one, nor the other way round."""
    own = Path(shutil.copytree(catalog.PRETRAINED / "mini", tmp_path / "own" / "mini"))
    models = ModelCatalog(own.parent)
    cases = [("mini", False, True), ("mini", True, False), ("own/mini", True, True), ("own/mini", False, False)]
    for model, local_model, fits in cases:
        request = dataclasses.replace(REQUEST, model=model)
        clip = tmp_path / "clip.wav"
        audio.write(
            clip, Audio(torch.zeros(1, 32_000), 32_000), clip_metadata.make_comment(request, 4, local_model=local_model)
        )
        if fits:
            assert clip_metadata.read_file(clip, "clip.wav", models)[0].model == model
        else:
            with pytest.raises(InputError, match=r"clip\.wav: was made with another model of the name"):
                clip_metadata.read_file(clip, "clip.wav", models)
        stored = Settings.of_file(clip)
        assert (stored.timeline, stored.loop) == (REQUEST.timeline, True)
        assert stored.beyond == ("the melody as the page's editor had it",)


def test_a_part_keeps_what_the_clip_was_made_with(tmp_path: Path) -> None:
    """Chords, style, conditions and the description of the time; a clip that begins earlier now has lost its times."""
    from demo.ui.events.generation import span_request
    from musicgen.chords import ChordChart
    from musicgen.serving.stored_clip import StoredClip

    path, style = tmp_path / "c" / "clip.flac", tmp_path / "song.mp3"
    path.parent.mkdir()
    style.write_bytes(b"x")
    chart = ChordChart("C G", bpm=90)
    request = ClipRequest(
        "drums", "mini-melody", 4.0, 1, chords=chart, style=style, conditions=(("energy", "0.5"),),
        timeline=(TimelineEntry(2.0, "strings"),), loop=True,
    )  # fmt: skip
    clip = StoredClip(path, request, 1, 4.0, 1, 32_000, -14.0, True, (0,))
    path.write_bytes(b"x")
    part = span_request(clip, "2.5", "3", "")
    assert (part.chords, part.style, part.conditions) == (chart, style, request.conditions)
    assert (part.prompt, part.span, part.continue_from, part.timeline, part.loop) == (
        "strings", (2.5, 3.0), path, (), False
    )  # fmt: skip
    assert span_request(clip, "-1", "0", "").prompt == "drums"
    assert span_request(clip, "1", "2", "piano").prompt == "piano"
    stored = Settings.from_comment(clip_metadata.make_comment(dataclasses.replace(part, precision="float32"), 1), "x")
    assert (stored.chords, stored.repainted) == (chart, True)

    longer = span_request(clip, "-1", "0", "")
    assert (longer.chords, longer.duration) == (chart, 5.0)
    assert (
        Settings.from_comment(
            clip_metadata.make_comment(dataclasses.replace(longer, precision="float32"), 1), "x"
        ).chords
        is None
    )
    later = span_request(StoredClip(path, longer, 1, 5.0, 1, 32_000, -14.0, True, (0,)), "1", "2", "")
    assert (later.chords, later.style) == (None, style)

    tune = tmp_path / "tune.mid"
    for frames, kept in ((None, tune), ((1, 2), None)):
        made = ClipRequest("drums", "mini-melody", 4.0, 1, melody=tune, frames=frames)
        part = span_request(StoredClip(path, made, 1, 4.0, 1, 32_000, -14.0, True, (0,)), "1", "2", "")
        assert (part.melody, part.frames) == (kept, frames)
