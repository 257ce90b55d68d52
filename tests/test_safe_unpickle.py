"""PyTorch files of strangers: what NumPy 1 and NumPy 2 wrote is read, and nothing runs."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicgen import safe_unpickle
from musicgen.errors import CheckpointError
from tests.fuzz import refused


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
    found = safe_unpickle.read(tmp_path / "w.pt")
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
            safe_unpickle.read(tmp_path / name)


@pytest.fixture(scope="module", params=[True, False], ids=["archive", "legacy"])
def sound_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    file = tmp_path_factory.mktemp("pickle") / "weights.pt"
    values = {"a": torch.ones(2), "b": [1, "x"]}
    torch.save(values, file, _use_new_zipfile_serialization=request.param)
    return file, file.read_bytes()


def test_tensors_that_are_missing_are_damage(tmp_path: Path) -> None:
    file = tmp_path / "keys.pt"
    torch.save({"a": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    data = file.read_bytes()
    key = re.findall(rb"\d{8,}", data)[0]
    file.write_bytes(
        data[::-1].replace(key[::-1], b"1" * len(key), 1)[::-1]
    )  # the last time, in the list of what follows
    with pytest.raises(CheckpointError, match=r"keys\.pt: damaged or not a PyTorch file"):
        safe_unpickle.read(file)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.floats(0, 1),
)
def test_any_damage_is_read_or_refused_in_a_line(sound_file: tuple[Path, bytes], changes: list, cut: float) -> None:
    file, whole = sound_file
    data = bytearray(whole)
    for place, byte in changes:
        data[int(place * len(data))] = byte
    file.write_bytes(data if cut > 0.5 else data[: int(2 * cut * len(data))])
    refused(lambda: safe_unpickle.read(file))
