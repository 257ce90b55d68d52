"""With Ray: the numbers of one process, bit by bit, also when a worker dies in the middle."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from evaluation.clips.clip import Source
from evaluation.embedders.cache import Cache
from evaluation.embedders.embedding import compute_embeddings, read_embedding
from evaluation.embedders.registry import Embedders
from evaluation.embedders.weights import Weights
from evaluation.pipeline import cluster, generation
from evaluation.pipeline.scoring import score
from evaluation.suites.items import load_items
from evaluation.systems.base import Request
from musicgen import audio, samples
from musicgen.audio import Audio
from tests.evaluation.conftest import music
from tests.evaluation.test_scoring import QUIET, reference_folder, samples_folder, suite_of

NAMES = ("mini", "mini_tags", "mini_clap", "chroma")


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, log_to_driver=False, configure_logging=False, include_dashboard=False)
    yield ray
    ray.shutdown()


def sources_in(folder, count):
    found = []
    for number in range(count):
        file = folder / f"{number:02d}.wav"
        audio.write(file, Audio(music(1.5, seed=number)[None], 32_000))
        found.append(Source(file.stem, file, samples.file_sha256(file), "reference"))
    return found


def test_two_workers_give_the_bits_of_one_process(ray, tmp_path, monkeypatch):
    assert ray.is_initialized()
    monkeypatch.setattr(cluster, "PART", 2)
    sources, embedders = sources_in(tmp_path, 7), Embedders()
    here, there = Cache(tmp_path / "here"), Cache(tmp_path / "there")
    compute_embeddings(sources, [embedders[name] for name in NAMES], here)
    cluster.ray_embedding(Weights(), there, "cpu", 1, "local")(sources, NAMES)
    for source in sources:
        for name in NAMES:
            one, other = (read_embedding(source, embedders[name], cache) for cache in (here, there))
            assert np.array_equal(one, other), name


def test_scores_with_ray_are_those_of_one_process(ray, tmp_path, monkeypatch):
    assert ray.is_initialized()
    monkeypatch.setattr(cluster, "PART", 2)
    suite, items = suite_of(tmp_path), load_items(suite_of(tmp_path), reference_folder(tmp_path / "references", 4))
    folder, embedders = samples_folder(tmp_path / "a", "first", 4), Embedders()
    one = score(suite, items, [folder], embedders, Cache(tmp_path / "here"), QUIET)
    there = Cache(tmp_path / "there")
    embed = cluster.ray_embedding(Weights(), there, "cpu", 1, "local")
    assert score(suite, items, [folder], embedders, there, QUIET, embed=embed) == one


def test_a_worker_that_dies_loses_nothing(ray, tmp_path, monkeypatch):
    assert ray.is_initialized()
    sources, cache = sources_in(tmp_path, 4), Cache(tmp_path / "cache")
    marker, real = tmp_path / "died", cluster.embed_part

    def dying(*arguments):
        if not marker.exists():
            marker.touch()
            real(arguments[0][:1], *arguments[1:])
            os._exit(1)
        return real(*arguments)

    monkeypatch.setattr(cluster, "embed_part", dying)
    cluster.ray_embedding(Weights(), cache, "cpu", 1, "local")(sources, ["mini"])
    assert marker.exists()
    embedders = Embedders()
    assert all(len(read_embedding(source, embedders["mini"], cache)) > 0 for source in sources)


@pytest.mark.slow
def test_copies_of_a_system_make_the_clips_of_one(ray):
    assert ray.is_initialized()

    class Tone:
        """A system whose clip hangs on the seed alone."""

        name, settings, batch = "tone", None, 2

        def generate(self, requests):
            return [Audio(torch.full((1, 100), request.seed / 10), 8000) for request in requests]

    requests = [Request(str(number), "p", number, 0.2) for number in range(4)]
    many = cluster.RaySystem(Tone, "local")
    assert (many.name, many.batch) == ("tone", 4)
    expected = Tone().generate(requests)
    for one, other in zip(many.generate(requests), expected, strict=True):
        assert torch.equal(one.wave, other.wave)


def test_a_system_whose_worker_dies_makes_the_same_clips(ray, tmp_path):
    assert ray.is_initialized()
    marker = tmp_path / "died"

    class Mortal:
        """Takes its worker down with it at the third clip, once."""

        name, settings, batch = "mortal", {}, 1

        def generate(self, requests):
            if requests[0].seed == 3 and not marker.exists():
                marker.touch()
                os._exit(1)
            return [Audio(torch.full((1, 100), request.seed / 10), 8000) for request in requests]

    requests = [Request(str(number), "p", number, 0.2) for number in range(1, 7)]
    made = generation.generate(
        tmp_path / "samples", requests, lambda: cluster.RaySystem(Mortal, "local"), "mortal", False
    )
    assert (made, marker.exists()) == (6, True)
    found = samples.read(tmp_path / "samples")
    assert [sample.seed for sample in found.samples] == [1, 2, 3, 4, 5, 6]
    expected = Mortal().generate(requests)
    for sample, clip in zip(found.samples, expected, strict=True):
        assert torch.allclose(audio.read(found.file(sample)).wave, clip.wave, atol=1e-4)


def test_without_asking_ray_is_not_imported():
    imports = "sys, evaluation.__main__, evaluation.pipeline.scoring, evaluation.pipeline.cluster"
    code = f"import {imports}; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
