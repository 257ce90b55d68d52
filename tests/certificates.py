"""Certificates and keys, made anew: for signed manifests a root and a signer with the extensions that C2PA asks for, and for a
server those of its name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEYS = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ps256": lambda: rsa.generate_private_key(65_537, 2_048),
}
ORGANISATION = "Test Music"


def make(folder: Path, kind: str = "es256") -> tuple[Path, Path]:
    """The files of a signer's certificate chain and key, in PEM."""
    root, key = KEYS["es256"](), KEYS[kind]()
    issuer = _certificate("Root", "Root", root.public_key(), True)
    issuer = issuer.add_extension(x509.SubjectKeyIdentifier.from_public_key(root.public_key()), False)
    issuer = issuer.add_extension(_usage(signs_certificates=True), True)
    leaf = _certificate("Signer", "Root", key.public_key(), False)
    leaf = leaf.add_extension(_usage(signs_certificates=False), True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
    chain = [one.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) for one in (leaf, issuer)]
    certificate, secret = folder / f"{kind}.pem", folder / f"{kind}.key"
    certificate.write_bytes(b"".join(chain))
    secret.write_bytes(_pem(key))
    return certificate, secret


def server(folder: Path, host: str) -> tuple[Path, Path, Path]:
    """The files of an authority, and of the certificate and the key of a server that it vouches for, in PEM."""
    root, key = KEYS["es256"](), KEYS["es256"]()
    authority = _certificate("Root", "Root", root.public_key(), True).add_extension(
        _usage(signs_certificates=True), True
    )
    # Python 3.13 and newer ask for these identifiers (RFC 5280, sections 4.2.1.1 and 4.2.1.2).
    authority = authority.add_extension(x509.SubjectKeyIdentifier.from_public_key(root.public_key()), False)
    leaf = _certificate(host, "Root", key.public_key(), False)
    leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
    files = folder / "authority.pem", folder / f"{host}.pem", folder / f"{host}.key"
    for file, one in zip(files, (authority, leaf), strict=False):
        file.write_bytes(one.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files[-1].write_bytes(_pem(key))
    return files


def _certificate(subject, issuer, key, authority):
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), True)
    )


def _pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common):
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _usage(signs_certificates):
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
