"""docs/formats.md says what the code reads."""

import re
from pathlib import Path

import av
import pytest

from evaluation.suites import items
from musicgen import decoding, samples
from musicgen.checkpoint import adapter_folders, audiocraft_layout, tensors, transformers_layout
from musicgen.checkpoint.audiocraft_settings import TRANSFORMER
from musicgen.training import descriptions, manifest
from tests.test_damaged_audio import BY_FFMPEG, BY_LIBSNDFILE

TEXT = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Cells of the tables' rows."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def test_the_table_of_containers_lists_every_extension() -> None:
    named = [name for row in rows(section("Audio"))[1:] for name in re.findall(r"`(\.\w+)`", row[1])]
    also = {".aifc", ".snd"}  # other names of AIFF and AU
    assert set(named) | also == set(decoding.EXTENSIONS)


DECODERS = {
    "PCM": "pcm_s16le", "float": "pcm_f32le", "ADPCM": "adpcm_ima_wav", "A-law": "pcm_alaw", "µ-law": "pcm_mulaw",
    "FLAC": "flac", "MPEG layers I": "mp1", "II": "mp2", "III": "mp3", "Vorbis": "vorbis", "Opus": "opus", "Speex": "speex",
    "AAC": "aac", "ALAC": "alac", "MP3": "mp3", "AMR": "amrnb", "AC-3": "ac3", "WMA": "wmav2", "Monkey's Audio": "ape",
    "WavPack": "wavpack", "TTA": "tta",
}  # fmt: skip
"""FFmpeg's names of the codecs that the table claims."""


def test_every_codec_of_the_table_has_its_decoder() -> None:
    """In the libraries that PyAV's wheel brings; those without an encoder there no other test can read."""
    cells = [row[0] if row[2] == "the same" else row[2] for row in rows(section("Audio"))[1:]]
    named = {name for cell in cells for name in re.split(r", | and ", cell.replace("PCM of every size", "PCM"))}
    assert named == set(DECODERS)
    for decoder in DECODERS.values():
        assert av.Codec(decoder, "r").type == "audio"


def test_every_container_of_the_table_is_written_and_damaged_in_tests() -> None:
    """But for what no encoder here writes, whose headers are made by hand there."""
    named = {name for row in rows(section("Audio"))[1:] for name in re.findall(r"`(\.\w+)`", row[1])}
    written = {Path(name).suffix for name in [*(name for name, _ in BY_FFMPEG), *BY_LIBSNDFILE]}
    same = {".aif": ".aiff", ".m4b": ".m4a", ".weba": ".webm"}
    assert {same.get(name, name) for name in named} - written == {".ape", ".spx"}


@pytest.mark.parametrize(
    "name", [*manifest.METADATA, *manifest.NAMES, *manifest.TABLES, *descriptions.FIELDS, samples.MANIFEST]
)
def test_metadata(name: str) -> None:
    assert f"`{name}`" in section("Metadata")


def test_descriptions_are_looked_for_in_the_order_that_is_told() -> None:
    (told,) = re.findall(r"in the fields (.*?), in this order", " ".join(section("Metadata").split()))
    assert tuple(re.findall(r"`(\w+)`", told)) == descriptions.FIELDS


def test_suites_of_a_folder() -> None:
    for name in re.findall(r"captions\.\w+", items.__doc__ or ""):
        assert f"`{name}`" in section("Metadata")


def test_checkpoints() -> None:
    text = section("Checkpoints")
    layouts = {row[0]: row[1] for row in rows(text)}
    weights = re.findall(r"`([^`]+)`", layouts["transformers"])
    assert [name for name in weights if name in tensors._FORMS] == list(tensors._FORMS)
    assert transformers_layout.CONFIG in weights
    for name in (audiocraft_layout.LM_FILE, audiocraft_layout.TOKENIZER_FILE):
        assert f"`{name}`" in layouts["audiocraft, exported"]
    for name in (adapter_folders.CONFIG, *adapter_folders.WEIGHTS):
        assert f"`{name}`" in layouts["PEFT"]
    refused = layouts["refused by name"]
    assert {"positional_scale", "max_period"} <= set(TRANSFORMER) & set(re.findall(r"`(\w+)`", refused))
