"""A metric, an embedder and a system from outside the package: registered, generated with, scored, and in the table."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.__main__ import main
from evaluation.embedders.base import CheckpointEmbedder, EmbedderSpec
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import EMBEDDERS, Embedders, find_embedder, register_embedder
from evaluation.embedders.weights import Published, Weights
from evaluation.metrics.base import ClipResult, Metric, MetricInputs, SetResult, score_metric
from evaluation.metrics.registry import METRICS, find_metric, register_metric
from evaluation.pipeline import scoring
from evaluation.suites.items import load_items
from evaluation.systems.registry import SYSTEMS, register_system
from musicgen import audio, samples
from musicgen.audio import Audio
from musicgen.errors import CheckpointError, InputError
from tests.evaluation.conftest import music
from tests.evaluation.test_scoring import RATE, reference_folder, samples_folder, suite_of

ROOT = Path(__file__).parents[2]
PLUGIN = '''
"""The mean of |x| over windows of one second, as an embedder, a metric of single clips, a metric of sets; a silent system."""

import numpy as np
import torch

from evaluation.embedders.base import EmbedderSpec
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import register_embedder
from evaluation.metrics.base import ClipResult, Metric, SetResult
from evaluation.metrics.registry import register_metric
from evaluation.systems.registry import register_system
from musicgen.audio import Audio


class Level:
    name, version, view, rate, weights = "level", "1", "raw", 8000, ""

    def prepare(self, wave, clip_id):
        return list(wave.split(8000))

    def embed(self, inputs):
        return list(inputs.abs().mean(dim=1)[:, None, None].numpy())

    def salt(self, clip_id):
        return ""


def level(inputs):
    return ClipResult.mean({pair.id: inputs.embedding("level", pair.generated).mean() for pair in inputs.pairs})


def gap(inputs):
    sides = [[inputs.embedding("level", getattr(pair, side)).mean() for pair in inputs.pairs]
             for side in ("reference", "generated")]
    return SetResult(abs(float(np.mean(sides[0]) - np.mean(sides[1]))))


class Silence:
    batch, settings = 2, {"level": 0}

    def __init__(self, name, options):
        self.name = name

    def generate(self, requests):
        return [Audio(torch.zeros(1, round(8000 * request.duration)), 8000) for request in requests]


register_embedder(EmbedderSpec("level", lambda context: Level()))
register_metric(Metric("level", "Level", "single", ("level",), "higher", "1", level))
register_metric(Metric("level_gap", "Level gap", "set", ("level",), "lower", "1", gap))
register_system("silence", Silence)
'''


@pytest.fixture
def place(tmp_path):
    """A folder with a plug-in, a suite, its references and a samples folder of three clips."""
    (tmp_path / "my_metrics.py").write_text(PLUGIN)
    reference_folder(tmp_path / "references", 3)
    samples_folder(tmp_path / "samples", "somebody", 3)
    suite_of(tmp_path, ("chroma",))
    return tmp_path


def evaluation(place, *arguments):
    """The command in a process of its own, in whose folder the plug-in is: nothing is registered in this one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "evaluation", *map(str, arguments)]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_a_metric_from_outside_is_scored_and_in_the_table(place):
    scored = evaluation(
        place, "score", "suite.yaml", "samples", "--data", "references", "--out", "r.json", "--cache", "cache",
        "--plugin", "my_metrics", "--metrics", "level", "level_gap", "chroma",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    level, gap, _ = json.loads((place / "r.json").read_text())["systems"][0]["scores"]
    clips = sorted((place / "samples").glob("*.flac"))
    expected = [audio.read(file, channels=1, rate=8000).wave.abs().mean().item() for file in clips]
    assert level["value"] == pytest.approx(sum(expected) / 3, rel=0.02)
    assert level["low"] is None  # of 3 clips
    assert (level["version"], level["direction"], sorted(level["clips"])) == ("1/level 1", "higher", ["00", "01", "02"])
    assert (gap["low"], gap["high"]) == (None, None)
    table = evaluation(place, "table", "r.json", "--plugin", "my_metrics.py")
    assert "| system | Level ↑ | Level gap ↓ | Chroma ↑ |" in table.stdout, table.stderr
    assert "| somebody | 0." in table.stdout
    # Without the plug-in the results are still a table, under the metric's name.
    assert "| system | level ↑ | level_gap ↓ |" in evaluation(place, "table", "r.json").stdout


def test_a_system_from_outside_generates(place):
    made = evaluation(
        place, "run", "suite.yaml", "--data", "references", "--out", "out", "--system", "silence", "--plugin", "my_metrics",
        "--metrics", "level", "--cache", "cache",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    systems = json.loads((place / "out" / "results.json").read_text())["systems"]
    assert systems[0]["name"] == "silence"
    assert systems[0]["scores"][0]["value"] == 0


def test_a_suite_may_name_the_metric_and_listings_show_it(place):
    suite = place / "suite.yaml"
    suite.write_text(suite.read_text().replace("chroma", "level"))
    scored = evaluation(
        place, "score", "suite.yaml", "samples", "--data", "references", "--out", "r.json", "--cache", "cache",
        "--plugin", "my_metrics",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert "\nlevel                   Level " in evaluation(place, "suites", "--plugin", "my_metrics").stdout
    refused = evaluation(place, "score", "suite.yaml", "samples", "--data", "references", "--out", "r.json")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "unknown metric 'level'" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--metrics", "chrome"), "--metrics: unknown metric 'chrome': did you mean chroma?"),
        (("--metrics", "zzz"), "--metrics: unknown metric 'zzz': one of fad_vggish_tf, "),
        (("--plugin", "no_such_module_here"), "--plugin no_such_module_here: no such module in "),
        (("--plugin", "none/such.py"), "--plugin none/such.py: no such file"),
    ],
)
def test_unknown_names_are_one_line(place, capsys, arguments, message):
    suite, out = str(place / "suite.yaml"), str(place / "r.json")
    assert main(["score", suite, str(place / "samples"), "--data", str(place), "--out", out, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture
def registries():
    """What a test registers is forgotten behind it."""
    kept = [(registry, dict(registry)) for registry in (METRICS, EMBEDDERS)]
    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)


def documented(name, folder):
    """The example of the documentation that begins with `# name`, as a file."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "evaluation.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(f"# {name}\n")]
    (folder / name).write_text(block)
    return str(folder / name)


@pytest.mark.usefixtures("registries")
def test_the_documented_plugins_run(place, capsys):
    """Against the embeddings computed here, and FAD of them by its formula."""
    metric, embedder = documented("my_metrics.py", place), documented("my_embedder.py", place)
    torch.manual_seed(0)
    layer = torch.nn.Linear(513, 8)
    torch.save(layer.state_dict(), place / "bands.pt")
    arguments = ["--plugin", metric, "--plugin", embedder, "--weights", f"bands={place / 'bands.pt'}"]
    out, names = place / "r.json", ["spread", "fad_bands", "kad_bands"]
    assert main([
        "score", str(place / "suite.yaml"), str(place / "samples"), "--data", str(place / "references"), "--out", str(out),
        "--cache", str(place / "cache"), "--metrics", *names, *arguments,
    ]) == 0, capsys.readouterr().err  # fmt: skip
    spread, fad, kad = json.loads(out.read_text())["systems"][0]["scores"]
    assert set(fad["weights"]) == set(kad["weights"]) == {"bands"}
    assert spread["value"] > 0
    sets = []
    for files in (sorted((place / "references").glob("*.wav")), sorted((place / "samples").glob("*.flac"))):
        seconds = torch.cat(
            [audio.read(file, channels=1, rate=16_000).wave[0].unfold(0, 16_000, 16_000) for file in files]
        )
        spectrum = torch.stft(seconds, 1024, window=torch.hann_window(1024), return_complex=True).abs().mean(dim=2)
        sets.append(layer(spectrum).detach().double().numpy())
    means, covariances = [each.mean(0) for each in sets], [np.cov(each, rowvar=False) for each in sets]
    root = np.sqrt(np.clip(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0, None)).sum()
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * root
    assert fad["value"] == pytest.approx(expected, rel=1e-3)
    assert main(["doctor", "--no-hashes", *arguments]) == 0
    assert "bands.pt (0 MB)\n             for fad_bands, kad_bands" in capsys.readouterr().out


@pytest.mark.usefixtures("registries")
def test_weights_are_the_embedders_own(tmp_path):
    """A network is known by the embedders that read it."""
    secret = Published("secret", "secret.pt")
    register_embedder(EmbedderSpec("hidden", lambda context: Bare(context.weights), secret))
    with pytest.raises(CheckpointError, match="of secret are not public: pass --weights secret=FILE"):
        _ = Embedders()["hidden"].weights
    (tmp_path / "w.pt").write_bytes(b"x")
    assert len(Embedders(Weights({"secret": tmp_path / "w.pt"}))["hidden"].weights) == 64
    with pytest.raises(InputError, match="--weights secrt=…: unknown network: did you mean secret"):
        Embedders(Weights({"secrt": tmp_path / "w.pt"}))
    with pytest.raises(InputError, match="two files of weights 'secret'"):
        register_embedder(EmbedderSpec("other", lambda _: None, Published("secret", "another.pt")))


class Bare(CheckpointEmbedder):
    name, published = "hidden", Published("secret", "secret.pt")


def test_a_plugin_that_needs_a_missing_package_is_no_missing_plugin(place):
    (place / "needy.py").write_text("import no_such_package_here")
    refused = evaluation(place, "suites", "--plugin", "needy")
    assert refused.returncode != 0
    assert "no_such_package_here" in refused.stderr
    assert "no such module" not in refused.stderr


def test_names_are_registered_once():
    assert register_metric(METRICS["chroma"]) is METRICS["chroma"]
    assert register_embedder(EMBEDDERS["mini"]) is EMBEDDERS["mini"]
    with pytest.raises(InputError, match="two metrics 'chroma'"):
        register_metric(Metric("chroma", "x", "single", (), "higher", "1", lambda _: ClipResult.mean({})))
    with pytest.raises(InputError, match="two embedders 'mini'"):
        register_embedder(EmbedderSpec("mini", lambda _: None))
    with pytest.raises(InputError, match="two systems 'mousai'"):
        register_system("mousai", SYSTEMS["riffusion"])
    with pytest.raises(InputError, match="unknown metric 'chromo': did you mean chroma"):
        find_metric("chromo")
    with pytest.raises(InputError, match="unknown embedder 'mini_tag': did you mean mini_tags"):
        find_embedder("mini_tag")
    with pytest.raises(InputError, match="unknown embedder"):
        Embedders()["zzz"]


def test_a_result_of_the_wrong_type_is_one_line():
    metric = Metric("x", "X", "single", (), "higher", "1", lambda _: 1.0)
    inputs = MetricInputs([None, None], Embedders(), None, {})
    with pytest.raises(
        InputError, match="metric x: compute returned float: it must return a SetResult or a ClipResult"
    ):
        score_metric(metric, inputs)


def test_every_metric_names_embedders_that_exist_and_every_embedder_has_its_name():
    embedders = Embedders()
    for metric in METRICS.values():
        for name in metric.embedders:
            assert embedders[name].name == name


class LongWindows:
    """The level of windows of 1.5 s: none of a clip that is shorter."""

    name, version, view, rate, weights = "long_windows", "1", "raw", 8000, ""

    def prepare(self, wave, clip_id):  # noqa: ARG002
        return list(wave.unfold(0, 12_000, 12_000)) if len(wave) >= 12_000 else []

    def embed(self, inputs):
        return list(inputs.abs().mean(dim=1)[:, None, None].numpy())

    def salt(self, clip_id):  # noqa: ARG002
        return ""


@pytest.mark.parametrize("kind", ["single", "set", "paired"])
def test_a_clip_too_short_for_an_embedder_is_excluded_from_its_metric_alone(tmp_path, monkeypatch, kind):
    """For all systems, with the reason; other metrics take it."""

    def compute(inputs):
        means = {pair.id: inputs.embedding("long_windows", pair.generated).mean() for pair in inputs.pairs}
        return SetResult(sum(means.values()) / len(means)) if kind == "set" else ClipResult.mean(means)

    monkeypatch.setitem(EMBEDDERS, "long_windows", EmbedderSpec("long_windows", lambda context: LongWindows()))  # noqa: ARG005
    monkeypatch.setitem(METRICS, "loud", Metric("loud", "Loud", kind, ("long_windows",), "higher", "1", compute))
    references = reference_folder(tmp_path / "references", 4)
    writer = samples.Writer(tmp_path / "one", "one")
    for number in range(4):
        clip = Audio(music(1.2 if number == 2 else 2.0, seed=number)[None], RATE)
        writer.add(f"{number:02d}", clip, prompt="p", seed=number)
    folders = [tmp_path / "one", samples_folder(tmp_path / "other", "other", 4)]
    suite = suite_of(tmp_path)
    items, cache = load_items(suite, references), Cache(tmp_path / "cache")
    options = scoring.ScoringOptions(progress=False, resamples=100)
    found = scoring.score(suite, items, folders, Embedders(), cache, options, ["loud", "fad_mini"])
    assert not found.missing
    for system, folder in zip(found.systems, folders, strict=True):
        loud, fad = system.scores
        assert loud.excluded == {"02": "too short for long_windows"}
        waves = [
            audio.read(next(folder.glob(f"{name}-*.flac")), channels=1, rate=8000).wave[0]
            for name in ("00", "01", "03")
        ]
        assert loud.value == pytest.approx(sum(wave[:12_000].abs().mean().item() for wave in waves) / 3, rel=0.02)
        assert (fad.n, "02" in fad.excluded) == (4, False)
