"""From audio files to tables: common subsets, named exclusions, bounds, resumption, and the faults of real folders."""

import csv
import dataclasses
import html
import io
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from markdown_it import MarkdownIt

from evaluation.__main__ import main
from evaluation.clips.clip import Clip, Source
from evaluation.embedders import embedding
from evaluation.embedders.cache import Cache
from evaluation.embedders.embedding import compute_embeddings, read_embedding, text_embeddings
from evaluation.embedders.registry import Embedders
from evaluation.metrics.registry import METRICS
from evaluation.metrics.score import Score
from evaluation.pipeline.generation import make_requests
from evaluation.pipeline.scoring import ScoringOptions, score
from evaluation.reports import results, table
from evaluation.reports.paper_results import paper_rows
from evaluation.reports.plots import draw_plots
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite, suite_names
from musicgen import audio, extras, samples
from musicgen.audio import Audio
from musicgen.errors import InputError, one_line
from tests.encoding import encode
from tests.evaluation.conftest import music

RATE = 32_000
QUIET = ScoringOptions(progress=False, resamples=100, bounds=False)


def suite_of(folder, metrics=("fad_mini", "kl_mini", "clap_mini", "chroma")):
    file = folder / "suite.yaml"
    file.write_text(f"name: mine\nversion: 3\ndata: {{kind: folder}}\nduration: 2\nmetrics: [{', '.join(metrics)}]\n")
    return load_suite(str(file))


def reference_folder(folder, count=5, seconds=2.0):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        audio.write(folder / f"{number:02d}.wav", Audio(music(seconds, seed=number)[None], RATE))
        (folder / f"{number:02d}.txt").write_text(f"piece number {number}, calm piano")
    return folder


def samples_folder(folder, name, count=5, seconds=2.0, seed=100, skip=()):
    writer = samples.Writer(folder, name)
    for number in range(count):
        if number not in skip:
            clip = Audio(music(seconds, seed=seed + number)[None], RATE)
            writer.add(f"{number:02d}", clip, prompt="p", seed=number)
    return folder


@pytest.fixture
def place(tmp_path):
    """(suite, items, cache, embedders) of five references."""
    references = reference_folder(tmp_path / "references")
    suite = suite_of(tmp_path)
    return suite, load_items(suite, references), Cache(tmp_path / "cache"), Embedders()


def test_everything_that_a_number_needs_is_there(place, tmp_path):
    suite, items, cache, embedders = place
    folders = [samples_folder(tmp_path / "a", "first"), samples_folder(tmp_path / "b", "second", seed=200)]
    options = ScoringOptions(progress=False, resamples=100, bounds=True)
    found = score(suite, items, folders, embedders, cache, options)
    assert [system.name for system in found.systems] == ["references", "references, shuffled", "first", "second"]
    assert found.suite == "mine v3"
    references = {each.metric: each for each in found.systems[0].scores}
    assert references["chroma"].value == 1
    assert references["fad_mini"].value == pytest.approx(0, abs=0.05)
    assert references["kl_mini"].value == pytest.approx(0, abs=1e-3)
    for each in found.systems[2].scores:
        assert each.n == 5
        # 5 clips: too few for the interval of a distance between sets
        assert (each.low is None) == (each.metric == "fad_mini")
        assert each.low is None or each.low <= each.value <= each.high
        assert each.direction == METRICS[each.metric].direction
        assert each.version
        assert each.protocol
        assert each.clips.keys() == {item.id for item in items}
        assert each.weights or each.metric == "chroma"
    (chroma,) = [row for row in found.comparisons if row.metric == "chroma"]
    assert (chroma.first, chroma.second) == ("first", "second")
    assert 0 < chroma.p <= chroma.adjusted <= 1
    found.save(tmp_path / "r.json")
    again = results.load_results(tmp_path / "r.json")
    assert again.systems[2].score("chroma") == found.systems[2].score("chroma")
    assert [file.name for file in draw_plots([again], tmp_path / "plots")] == ["scores.png", "clips.png"]


def test_order_and_resumption_change_nothing(place, tmp_path):
    suite, items, cache, embedders = place
    folder = samples_folder(tmp_path / "a", "first")
    whole = score(suite, items, [folder], embedders, cache, QUIET)
    half = Cache(tmp_path / "half")
    sources = [Source(item.id, item.file, samples.file_sha256(item.file), "reference") for item in items[:2]]
    compute_embeddings(sources, [embedders["mini"]], half)
    resumed = score(suite, list(reversed(items)), [folder], embedders, half, QUIET)
    assert [each for system in resumed.systems for each in system.scores] == [
        each for system in whole.systems for each in system.scores
    ]


def test_a_second_run_computes_nothing(place, tmp_path, monkeypatch):
    suite, items, cache, embedders = place
    folder = samples_folder(tmp_path / "a", "first")
    first = score(suite, items, [folder], embedders, cache, QUIET)

    def broken(*_):
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(embedding, "Clip", broken)
    assert score(suite, items, [folder], Embedders(), cache, QUIET).systems == first.systems


def test_batches_across_clips_give_the_same(place, tmp_path):
    _, items, cache, embedders = place
    sources = [Source(item.id, item.file, samples.file_sha256(item.file), "reference") for item in items]
    batched = Cache(tmp_path / "batched")
    names = ["mini", "mini_tags", "chroma"]
    compute_embeddings(sources, [embedders[name] for name in names], cache)
    compute_embeddings(sources, [embedders[name] for name in names], batched, batch=3)
    for source in sources:
        for name in names:
            one, other = (read_embedding(source, embedders[name], each) for each in (cache, batched))
            assert one == pytest.approx(other, abs=1e-4)


def test_a_caption_s_embedding_does_not_depend_on_what_is_in_the_cache(tmp_path):
    embedder = Embedders()["mini_clap"]
    texts = [f"calm piano, {letters}" for letters in ("qa", "qb", "qc", "qd", "qe", "qf", "qg")]
    texts += ["a fast rock song with drums"]
    whole = text_embeddings(texts, embedder, Cache(tmp_path / "whole"))
    for cached in range(1, len(texts)):
        cache = Cache(tmp_path / str(cached))
        text_embeddings(texts[:cached], embedder, cache)
        np.testing.assert_array_equal(text_embeddings(texts, embedder, cache), whole)
    # the network does not know the words that differ: no comparison of the seven is decided by rounding
    np.testing.assert_array_equal(whole[:7], np.repeat(whole[:1], 7, axis=0))


def test_faulty_clips_are_named_and_out_for_every_system(place, tmp_path):
    suite, _, cache, embedders = place
    references = reference_folder(tmp_path / "references", count=14)
    items = load_items(suite, references)
    good = samples_folder(tmp_path / "good", "good", 14)
    bad = samples_folder(tmp_path / "bad", "bad", 14, skip=range(1, 9))
    writer = samples.Writer(bad, "bad")
    wave = music(2.0, seed=1)
    writer.add("01", Audio(wave[None, :3200], RATE), prompt="p")  # 0.1 s
    writer.add("02", Audio(torch.zeros(1, 64_000), RATE), prompt="p")  # silent: counts, with a flag
    writer.add("03", Audio(torch.stack([wave, wave]), RATE), prompt="p")  # stereo
    writer.add("04", Audio(music(2.0, 44_100)[None], 44_100), prompt="p")  # another rate
    writer.add("05", Audio(music(1.2)[None], RATE), prompt="p")  # ends early
    for number, content in (("06", b"not audio"), ("07", None), ("08", b"")):
        file = bad / f"{number}.wav"
        if content is None:
            soundfile.write(file, np.full(64_000, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
        else:
            file.write_bytes(content)
        line = {"id": number, "prompt": "p", "system": "bad", "audio": file.name, "sha256": samples.file_sha256(file)}
        with (bad / samples.MANIFEST).open("a") as manifest:
            manifest.write(json.dumps(line) + "\n")
    writer.add("00b", Audio(wave[None], RATE), prompt="of no item")
    found = score(suite, items, [good, bad], embedders, cache, QUIET)
    assert set(found.excluded) == {"01", "06", "07", "08"}
    assert found.excluded["01"] == "bad: 0.10 s long: at least 1 s are needed"
    assert "not readable as audio" in found.excluded["06"]
    assert "NaN" in found.excluded["07"]
    for system in found.systems:
        by_name = {each.metric: each for each in system.scores}
        assert by_name["fad_mini"].n == 10
        assert by_name["chroma"].n == by_name["kl_mini"].n == 9
        assert "ends 0.80 s before its reference" in by_name["chroma"].excluded["05"]
        assert all(np.isfinite(each.value) for each in system.scores)
    assert found.systems[1].flags["02"] == "silent"
    assert found.systems[1].diagnostics["silent_clips"] == 1


def test_clear_refusals(place, tmp_path):
    suite, items, cache, embedders = place
    folder = samples_folder(tmp_path / "a", "first")

    def scored(chosen, folders):
        return score(suite, chosen, folders, embedders, cache, QUIET)

    with pytest.raises(InputError, match="only 1 clip can be compared"):
        scored(items[:1], [folder])
    with pytest.raises(InputError, match="two samples folders are of one system"):
        scored(items, [folder, folder])
    other = tmp_path / "other"
    samples.Writer(other, "x").add("zz", Audio(music(2.0)[None], RATE), prompt="p")
    with pytest.raises(InputError, match="has no clip of this suite"):
        scored(items, [other])
    mixed = samples_folder(tmp_path / "mixed", "first", 2)
    samples.Writer(mixed, "second").add("02", Audio(music(2.0)[None], RATE), prompt="p")
    with pytest.raises(InputError, match="clips of several systems"):
        scored(items, [mixed])
    (folder / next(iter(samples.read(folder).samples)).audio).unlink()
    with pytest.raises(InputError, match="is missing"):
        scored(items, [folder])


def test_a_missing_reference_is_an_exclusion(place, tmp_path):
    suite, items, cache, embedders = place
    items[1].file.unlink()
    found = score(suite, items, [samples_folder(tmp_path / "a", "first")], embedders, cache, QUIET)
    assert found.excluded == {"01": "no reference file"}
    assert found.systems[0].scores[0].n == 4


def test_the_papers_view_of_a_clip(tmp_path):
    wave = music(3.0) * 0.1
    file = tmp_path / "x.wav"
    soundfile.write(file, wave.numpy(), RATE, subtype="FLOAT")
    generated = Clip(Source("x", file, "0" * 64, "generated", 40_000))
    reference = Clip(Source("x", file, "0" * 64, "reference"))
    assert generated.view("paper", RATE).shape == (40_000,)
    assert generated.view("paper_whole", RATE).shape == wave.shape
    assert audio.loudness(Audio(generated.view("paper_whole", RATE)[None], RATE)) == pytest.approx(-14, abs=0.3)
    assert torch.equal(reference.view("paper", RATE), wave)
    assert torch.equal(generated.view("raw", RATE), wave)
    assert generated.source.preparation("paper") != reference.source.preparation("paper")
    # As audiocraft's normalize_loudness: what has an RMS below 2e-3 is not lifted.
    quiet = 1.9e-3 * wave / wave.square().mean().sqrt()
    soundfile.write(file, quiet.numpy(), RATE, subtype="FLOAT")
    assert torch.equal(Clip(Source("x", file, "1" * 64, "generated")).view("paper_whole", RATE), quiet)


def score_of(metric, value, sha="f" * 64):
    return Score(metric, value, value - 0.1, value + 0.1, 5, "lower", "1", weights={"vggish": sha})


def results_of(name, scores, suite="musiccaps v1"):
    return results.Results(
        suite,
        [each.metric for each in scores],
        [results.SystemResult(name, scores)],
        [],
        ["a", "b"],
        {"c": "gone"},
        {},
    )


def test_tables_have_the_papers_rows_marked():
    found = [results_of("ours_1", [score_of("fad_vggish_tf", 3.2), score_of("kl", 1.3)])]
    text = table.markdown(found)
    assert "| ours_1 | 3.20 [3.10, 3.30] | 1.30 [1.20, 1.40] | measured, n = 2 |" in text
    assert "| Riffusion | 14.80 | 2.06 | published: Copet et al. 2023, table 1 |" in text
    assert "| MusicLM | 4.00 | – |" in text
    assert "excluded c: gone" in text
    tex = table.latex(found)
    assert r"\textit{Riffusion}$^\dagger$" in tex
    assert r"ours\_1 & 3.20" in tex
    rows = table.as_csv(found).splitlines()
    assert rows[0].startswith("system,metric,value,low,high,n,excluded,direction")
    assert len(rows) == 1 + 2 + sum(
        len(set(row.values) & {"fad_vggish_tf", "kl"}) for row in paper_rows("musiccaps v1")
    )
    assert "ours_1" in table.markdown([results_of("ours_1", [score_of("fad_vggish_tf", 3.2)], "synth v1")])
    assert "Riffusion" not in table.markdown([results_of("ours_1", [score_of("fad_vggish_tf", 3.2)], "synth v1")])


def test_a_table_shows_infinity_and_names_far_songs():
    songs = {f"s{number:02d}": 1.0 + number / 100 for number in range(20)} | {"odd": 9.0, "odder": 12.0}
    scores = [
        dataclasses.replace(score_of("fad_mini", 3.2), details={"infinity": 2.75}),
        dataclasses.replace(score_of("fad_song_mini", 1.5), clips=songs),
    ]
    found = [results_of("ours", scores, "synth v1")]
    lines = table.markdown(found).splitlines()
    assert lines[0] == "| system | FAD (mini) ↓ | FAD∞ (mini) ↓ | FAD of songs (mini) ↓ |  |"
    assert lines[2] == "| ours | 3.20 [3.10, 3.30] | 2.75 | 1.50 [1.40, 1.60] | measured, n = 2 |"
    assert "fad_song_mini: ours: far from the references: odder (12.00), odd (9.00)" in lines
    assert "ours,fad_mini_infinity,2.75,,,5," in table.as_csv(found)
    assert r"FAD$\infty$ (mini) $\downarrow$" in table.latex(found)


HOSTILE = r"""$\frac{ |x| <img src=x> [a](http://b)
\input{/etc/passwd} =1+1"""


def test_names_in_a_table_are_text(tmp_path):
    """Those of systems and clips, which files of others hold, in all formats, in the plot and in the list of the worst."""
    scores = [dataclasses.replace(score_of("kl", 1.3), clips={"a\nb\x1b": 1.0, "c": 2.0})]
    found = [dataclasses.replace(results_of(HOSTILE, scores), excluded={HOSTILE: HOSTILE}, missing={"kad": HOSTILE})]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(table.markdown(found))
    assert re.search(r"<img|<a |<h1", page) is None
    assert html.unescape(re.findall(r"<td>(.*?)</td>", page, re.DOTALL)[0]) == one_line(HOSTILE)
    tex = table.latex(found)
    assert r"\input" not in tex.split(r"\end{tabular}")[0]
    assert all(line.startswith("% ") for line in tex.split(r"\end{tabular}")[1].strip().split("\n"))
    rows = list(csv.reader(io.StringIO(table.as_csv([dataclasses.replace(results_of("=1+1", scores))]), newline="")))
    assert rows[1][0] == "'=1+1"
    assert len(table.worst_clips(found, 2).splitlines()) == 1
    assert draw_plots(found, tmp_path)[0].stat().st_size > 1_000


def test_tables_refuse_what_cannot_be_compared():
    first = results_of("a", [score_of("fad_vggish_tf", 3.2)])
    with pytest.raises(InputError, match="several weights"):
        table.table_of([first, results_of("b", [score_of("fad_vggish_tf", 3.2, "e" * 64)])])
    with pytest.raises(InputError, match="two scales"):
        table.table_of([first, results_of("b", [score_of("fad_vggish_torch", 3.2)])])
    with pytest.raises(InputError, match="several suites"):
        table.table_of([first, results_of("b", [score_of("fad_vggish_tf", 3.2)], "synth v1")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("metrics: [fad_min]", "did you mean fad_mini"),
        ("metrics: [fad_vggish_tf, fad_vggish_torch]", "two scales"),
        ("duration: long", "duration is 'long': it should be a valid number"),
        ("duration: 0", "duration is 0: it should be greater than 0"),
        ("version: '1'", "version is '1': it should be a valid integer"),
        ("melody: 1", "melody is 1: it should be a valid boolean"),
        ("sed: 1", r"unknown key 'sed': did you mean seed\?"),
        ("min_seconds: 1", "unknown key 'min_seconds': one of name, version"),
        ("file: x", "unknown key 'file'"),
        ("data: {kind: folder, maniefst: x}", "data: unknown key 'maniefst': one of kind"),
        ("data: {kind: manifest, maniefst: x}", r"data: unknown key 'maniefst': did you mean manifest\?"),
        ("data: {kind: manifest}", "data: manifest is missing"),
        ("data: {kind: fodler}", r"data kind is 'fodler': did you mean folder\?"),
        ("# data: {}", "data is missing"),
        ("data: {kind: cloud}", "one of manifest"),
        ("data: [", "not YAML"),
    ],
)
def test_bad_suites_are_refused(tmp_path, change, message):
    suite_of(tmp_path)
    name = change.removeprefix("# ").split(":")[0]
    lines = [line for line in (tmp_path / "suite.yaml").read_text().splitlines() if not line.startswith(name)]
    (tmp_path / "suite.yaml").write_text("\n".join([*lines, change]))
    with pytest.raises(InputError, match=message):
        load_suite(str(tmp_path / "suite.yaml"))


def test_every_documented_key_of_a_suite_has_an_effect(tmp_path):
    file = tmp_path / "suite.yaml"
    text = (
        "{name: mine, version: 3, description: d, data: {kind: folder}, duration: 2, melody: true, seed: 7, "
        "metrics: [chroma]}"
    )
    file.write_text(text)
    suite = load_suite(str(file))
    assert (suite.label, suite.description, suite.metrics, suite.duration) == ("mine v3", "d", ("chroma",), 2.0)
    items = load_items(suite, reference_folder(tmp_path / "references", 2))
    requests = make_requests(suite, items)
    assert [(each.seed, each.duration, each.melody) for each in requests] == [
        (7 + place, 2.0, item.file) for place, item in enumerate(items)
    ]
    assert [each.melody for each in make_requests(suite, items, melody=False)] == [None, None]
    file.write_text(text.replace("melody: true", "melody: false"))
    assert [each.melody for each in make_requests(load_suite(str(file)), items)] == [None, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"id": "a", "capton": "x", "audio": "a.wav"}',
            r"manifest\.jsonl:1: unknown key 'capton': did you mean caption\?",
        ),
        ('{"id": "a", "caption": "x"}', "audio is missing"),
        ('{"id": 1, "caption": "x", "audio": "a.wav"}', "id is 1: it should be a valid string"),
        ("[]", "must be a mapping of keys to values, not list"),
        ("{", "not JSON"),
    ],
)
def test_bad_manifests_are_refused(tmp_path, line, message):
    (tmp_path / "manifest.jsonl").write_text(line + "\n")
    (tmp_path / "suite.yaml").write_text(
        "{name: mine, version: 1, data: {kind: manifest, manifest: manifest.jsonl}, duration: 2, metrics: [chroma]}"
    )
    with pytest.raises(InputError, match=message):
        load_items(load_suite(str(tmp_path / "suite.yaml")))


def test_the_packages_suites_can_be_read_and_synth_is_whole():
    assert suite_names() == ["folder", "musiccaps", "song_describer", "synth"]
    with pytest.raises(InputError, match="did you mean synth"):
        load_suite("synht")
    suite = load_suite("synth")
    items = load_items(suite)
    assert len(items) == 100
    assert all(samples.file_sha256(item.file) == item.sha256 for item in items[:5])
    assert sum(item.file.stat().st_size for item in items) < 8e6
    assert len({item.caption for item in items}) == 100


def test_musiccaps_table(tmp_path):
    (tmp_path / "musiccaps-public.csv").write_text(
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval\n"
        'abc,30,40,/m/04rlf,"[\'x\']","A song, slow",4,True,False\nxyz,0,10,/m/04rlf,[],Loud,4,False,True\n'
    )
    items = load_items(load_suite("musiccaps"), tmp_path)
    assert [(item.id, item.caption, item.start) for item in items] == [("abc", "A song, slow", 30), ("xyz", "Loud", 0)]
    assert items[0].file == tmp_path / "audio" / "abc.wav"
    assert [item.id for item in load_items(load_suite("musiccaps"), tmp_path, "is_balanced_subset")] == ["abc"]
    with pytest.raises(InputError, match="no item has the label"):
        load_items(load_suite("musiccaps"), tmp_path, "is_nothing")
    with pytest.raises(InputError, match="needs --data"):
        load_items(load_suite("musiccaps"))


def test_song_describer_table(tmp_path):
    (tmp_path / "song_describer.csv").write_text(
        "caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration\n"
        "1,1004034,A song,True,0,a,b,34/1004034.mp3,120.0\n"
        "2,1004034,The same song,True,0,a,b,34/1004034.mp3,120.0\n"
        "3,77,Another,False,0,a,b,77/77.mp3,120.0\n"
    )
    items = load_items(load_suite("song_describer"), tmp_path)
    assert [(item.id, item.caption) for item in items] == [("1004034", "A song"), ("77", "Another")]
    assert items[0].file == tmp_path / "audio" / "34" / "1004034.2min.mp3"
    assert [item.id for item in load_items(load_suite("song_describer"), tmp_path, "is_valid_subset")] == ["1004034"]


def test_captions_of_a_folder(tmp_path):
    suite = suite_of(tmp_path)
    folder = reference_folder(tmp_path / "refs", 2)
    assert [item.caption[:14] for item in load_items(suite, folder)] == ["piece number 0", "piece number 1"]
    (folder / "captions.csv").write_text("file,caption\n00.wav,one\n01.wav,two\n00.wav,again\n")
    with pytest.raises(InputError, match="item 00 is listed twice"):
        load_items(suite, folder)
    (folder / "captions.csv").unlink()
    (folder / "captions.jsonl").write_text('{"file": "00.wav", "caption": "one"}\n{"file": "no.wav", "caption": "x"}\n')
    assert [item.id for item in load_items(suite, folder)] == ["00", "no"]
    # A byte order mark, and what str.splitlines takes for the end of a line.
    (folder / "captions.jsonl").write_text('{"file": "00.wav", "caption": "one\u2028\u0085"}\n', encoding="utf-8-sig")
    assert [item.caption for item in load_items(suite, folder)] == ["one\u2028\u0085"]
    (folder / "captions.jsonl").write_text('{"file": "00.wav"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r'captions\.jsonl:1: not a JSON object with the texts "file" and "caption"'):
        load_items(suite, folder)
    (folder / "captions.jsonl").unlink()
    (folder / "01.txt").unlink()
    with pytest.raises(InputError, match=r"01\.wav has no caption"):
        load_items(suite, folder)


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    references = reference_folder(tmp_path / "references", 3)
    suite_of(tmp_path, ("chroma", "clap_mini"))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for number in range(3):
        audio.write(theirs / f"{number:02d}.wav", Audio(music(2.0, seed=50 + number)[None], RATE))
    suite, common = str(tmp_path / "suite.yaml"), ["--data", str(references)]
    made = ["generate", suite, *common, "--system", str(theirs), "--out", str(tmp_path / "s"), "--name", "somebody"]
    assert main([*made, "--shard", "1/2"]) == 0
    assert "2 clips, 2 of them new" in capsys.readouterr().out
    assert main(made) == 0
    assert "3 clips, 1 of them new" in capsys.readouterr().out
    out, cache = str(tmp_path / "r.json"), ["--cache", str(tmp_path / "cache")]
    assert main(["score", suite, str(tmp_path / "s"), *common, "--out", out, *cache, "--resamples", "100"]) == 0
    progress = capsys.readouterr().err
    for stage in ("1/5 references", "2/5 somebody", "3/5 embeddings", "4/5 embeddings", "5/5 metrics"):
        assert re.search(rf"{stage}: 100%.*\[\d\d:\d\d<", progress)  # with the time that is left
    assert main(["table", out, "--worst", "1"]) == 0
    printed = capsys.readouterr().out
    assert "| somebody |" in printed
    assert "somebody: chroma: 0" in printed
    for command in (["suites"], ["cache", "ls", *cache], ["cache", "verify", *cache]):
        assert main(command) == 0
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"x")
    capsys.readouterr()
    assert main(["doctor", "--weights", f"passt={weights}"]) == 0
    printed = capsys.readouterr().out
    assert f"{weights} (0 MB), sha256 {samples.file_sha256(weights)}" in printed
    assert "vggish     would be downloaded: https://" in printed
    assert main(["cache", "gc", "--days", "0", *cache]) == 0
    assert list(Cache(tmp_path / "cache").entries()) == []
    capsys.readouterr()
    for wrong in (
        ["score", "synht", "x", "--out", out],
        ["generate", suite, *common, "--system", str(theirs), "--out", "x", "--shard", "3/2"],
        ["score", suite, str(tmp_path / "none"), *common, "--out", out],
        ["table", str(tmp_path / "none.json")],
        ["score", suite, str(tmp_path / "s"), *common, "--out", out, "--weights", "passt"],
        ["generate", "synth", "--system", "riffusoin", "--out", str(tmp_path / "x")],
        ["generate", "synth", "--system", "mousai", "--out", str(tmp_path / "x")],
        ["run", suite, *common, "--system", "mini+loud", "--out", str(tmp_path / "x")],
        ["run", suite, *common, "--system", "mini", "--metrics", "chorma", "--out", str(tmp_path / "y")],
        ["run", suite, *common, "--system", "mini", "--metrics", "kl", "--no-download", "--out", str(tmp_path / "y")],
        ["run", suite, *common, "--system", "mini", "--out", out],
        ["generate", suite, *common, "--system", "mini", "--out", f"{out}/x"],
        ["score", suite, str(tmp_path / "s"), *common, "--out", str(tmp_path)],
        ["score", suite, str(tmp_path / "s"), *common, "--out", f"{out}/r.json"],
        ["statistics", suite, *common, "--out", out],
        ["language-model", suite, *common, "--model", "mini", "--out", str(tmp_path)],
        ["table", out, "--plots", out],
    ):
        assert main(wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1  # no progress of work before it, either
        assert "riffusoin" not in wrong or "riffusion?" in error
    assert not (tmp_path / "y").exists()  # all that before a clip is made


def test_without_matplotlib_a_run_has_its_table(tmp_path, capsys, monkeypatch):
    """As the extra "demo" installs it: said first, and all but the plots is written."""
    references = reference_folder(tmp_path / "references", 3)
    suite_of(tmp_path, ("chroma",))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for number in range(3):
        audio.write(theirs / f"{number:02d}.wav", Audio(music(2.0, seed=50 + number)[None], RATE))
    # None in sys.modules is a package that cannot be found.
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "matplotlib")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = tmp_path / "out"
    run = ["run", str(tmp_path / "suite.yaml"), "--data", str(references), "--cache", str(tmp_path / "cache"),
           "--system", str(theirs), "--out", str(out)]  # fmt: skip
    assert main(run) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(
        'warning: the plots are left out: they need matplotlib: pip install "musicgen[evaluation]"'
    )
    assert "| theirs |" in printed.out
    assert sorted(file.name for file in out.iterdir() if file.is_file()) == [
        "results.json", "table.csv", "table.md", "table.tex",
    ]  # fmt: skip
    # Asked for alone, the plots are what the command is for.
    assert main(["table", str(out / "results.json"), "--plots", str(out)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert 'a plot needs matplotlib, which is not installed: pip install "musicgen[evaluation]"' in printed.err


KILLED = """
import sys
from pathlib import Path
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.pipeline.scoring import ScoringOptions, score
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
place = Path(sys.argv[1])
suite = load_suite(str(place / "suite.yaml"))
score(suite, load_items(suite, place / "references"), [place / "a"], Embedders(), Cache(place / "shared"),
          ScoringOptions(progress=False, resamples=100))
"""


def test_a_killed_run_and_two_runs_on_one_cache(place, tmp_path):
    suite, items, cache, embedders = place
    folder = samples_folder(tmp_path / "a", "first")
    expected = score(suite, items, [folder], embedders, cache, QUIET)
    shared = Cache(tmp_path / "shared")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    try:
        patience = time.monotonic() + 120
        while not any(shared.entries()) and process.poll() is None and time.monotonic() < patience:
            time.sleep(0.01)
        process.kill()
    finally:
        process.wait()
    assert any(shared.entries())
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(score, suite, items, [folder], Embedders(), Cache(tmp_path / "shared"), QUIET) for _ in range(2)
        ]
        for each in both:
            assert each.result().systems == expected.systems
    assert shared.verify() == []


def test_formats_and_odd_clips(place, tmp_path):
    """M4A and WebM are scored; six channels are out by name; rates without a common divisor need no gigabytes."""
    suite, _, cache, embedders = place
    references = reference_folder(tmp_path / "references", count=14)
    (references / "13.wav").unlink()
    encode(references / "13.m4a", music(2.0, seed=13)[None], RATE, "aac")
    items = load_items(suite, references)
    assert items[-1].file.name == "13.m4a"
    good = samples_folder(tmp_path / "good", "good", 14)
    odd = samples_folder(tmp_path / "odd", "odd", 14, skip=range(4))
    made = [
        encode(odd / "0.webm", music(2.0, seed=5)[None], RATE, "libopus"),
        encode(odd / "1.m4a", music(2.0, seed=6)[None], RATE, "aac"),
    ]
    soundfile.write(odd / "2.wav", np.tile(music(2.0)[:, None], 6), RATE)
    soundfile.write(odd / "3.wav", music(2.0, 43_997), 43_997)
    for number, file in enumerate([*made, odd / "2.wav", odd / "3.wav"]):
        line = {"id": f"{number:02d}", "prompt": "p", "system": "odd", "audio": file.name}
        with (odd / samples.MANIFEST).open("a") as manifest:
            manifest.write(json.dumps(line | {"sha256": samples.file_sha256(file)}) + "\n")
    found = score(suite, items, [good, odd], embedders, cache, QUIET)
    assert found.excluded == {
        "02": "odd: 6 channels: loudness (BS.1770) is defined for 5 at most, so mix them down first"
    }
    assert found.ids == [f"{number:02d}" for number in range(14) if number != 2]
