"""Content Credentials: a signed C2PA manifest in a clip's file, with the operator's certificate and key.

The manifest states that a model created the clip, and is bound to the file's bytes: any change invalidates the signature.
c2pa-python, the library of the Content Authenticity Initiative, writes and verifies it. OGG files cannot contain a manifest.

Source: C2PA specification 2.x, https://spec.c2pa.org/specifications/.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen import audio, extras
from musicgen.audio import Audio
from musicgen.errors import InputError

EXTRA = "provenance"
MIME_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".mp4": "video/mp4"}
"""File extension -> the type under which C2PA has a place in it."""
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
"""Curve of an elliptic key -> its algorithm of C2PA."""


@dataclass(frozen=True)
class Manifest:
    """What the manifest in a file says.

    signed_by: the certificate's organisation and name; actions: what was done, with C2PA's names ("c2pa.created") and IPTC's
    digital source type; state: "Valid" where bytes and signature match, "Trusted" where the certificate is on a list of
    trusted ones too, "Invalid"; problems: C2PA's codes of what does not match.
    """

    signed_by: str
    actions: tuple[tuple[str, str], ...]
    state: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Signer:
    """A signing key. certificate: PEM chain, the signer's first; key: PEM, not encrypted; algorithm: C2PA's name of it."""

    certificate: bytes
    key: bytes
    algorithm: str

    @classmethod
    def of_files(cls, certificate: str | os.PathLike[str], key: str | os.PathLike[str]) -> Signer:
        """The signer of two PEM files.

        Raises:
            InputError: a file cannot be read or holds something else, or key and certificate do not belong together.
        """
        with extras.needed(EXTRA, "signing clips"):
            import c2pa  # noqa: F401  # needs minutes of generation to fail otherwise
            from cryptography import x509
            from cryptography.hazmat.primitives import serialization
        chain, secret = _read(certificate), _read(key)
        try:
            leaf = x509.load_pem_x509_certificates(chain)[0]
        except ValueError as error:
            raise InputError(
                f"{certificate}: holds no certificate in PEM (BEGIN CERTIFICATE between dashes)"
            ) from error
        try:
            private: Any = serialization.load_pem_private_key(secret, password=None)
        except (ValueError, TypeError) as error:
            raise InputError(f"{key}: holds no private key in PEM without a password ({error})") from error
        if private.public_key() != leaf.public_key():
            raise InputError(f"{key}: is not the key of the first certificate in {certificate}")
        return cls(chain, secret, _algorithm(private, str(key)))

    def sign(self, data: bytes, extension: str, tags: Mapping[str, str]) -> bytes:
        """A file with a signed manifest.

        Args:
            data: the file.
            extension: of MIME_TYPES.
            tags: of `provenance.tags`, from which the manifest follows.

        Raises:
            InputError: C2PA refuses certificate or file.
        """
        import c2pa

        agent = {"name": tags["aisystemused"], "version": tags.get("aisystemversionused", "")}
        created = {"action": "c2pa.created", "digitalSourceType": tags["digitalsourcetype"], "softwareAgent": agent}
        program, _, version = agent["version"].partition(" ")
        manifest = {
            "claim_generator_info": [{"name": program or agent["name"], "version": version}],
            "title": tags.get("title", ""),
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
        }
        made = io.BytesIO()
        try:
            info = c2pa.C2paSignerInfo(self.algorithm.encode(), self.certificate, self.key, None)
            with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
                builder.sign(signer, MIME_TYPES[extension], io.BytesIO(data), made)
        except c2pa.C2paError as error:
            raise InputError(f"the file cannot be signed ({' '.join(str(error).split())[:200]})") from error
        return made.getvalue()


def check_format(path: str | os.PathLike[str]) -> None:
    """Raises InputError where the file of a name has no place for a manifest."""
    extension = Path(path).suffix.lower()
    if extension not in MIME_TYPES:
        raise InputError(f"{path}: a signed manifest has no place in {extension} files: one of {', '.join(MIME_TYPES)}")


def write(path: str | os.PathLike[str], clip: Audio, tags: Mapping[str, str], signer: Signer | None) -> None:
    """Write a clip with its tags, and with a signed manifest where there is a signer and the format has a place for one."""
    extension = audio.check_format(path)
    data = audio.encode(clip, extension, tags)
    audio.write_bytes(path, signed(data, extension, tags, signer))


def signed(data: bytes, extension: str, tags: Mapping[str, str], signer: Signer | None) -> bytes:
    """A file with a signed manifest, as it is where there is no signer or no place for one."""
    return data if signer is None or extension not in MIME_TYPES else signer.sign(data, extension, tags)


def read(path: str | os.PathLike[str]) -> Manifest | None:
    """The manifest in a file, checked against its bytes; None where there is none.

    Raises:
        InputError: c2pa-python is not installed.
    """
    c2pa = extras.load("c2pa", EXTRA, "reading a signed manifest")
    extension = Path(path).suffix.lower()
    if extension not in MIME_TYPES:
        return None
    try:
        with Path(path).open("rb") as file, c2pa.Reader(MIME_TYPES[extension], file) as reader:
            found = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except (c2pa.C2paError, ValueError) as error:
        return Manifest("", (), "Invalid", (" ".join(str(error).split())[:200],))
    active = found["manifests"].get(found.get("active_manifest"), {})
    signature = active.get("signature_info") or {}
    actions = [
        (str(action.get("action")), str(action.get("digitalSourceType", "")))
        for assertion in active.get("assertions", [])
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])
    ]
    names = dict.fromkeys(filter(None, (signature.get("issuer"), signature.get("common_name"))))
    problems = tuple(str(status["code"]) for status in found.get("validation_status") or [])
    return Manifest(", ".join(names), tuple(actions), str(found.get("validation_state", "Invalid")), problems)


def _algorithm(key: Any, source: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise InputError(f"{source}: C2PA has no signatures of this key: one of {', '.join(_CURVES)}, Ed25519, RSA")


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
