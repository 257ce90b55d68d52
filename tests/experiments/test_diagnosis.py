"""The diagnosis of a text model: its rows, at toy size, and the draws of single codebooks against the definition."""

from pathlib import Path

import pytest
import torch

import musicgen
from evaluation.reports.results import load_results
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from experiments import __main__ as command
from experiments import report
from experiments.diagnosis import resampled
from musicgen import catalog, samples
from musicgen.options import GenerationOptions
from musicgen.request import GenerationRequest
from musicgen.sampling import sample

LIMIT = 3


@pytest.fixture(scope="module")
def diagnosis(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a diagnosis of the stand-in of `mini`: its clips in `work`, its result in `results`."""
    folder = tmp_path_factory.mktemp("diagnosis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "PRETRAINED", root / "pretrained")
        arguments = ["diagnose", "mini", "--limit", str(LIMIT), "--output", str(folder / "work"),
                     "--results", str(folder / "results")]  # fmt: skip
        assert command.main(arguments) == 0
    return folder


def test_every_step_has_its_scores(diagnosis: Path) -> None:
    results = load_results(diagnosis / "results" / "diagnosis" / "mini.json")
    names = [system.name for system in results.systems]
    assert names[:2] == ["references", "references, shuffled"]
    assert {"sequenced", "through the tokeniser", "sequenced, tokenised", "all levels resampled"} < set(names)
    assert sum(name.startswith("generated") for name in names) == 8
    for system in results.systems:
        assert {score.metric for score in system.scores} == {"fad_mini", "kl_mini", "clap_mini"}
    section = report.diagnosed(results, "mini")
    assert all(f"| {name} |" in section for name in names)


def test_the_clips_of_a_step_are_the_codes_decoded(diagnosis: Path, root: Path) -> None:
    """The tokeniser's row, against encoding and decoding by hand."""
    model = musicgen.load(root / "pretrained" / "mini")
    (item, *_) = load_items(load_suite("synth"), limit=LIMIT)
    folder = samples.read(diagnosis / "work" / "diagnosis" / "mini" / "through-the-tokeniser")
    wave = musicgen.audio.read(item.file, channels=1, rate=model.sample_rate).wave[None]
    with torch.inference_mode():
        ours = model.tokenizer.decode(model.tokenizer.encode(wave))[0]
    stored = musicgen.audio.read(folder.file(folder.by_id()[item.id])).wave
    length = min(ours.shape[1], stored.shape[1])
    assert length == round(10 * model.sample_rate)
    assert (ours[:, :length].clamp(-1, 1) - stored[:, :length]).abs().max() < 2**-14


def test_only_the_chosen_levels_are_drawn(root: Path) -> None:
    model = musicgen.load(root / "pretrained" / "mini", precision="float32")
    items = load_items(load_suite("synth"), limit=2)
    codes = torch.randint(
        model.lm.config.codebook_size, (2, model.pattern.num_codebooks, 12), generator=torch.Generator().manual_seed(0)
    )
    drawn = resampled(model, codes, items, [1])
    assert torch.equal(drawn[:, [0, 2, 3]], codes[:, [0, 2, 3]])
    assert not torch.equal(drawn[:, 1], codes[:, 1])
    assert torch.equal(drawn, resampled(model, codes, items, [1]))  # seeds are the items'


def test_a_code_depends_on_true_codes_alone(root: Path) -> None:
    """The most likely code of the second frame, against a forward pass over the true codes before it, step by step."""
    model = musicgen.load(root / "pretrained" / "mini", precision="float32")
    items = load_items(load_suite("synth"), limit=1)
    codes = torch.randint(
        model.lm.config.codebook_size, (1, model.pattern.num_codebooks, 4), generator=torch.Generator().manual_seed(1)
    )
    greedy = pytest.MonkeyPatch()
    with greedy.context() as patch, torch.inference_mode():
        patch.setattr(
            "experiments.diagnosis.sample", lambda logits, _o, _u: sample(logits, GenerationOptions(do_sample=False))
        )
        drawn = resampled(model, codes, items, [0])
        request = GenerationRequest.of([items[0].caption], options={"guidance_scale": 1.0})
        conditions = model.guided(request).conditions
        sequence = model.pattern.layout(4).build(codes, model.lm.config.special_token)
        for frame in range(4):  # the delay pattern has frame t of the coarsest codebook at step t + 1
            logits = model.lm(sequence[:, :, : frame + 1], conditions)[:, 0, -1]
            assert drawn[0, 0, frame] == logits.argmax()
