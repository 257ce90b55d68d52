"""PyTorch files of strangers: what NumPy 1 and NumPy 2 wrote is read, and nothing runs."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen import pickles
from musicgen.errors import CheckpointError


class Command:
    def __reduce__(self):
        return (os.system, ("true",))


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_scalars_are_read_under_the_names_of_both_numpys(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    scalar = np.float64(0).__reduce__()[0]
    with monkeypatch.context() as patch:
        patch.setattr(scalar, "__module__", module)  # under which pickle writes it down
        try:
            torch.save({"epoch": np.float64(2.5), "w": torch.ones(2)}, tmp_path / "w.pt")
        except ModuleNotFoundError:
            pytest.skip(f"this NumPy has no {module}")
    assert module.encode() in (tmp_path / "w.pt").read_bytes()
    recwarn.clear()
    found = pickles.read(tmp_path / "w.pt")
    assert found["epoch"] == 2.5
    assert torch.equal(found["w"], torch.ones(2))
    assert not recwarn.list


def test_what_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    torch.save({"w": Command()}, tmp_path / "command.pt")
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "pointer.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    (tmp_path / "page.pt").write_bytes(b"<!DOCTYPE html><html>Sign in</html>")
    for name, message in (
        ("command.pt", "could run code"),
        ("torn.pt", "damaged"),
        ("none.pt", "no such file"),
        ("pointer.pt", "a Git LFS pointer"),
        ("page.pt", "a web page"),
    ):
        with pytest.raises(CheckpointError, match=f"{name}: .*{message}"):
            pickles.read(tmp_path / name)
