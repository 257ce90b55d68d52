"""Tags that say that a model made a file: FFmpeg and an XML parser read what we write, and conversions keep it."""

import hashlib
import io
import json
import struct
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest
import soundfile
import torch

from musicgen import audio, provenance, samples, tags, xmp
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.settings import Settings

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PROMPT = 'ein Stück <für> Klavier & 音楽, "slow"'
SOUND = Audio(torch.rand(2, 48_777, generator=torch.Generator().manual_seed(0)) - 0.5, 32_000)


def settings(prompt=PROMPT):
    return Settings("0.1.0", "mini", prompt, 1.5, 7)


def file_with_tags(folder: Path, extension: str) -> Path:
    path = folder / f"clip{extension}"
    audio.write(path, SOUND, provenance.tags(settings().comment()))
    return path


@pytest.mark.parametrize("extension", list(audio.FORMATS))
def test_every_format_says_that_a_model_made_it(extension: str, tmp_path: Path) -> None:
    path = file_with_tags(tmp_path, extension)
    found = audio.read_tags(path)
    values = json.loads(settings().comment())["musicgen"]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    assert provenance.of_tags(found) == {
        "title": PROMPT, "digitalsourcetype": TRAINED, "aisystemused": "MusicGen mini",
        "aisystemversionused": "musicgen 0.1.0", "aipromptinformation": PROMPT, "settingssha256": digest,
        "comment": settings().comment(),
    }  # fmt: skip
    assert Settings.of_file(path) == settings()
    # FFmpeg, which most programs read tags with.
    with av.open(str(path)) as container:
        theirs = {
            name.lower(): text for name, text in (container.metadata | container.streams.audio[0].metadata).items()
        }
    assert theirs["title"] == PROMPT
    assert theirs["comment"] == settings().comment()
    if extension != ".wav":
        assert theirs["digitalsourcetype"] == TRAINED
        assert theirs["settingssha256"] == digest


@pytest.mark.parametrize("extension", list(audio.FORMATS))
def test_tags_leave_the_sound_alone(extension: str, tmp_path: Path) -> None:
    path = file_with_tags(tmp_path, extension)
    plain, tagged = audio.encode(SOUND, extension), path.read_bytes()
    (tmp_path / f"plain{extension}").write_bytes(plain)
    assert torch.equal(audio.read(path).wave, audio.read(tmp_path / f"plain{extension}").wave)
    theirs, ours = (soundfile.read(io.BytesIO(data), dtype="float32")[0] for data in (plain, tagged))
    assert (theirs == ours).all()
    assert audio.encode(SOUND, extension, provenance.tags(settings().comment())) == tagged  # the same bytes again


def xmp_of(path: Path) -> bytes:
    """The XMP packet where the format's standard puts it."""
    data = path.read_bytes()
    if path.suffix == ".wav":
        position = 12
        while position < len(data):
            name, size = struct.unpack_from("<4sI", data, position)
            if name == b"_PMX":
                return data[position + 8 : position + 8 + size]
            position += 8 + size + size % 2
        assert position == len(data)
    with av.open(str(path), options={"export_xmp": "1"} if path.suffix == ".mp4" else {}) as container:
        text = container.metadata["id3v2_priv.XMP"]
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


@pytest.mark.parametrize("extension", [".wav", ".mp3"])
def test_the_xmp_packet_has_iptcs_properties(extension: str, tmp_path: Path) -> None:
    root = ElementTree.fromstring(xmp_of(file_with_tags(tmp_path, extension)))
    iptc, dublin_core = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}", "{http://purl.org/dc/elements/1.1/}"
    assert root.find(f".//{iptc}DigitalSourceType").text == TRAINED
    assert root.find(f".//{iptc}AISystemUsed").text == "MusicGen mini"
    assert root.find(f".//{iptc}AISystemVersionUsed").text == "musicgen 0.1.0"
    assert root.find(f".//{iptc}AIPromptInformation").text == PROMPT
    assert "".join(root.find(f".//{dublin_core}title").itertext()) == PROMPT


def test_other_programs_packets_are_read() -> None:
    packet = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
      <rdf:Description rdf:about="" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" e:DigitalSourceType="made up"/>
    </rdf:RDF></x:xmpmeta>"""
    assert xmp.parse(packet) == {"digitalsourcetype": "made up"}


@pytest.mark.parametrize(
    "packet",
    [b"", b"\xff\xfe", b"<a", b"<a/>", b"\0" * 100, b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', b"<a>" * 100_000],
)
def test_what_is_no_packet_says_nothing(packet: bytes) -> None:
    assert xmp.parse(packet) == {}


@pytest.mark.parametrize("first", list(audio.FORMATS))
@pytest.mark.parametrize("second", list(audio.FORMATS))
def test_our_conversions_keep_the_tags(first: str, second: str, tmp_path: Path) -> None:
    path, converted = file_with_tags(tmp_path, first), tmp_path / f"converted{second}"
    audio.write(converted, audio.read(path), provenance.of_tags(audio.read_tags(path)))
    assert provenance.of_tags(audio.read_tags(converted)) == provenance.of_tags(audio.read_tags(path))


@pytest.mark.parametrize("prompt", [None, "", "a\0b\nc", "\x1b[31m"])
def test_any_description_can_be_a_title(prompt: str | None, tmp_path: Path) -> None:
    made = provenance.tags(settings(prompt).comment())
    for extension in audio.FORMATS:
        audio.write(tmp_path / f"clip{extension}", SOUND, made)
        found = audio.read_tags(tmp_path / f"clip{extension}")
        assert found.get("title", "") == (prompt or "").replace("\0", " ").replace("\x1b", " ")
        assert found["digitalsourcetype"] == TRAINED


def test_a_cut_wav_file_has_the_tags_before_the_cut(tmp_path: Path) -> None:
    path = file_with_tags(tmp_path, ".wav")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"_PMX") + 100])
    assert audio.read_tags(path) == {"title": PROMPT, "comment": settings().comment()}


def test_boxes_that_lie_about_their_size_end_the_search(tmp_path: Path) -> None:
    ftyp = struct.pack(">I", 16) + b"ftypisom\0\0\0\0"
    for boxes in (
        b"\0\0\0\0free",
        b"\0\0\0\x01mdat" + b"\xff" * 8,
        b"\xff\xff\xff\xffuuid" + tags._XMP_BOX,
        b"\0\0\0\x08free" * 5,
    ):
        (tmp_path / "x.mp4").write_bytes(ftyp + boxes)
        with (tmp_path / "x.mp4").open("rb") as file:
            assert tags._boxed_packet(file) == b""


def test_a_samples_folder_marks_what_a_model_made(tmp_path: Path) -> None:
    writer = samples.Writer(tmp_path, "rival")
    made = writer.add("a", SOUND, prompt="drums", seed=3)
    recorded = writer.add("b", SOUND, prompt="drums")
    found = audio.read_tags(tmp_path / made.audio)
    assert (found["digitalsourcetype"], found["aisystemused"], found["title"]) == (TRAINED, "rival", "drums")
    assert "digitalsourcetype" not in audio.read_tags(tmp_path / recorded.audio)
    samples.read(tmp_path)  # the manifest's hashes are those of the files


def test_generate_marks_its_clips(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    assert main(["generate", "drums", "-m", "mini", "-d", "0.6", "--seed", "1", "-o", str(path)]) == 0
    found = audio.read_tags(path)
    assert (found["digitalsourcetype"], found["aisystemused"], found["title"]) == (TRAINED, "MusicGen mini", "drums")
    written = json.loads(found["comment"])["musicgen"]
    assert found["settingssha256"] == provenance.settings_sha256(written)
