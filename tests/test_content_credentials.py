"""Signed manifests: c2pa-python's reader checks what is written, and a changed byte shows."""

import json
import sys
from pathlib import Path

import pytest
import torch

from musicgen import audio, content_credentials, provenance
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.commands import inspect, marks
from musicgen.content_credentials import MIME_TYPES, Signer
from musicgen.errors import InputError
from musicgen.settings import Settings

c2pa = pytest.importorskip("c2pa", reason="signed manifests need c2pa-python")
certificates = pytest.importorskip("tests.certificates")

SOUND = Audio(torch.rand(1, 32_000, generator=torch.Generator().manual_seed(0)) - 0.5, 32_000)
SETTINGS = Settings("0.1.0", "mini", "slow piano", 1.0, 7)
TAGS = provenance.tags(SETTINGS.comment())
UNTRUSTED = ("signingCredential.untrusted",)  # the root of the test is on nobody's list


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificates.make(tmp_path_factory.mktemp("signer"))


@pytest.mark.parametrize("extension", [".wav", ".flac", ".mp3"])
def test_a_signed_clip_says_who_made_it_and_keeps_sound_and_tags(extension: str, files, tmp_path: Path) -> None:
    path, plain = tmp_path / f"clip{extension}", tmp_path / f"plain{extension}"
    content_credentials.write(path, SOUND, TAGS, Signer.of_files(*files))
    audio.write(plain, SOUND, TAGS)
    with path.open("rb") as file:
        theirs = json.loads(c2pa.Reader(MIME_TYPES[extension], file).json())
    (manifest,) = theirs["manifests"].values()
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert action["digitalSourceType"] == provenance.TRAINED_ALGORITHMIC_MEDIA
    assert action["softwareAgent"] == {"name": "MusicGen mini", "version": "musicgen 0.1.0"}
    assert manifest["claim_generator_info"][0]["name"] == "musicgen"
    assert (manifest["title"], theirs["validation_state"]) == ("slow piano", "Valid")
    ours = content_credentials.read(path)
    assert (ours.state, ours.problems, ours.signed_by) == ("Valid", UNTRUSTED, f"{certificates.ORGANISATION}, Signer")
    assert ours.actions == (("c2pa.created", provenance.TRAINED_ALGORITHMIC_MEDIA),)
    assert torch.equal(audio.read(path).wave, audio.read(plain).wave)
    assert provenance.of_tags(audio.read_tags(path)) == TAGS
    assert content_credentials.read(plain) is None


@pytest.mark.parametrize("kind", ["es256", "es384", "ed25519", "ps256"])
def test_every_kind_of_key_signs(kind: str, tmp_path: Path) -> None:
    data = audio.encode(SOUND, ".wav", TAGS)
    signer = Signer.of_files(*certificates.make(tmp_path, kind))
    assert signer.algorithm == kind
    (tmp_path / "clip.wav").write_bytes(signer.sign(data, ".wav", TAGS))
    assert content_credentials.read(tmp_path / "clip.wav").state == "Valid"


def test_a_changed_sample_breaks_the_signature(files, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    content_credentials.write(path, SOUND, TAGS, Signer.of_files(*files))
    data = bytearray(path.read_bytes())
    data[5_000] ^= 1
    path.write_bytes(data)
    found = content_credentials.read(path)
    assert found.state == "Invalid"
    assert "assertion.dataHash.mismatch" in found.problems


def test_ogg_has_no_place_for_a_manifest(files, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.ogg: a signed manifest has no place in \.ogg files: one of \.wav"):
        content_credentials.check_format("clip.ogg")
    content_credentials.write(tmp_path / "clip.ogg", SOUND, TAGS, Signer.of_files(*files))
    assert content_credentials.read(tmp_path / "clip.ogg") is None
    assert provenance.of_tags(audio.read_tags(tmp_path / "clip.ogg")) == TAGS


def test_wrong_certificates_and_keys_are_one_line(files, tmp_path: Path, monkeypatch) -> None:
    certificate, key = files
    other, empty = certificates.make(tmp_path)[1], tmp_path / "empty"
    empty.write_text("")
    for given, message in (
        ((tmp_path / "none.pem", key), r"none\.pem: cannot be read"),
        ((empty, key), r"empty: holds no certificate in PEM"),
        ((certificate, empty), r"empty: holds no private key in PEM"),
        ((certificate, other), r"es256\.key: is not the key of the first certificate in"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            Signer.of_files(*given)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="pass --c2pa-key too, or set MUSICGEN_C2PA_KEY"):
        marks.signer(certificate, None, {})
    assert marks.signer(None, None, {}) is None
    assert marks.signer(None, None, {"MUSICGEN_C2PA_CERTIFICATE": str(certificate), "MUSICGEN_C2PA_KEY": str(key)})
    monkeypatch.setitem(sys.modules, "c2pa", None)
    monkeypatch.setattr("musicgen.extras.is_installed", lambda _: False)
    with pytest.raises(InputError, match=r'signing clips needs c2pa, .* pip install "musicgen\[provenance\]"'):
        Signer.of_files(certificate, key)


def test_generate_signs_and_inspect_reads_it(files, tmp_path: Path, capsys) -> None:
    certificate, key = map(str, files)
    base = [
        "generate",
        "drums",
        "-m",
        "mini",
        "-d",
        "0.6",
        "--seed",
        "1",
        "--c2pa-certificate",
        certificate,
        "--c2pa-key",
        key,
    ]
    assert main([*base, "-o", str(tmp_path / "clip.ogg")]) == 2
    assert "a signed manifest has no place in .ogg files" in capsys.readouterr().err
    assert main([*base, "-o", str(tmp_path / "clip.flac")]) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "clip.flac"), "--json", "--no-watermark"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["manifest"]["state"] == "Valid"
    assert (
        "Valid (signingCredential.untrusted), signed by Test Music, Signer, c2pa.created trainedAlgorithmicMedia"
        in (" ".join(inspect.text(found).split()))
    )


def test_the_page_signs_what_it_converts(files, tmp_path: Path) -> None:
    from demo import derived_files
    from musicgen.serving.clip_store import ClipStore

    store = ClipStore(tmp_path, hours=1, signer=Signer.of_files(*files))
    clip = store.new_path("drums-1.flac")
    store.write(clip, Audio(SOUND.wave, 32_000), TAGS)
    for file in (clip, store.convert(clip, "mp3"), store.convert(clip, "wav"), derived_files.video(store, clip)):
        assert content_credentials.read(file).state == "Valid", file
        assert provenance.of_tags(audio.read_tags(file)) == TAGS
    assert content_credentials.read(store.convert(clip, "ogg")) is None
    store.close()
