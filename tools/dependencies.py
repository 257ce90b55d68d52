"""pyproject.toml is the one source of dependencies. This script prints them for pip, and writes the files that follow from it.

    python tools/dependencies.py list demo dev      the requirements of the core and of these extras, a line each
    python tools/dependencies.py lock               write constraints.txt and requirements.txt (needs uv)

constraints.txt pins every package that the tests run on, for each supported Python on Linux. requirements.txt is the core and
the extra `demo` at those versions: a Hugging Face Space reads that file and no other. `list` needs the standard library alone.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS, REQUIREMENTS = ROOT / "constraints.txt", ROOT / "requirements.txt"
HEADER = "# Written by tools/dependencies.py from pyproject.toml.\n"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(\[[^]]*\])?([^;]*)(;.*)?")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def environment() -> str:
    """The marker of the one environment that is locked, which every line of the lock carries."""
    (marker,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["environments"]
    return str(marker)


def requirements(extras: list[str]) -> list[str]:
    """The requirements of the core and of some extras, each once; an extra that names others stands for them."""
    described = project()
    optional = described["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in optional]
    if unknown:
        raise SystemExit(f"error: no extra {unknown[0]!r} in pyproject.toml: one of {', '.join(optional)}")
    found = dict.fromkeys(described["dependencies"])
    for extra in extras:
        for line in optional[extra]:
            inner = re.fullmatch(rf"{described['name']}\[([a-z,]+)\]", line)
            found |= dict.fromkeys(requirements(inner[1].split(",")) if inner else [line])
    return list(found)


def canonical(name: str) -> str:
    """A package's name as indices compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(requirement: str, versions: dict[str, str]) -> str:
    """The same requirement at the locked version, its extras and its marker kept."""
    parts = _REQUIREMENT.fullmatch(requirement)
    assert parts is not None, requirement
    name, extras, _, marker = parts.groups()
    return f"{name}{extras or ''}=={versions[canonical(name)]}{marker or ''}"


def lock() -> None:
    """Write constraints.txt, moving no version that still fits, and requirements.txt from it."""
    from uv import find_uv_bin  # of the extra `dev`: `list` runs before anything is installed

    subprocess.run(
        [find_uv_bin(), "pip", "compile", "--quiet", "--universal", "--fork-strategy", "fewest", "--python-version", "3.11",
         "--extra", "dev", "--no-annotate", "--no-header", "--no-emit-package", "musicgen",
         "--output-file", str(CONSTRAINTS), str(ROOT / "pyproject.toml")],
        check=True,
    )  # fmt: skip
    lines = CONSTRAINTS.read_text()
    for term in environment().split(" and "):
        lines = lines.replace(f" and {term}", "").replace(f"{term} and ", "").replace(f" ; {term}", "")
    CONSTRAINTS.write_text(HEADER + lines)
    versions = {
        canonical(line.split("==")[0]): line.split("==")[1].split(";")[0].strip() for line in lines.split("\n") if line
    }
    REQUIREMENTS.write_text(
        HEADER
        + "# The core and the demo, at the versions that the tests run on. CPU-only PyTorch: README.md, \"Quick start\".\n"
        + "".join(f"{pinned(line, versions)}\n" for line in requirements(["demo"]))
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print requirements").add_argument("extras", nargs="*")
    commands.add_parser("lock", help="write constraints.txt and requirements.txt")
    given = parser.parse_args()
    if given.command == "lock":
        lock()
    else:
        sys.stdout.write("".join(f"{line}\n" for line in requirements(given.extras)))


if __name__ == "__main__":
    main()
