"""A folder for experiments at toy size, which share its corpus, its tokens and the small model in the place of `mini`."""

from pathlib import Path

import pytest

from tests import standins


@pytest.fixture(scope="session")
def root(renderer, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "pretrained" / "mini").mkdir(parents=True)
    standins.write(standins.transformers_model(), folder / "pretrained" / "mini")
    return folder
