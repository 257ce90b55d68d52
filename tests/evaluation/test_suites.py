"""Every shipped suite from its real layout to a table, on miniatures: names of columns and files, lengths of clips, tables of
thousands of rows; and what a suite does with references that are longer than its clips."""

import json
import re

import numpy as np
import pytest
import soundfile
import torch

from evaluation.__main__ import main
from evaluation.clips.clip import Clip, Source
from evaluation.clips.window import Window
from evaluation.embedders.cache import Cache
from evaluation.embedders.embedding import read_embedding
from evaluation.embedders.registry import Embedders
from evaluation.pipeline.generation import make_requests
from evaluation.pipeline.scoring import ScoringOptions, score
from evaluation.reports import table
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from musicgen import audio, samples
from musicgen.audio import Audio
from musicgen.errors import InputError
from tests.encoding import encode
from tests.evaluation.conftest import music

METRICS = ("fad_mini", "fad_song_mini", "kl_mini", "clap_mini", "chroma", "kad_mini", "mad_mini")
EXTRAS = ("kid_mini", "precision_mini", "recall_mini", "inception_mini")
RATE = 32_000


def song(seconds, rate=RATE, seed=0):
    """[samples]: two bars, again and again."""
    bars = music(min(seconds, 2.0), rate, seed)
    return bars.repeat(-(-int(seconds * rate) // len(bars)))[: int(seconds * rate)]


def generations(folder, ids, seconds, name="somebody"):
    writer = samples.Writer(folder, name)
    for number, each in enumerate(ids):
        writer.add(each, Audio(song(seconds, seed=300 + number)[None], RATE), prompt="p", seed=number)
    return folder


def scored(tmp_path, capsys, suite, *arguments, metrics=METRICS):
    """(the results file's contents, the printed table) of the command line."""
    out = tmp_path / "results.json"
    command = ["score", suite, str(tmp_path / "samples"), *arguments, "--out", str(out), "--resamples", "100"]
    assert main([*command, "--cache", str(tmp_path / "cache"), "--metrics", *metrics]) == 0
    capsys.readouterr()
    assert main(["table", str(out)]) == 0
    return json.loads(out.read_text()), capsys.readouterr().out


def by_name(results):
    return {each["metric"]: each for each in results["systems"][0]["scores"]}


def test_song_describer(tmp_path, capsys):
    """Tracks of two minutes, several captions each, some of them not in the valid subset; systems make 30 s."""
    head = "caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration"
    lengths = {"1004034": 120.0, "77": 33.0, "78": 31.0, "79": 10.0, "80": 0.5, "81": 45.0}
    rows = [head]
    for number, (track, seconds) in enumerate(lengths.items()):
        valid = track != "81"
        # The first caption of 1004034 is not valid, its second one is.
        rows.append(
            f"{2 * number},{track},An aside,{valid and track != '1004034'},0,a,b,{track[-2:]}/{track}.mp3,120.0"
        )
        rows.append(f"{2 * number + 1},{track},A calm song,{valid},1,a,b,{track[-2:]}/{track}.mp3,{seconds}")
        file = tmp_path / "data" / "audio" / track[-2:] / f"{track}.2min.mp3"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, song(seconds, 16_000, number), 16_000)
    (tmp_path / "data" / "song_describer.csv").write_text("\n".join(rows) + "\n")
    generations(tmp_path / "samples", lengths, 30.0)
    results, printed = scored(
        tmp_path, capsys, "song_describer", "--data", str(tmp_path / "data"), "--subset", "is_valid_subset"
    )
    assert results["ids"] == ["1004034", "77", "78", "79"]
    assert set(results["excluded"]) == {"80"}
    assert "0.50 s long" in results["excluded"]["80"]
    found = by_name(results)
    assert set(found) == set(METRICS)
    assert results["missing"] == {}
    # 10 s of track 79 and 30 s of the others: chroma counts ceil(samples / 4096) frames of each.
    assert found["chroma"]["details"]["frames"] == 3 * -(-30 * RATE // 4096) + -(-10 * RATE // 4096)
    assert found["fad_mini"]["details"]["reference_windows"] == 100
    assert all(each["n"] == 4 for each in found.values())
    assert "| somebody |" in printed
    # In one note for all metrics, not in one of each.
    few = [line for line in printed.splitlines() if "too few for an interval" in line]
    assert len(few) == 1
    assert (
        f"{', '.join(METRICS)}: 4 clips are too few for an interval: 5 are needed for a mean over clips, 20 for"
        in few[0]
    )


def test_a_captions_label_is_filtered_before_a_track_has_one_caption(tmp_path):
    (tmp_path / "song_describer.csv").write_text(
        "caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration\n"
        "1,9,Not this one,False,0,a,b,09/9.mp3,120.0\n2,9,This one,True,0,a,b,09/9.mp3,120.0\n"
        "3,9,Nor this,True,0,a,b,09/9.mp3,120.0\n4,8,No valid caption,False,0,a,b,08/8.mp3,120.0\n"
    )
    suite = load_suite("song_describer")
    assert [(item.id, item.caption) for item in load_items(suite, tmp_path)] == [
        ("9", "Not this one"),
        ("8", "No valid caption"),
    ]
    assert [(item.id, item.caption) for item in load_items(suite, tmp_path, "is_valid_subset")] == [("9", "This one")]


def test_musiccaps(tmp_path, capsys):
    """The published table's 5,521 rows; few clips are still available, and they have the lengths that downloads have."""
    head = (
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval"
    )
    ids = ["-0Gj8-vB1q4", "-0SdAVK79lg", "-0vPFx-wRRI", *(f"x{number:010d}" for number in range(5518))]
    said = '"/m/0140xf,/m/02cjck","[\'low quality\', \'sad\']","A sad song,\nslow"'
    rows = [
        f"{name},{30 * (i % 3)},{30 * (i % 3) + 10},{said},{i % 10},{i % 2 == 0},{i % 3 == 0}"
        for i, name in enumerate(ids)
    ]
    data = tmp_path / "data"
    (data / "audio").mkdir(parents=True)
    (data / "musiccaps-public.csv").write_text("\n".join([head, *rows]) + "\n")
    for number, seconds in enumerate((10.0, 10.02, 9.98)):
        audio.write(data / "audio" / f"{ids[number]}.wav", Audio(song(seconds, seed=number).expand(2, -1), RATE))
    generations(tmp_path / "samples", ids[:3], 10.0)
    assert len(load_items(load_suite("musiccaps"), data)) == 5521
    assert len(load_items(load_suite("musiccaps"), data, "is_balanced_subset")) == 2761
    results, printed = scored(tmp_path, capsys, "musiccaps", "--data", str(data))
    assert results["ids"] == sorted(ids[:3])
    assert len(results["excluded"]) == 5518
    assert results["excluded"][ids[3]] == "no reference file"
    assert all(each["n"] == 3 for each in by_name(results).values())
    assert "Riffusion" not in printed  # papers report other metrics than these
    assert "… and 5508 more" in printed


def test_a_folder_of_whole_songs(tmp_path, capsys):
    """References of 10, 30 and 120 s in several formats, captions beside them; 10 s are asked for."""
    data = tmp_path / "data"
    data.mkdir()
    soundfile.write(data / "a.flac", song(120.0, 16_000, 1), 16_000)
    soundfile.write(data / "b.wav", song(30.0, 44_100, 2), 44_100)
    encode(data / "c.m4a", song(10.0, seed=3)[None], RATE, "aac")
    soundfile.write(data / "d.ogg", music(0.5, seed=4), RATE)
    for name in "abcd":
        (data / f"{name}.txt").write_text(f"song {name}")
    generations(tmp_path / "samples", "abcd", 10.0)
    results, _ = scored(tmp_path, capsys, "folder", "--data", str(data))
    assert results["ids"] == ["a", "b", "c"]
    assert "0.50 s long" in results["excluded"]["d"]
    found = by_name(results)
    assert found["chroma"]["n"] == found["kl_mini"]["n"] == 3
    assert found["fad_mini"]["details"]["reference_windows"] == 30
    assert found["kl_mini"]["details"]["segments"] == 3


def test_synth(tmp_path, capsys):
    ids = [item.id for item in load_items(load_suite("synth"), limit=3)]
    generations(tmp_path / "samples", ids, 10.0)
    results, _ = scored(tmp_path, capsys, "synth", "--limit", "3", metrics=(*METRICS, *EXTRAS))
    assert set(by_name(results)) == {*METRICS, *EXTRAS}
    assert results["ids"] == sorted(ids)
    assert all(each["n"] == 3 for each in by_name(results).values())


@pytest.fixture
def songs(tmp_path):
    """(suite's text, items' folder, samples folder): three songs whose second third sounds unlike the rest."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        first, second = music(4.0, seed=number), 0.3 * music(4.0, seed=50 + number).sign()
        audio.write(data / f"{number}.wav", Audio(torch.cat([first, second, first])[None], RATE))
        (data / f"{number}.txt").write_text("a song")
        writer = samples.Writer(tmp_path / "samples", "copies")
        writer.add(f"{number}", Audio(second[None], RATE), prompt="p")
    return "{name: mine, version: 1, data: {kind: folder}, duration: 4, metrics: [chroma, fad_mini]%s}", data


@pytest.mark.parametrize(
    ("key", "agrees", "windows"),
    [("", False, 12), (", reference_window: middle", True, 12), (", reference_window: all", False, 36)],
)
def test_which_part_of_a_reference_is_scored(songs, tmp_path, key, agrees, windows):
    text, data = songs
    (tmp_path / "suite.yaml").write_text(text % key)
    suite = load_suite(str(tmp_path / "suite.yaml"))
    items = load_items(suite, data)
    found = score(
        suite, items, [tmp_path / "samples"], Embedders(), Cache(tmp_path / "cache"), ScoringOptions(progress=False)
    )
    chroma, fad = found.systems[0].scores
    assert (chroma.value > 0.95) is agrees
    assert chroma.details["frames"] == 3 * -(-4 * RATE // 4096)
    assert fad.details["reference_windows"] == windows
    # A melody is the part that is scored.
    request = make_requests(suite, items, melody=True)[0]
    melody, whole = request.read_melody(), audio.read(items[0].file)
    start = 4 * RATE if agrees else 0
    assert torch.equal(melody.wave, whole.wave[:, start : start + 4 * RATE])


def test_windows_are_a_part_of_the_cache_key(tmp_path):
    file = tmp_path / "x.wav"
    soundfile.write(file, music(3.0).numpy(), RATE)
    sources = [
        Source("x", file, "0" * 64, "reference", window=window)
        for window in (None, Window("start", 1.0), Window("middle", 1.0), Window("start", 2.0))
    ]
    assert [Clip(source).audio.duration for source in sources] == [3, 1, 1, 2]
    for view in ("paper", "raw"):
        assert len({source.preparation(view) for source in sources}) == 4


def three_songs(folder, seconds):
    """A folder of songs with their captions beside them."""
    folder.mkdir()
    for number in range(3):
        audio.write(folder / f"{number}.wav", Audio(song(seconds, seed=number)[None], RATE))
        (folder / f"{number}.txt").write_text("a song")
    return folder


def test_a_metric_that_does_not_apply_is_missing_and_the_others_are_there(tmp_path, capsys):
    data = three_songs(tmp_path / "data", 9.0)
    generations(tmp_path / "samples", "012", 3.0)
    results, printed = scored(tmp_path, capsys, "folder", "--data", str(data))
    assert set(results["missing"]) == {"chroma", "kl_mini"}
    assert set(by_name(results)) == {"fad_mini", "fad_song_mini", "clap_mini", "kad_mini", "mad_mini"}
    reason = (
        "only 0 of 3 generations have a reference and last as long, and 2 are needed (0: somebody: ends 6.00 s before"
    )
    assert f"chroma is missing: {reason}" in printed
    assert printed.splitlines()[2].split(" | ")[5] == "–"
    command = ["score", "folder", str(tmp_path / "samples"), "--data", str(data), "--out", str(tmp_path / "r.json")]
    assert main([*command, "--metrics", "chroma", "--cache", str(tmp_path / "cache")]) == 2
    assert "have a reference and last as long" in capsys.readouterr().err


@pytest.fixture
def described(tmp_path, capsys):
    """(folder of references, file of their statistics): a folder suite of three songs, and a system's samples."""
    data = three_songs(tmp_path / "data", 3.0)
    (data / "captions.csv").write_text("file,caption\n0.wav,a song\n1.wav,a song\n2.wav,a song\n")
    generations(tmp_path / "samples", "012", 3.0)
    command = ["statistics", "folder", "--data", str(data), "--out", str(tmp_path / "known"), "--metrics", "fad_mini"]
    assert main([*command, "--cache", str(tmp_path / "cache")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'known' / 'mini.npz'}\n"
    return data, tmp_path / "known" / "mini.npz"


def test_statistics_of_references_stand_for_their_audio(described, tmp_path, capsys):
    data, file = described
    with_audio, _ = scored(tmp_path, capsys, "folder", "--data", str(data))
    embedder, cache = Embedders()["mini"], Cache(tmp_path / "cache")
    rows = []
    for number in range(3):
        wav = data / f"{number}.wav"
        source = Source(str(number), wav, samples.file_sha256(wav), "reference", window=Window("start", 10))
        rows.append(read_embedding(source, embedder, cache))
        wav.unlink()
    stored = np.load(file)
    windows = np.concatenate(rows).astype(np.float64)
    assert stored["mean"] == pytest.approx(windows.mean(axis=0))
    assert stored["covariance"] == pytest.approx(np.cov(windows, rowvar=False))
    assert int(stored["n"]) == len(windows)
    assert json.loads(str(stored["about"]))["weights"] == embedder.weights
    without, printed = scored(tmp_path, capsys, "folder", "--data", str(data), "--statistics", str(file))
    assert without["ids"] == ["0", "1", "2"]
    for name in ("fad_mini", "fad_song_mini", "clap_mini"):
        assert by_name(without)[name]["value"] == pytest.approx(by_name(with_audio)[name]["value"], rel=1e-9)
    assert set(without["missing"]) == {"kl_mini", "chroma", "kad_mini", "mad_mini"}
    assert "kad_mini is missing: it takes the audio of the references, of which only statistics are here" in printed
    assert "(0: no audio of its reference)" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "f" * 64}, "another weights: 'ffffffffffffffff' there"),
        ({"version": "0"}, "another version of the embedder: '0' there, '1' here"),
        ({"preparation": "raw:1@16000"}, "another preparation of the audio"),
        ({"embedder": "clap_windowed"}, "statistics of clap_windowed: the metrics use those of mini"),
        ({"mean": np.zeros(3)}, r"expected, not \[3\], \[64, 64\] and 9"),
        ({"covariance": np.full((64, 64), np.nan)}, "NaN"),
        (None, "not statistics of references"),
    ],
)
def test_statistics_of_something_else_are_refused(described, tmp_path, capsys, change, message):
    data, file = described
    if change is None:
        file.write_bytes(b"PK no archive")
    else:
        stored = dict(np.load(file))
        about = json.loads(str(stored["about"]))
        about |= {key: value for key, value in change.items() if key in about}
        stored |= {key: value for key, value in change.items() if key in stored}
        np.savez(file, **{**stored, "about": json.dumps(about)})
    command = ["score", "folder", str(tmp_path / "samples"), "--data", str(data), "--statistics", str(file)]
    assert main([*command, "--out", str(tmp_path / "r.json"), "--metrics", "fad_mini"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_captions_that_are_not_utf_8_are_one_line(tmp_path):
    suite = load_suite("folder")
    audio.write(tmp_path / "a.wav", Audio(music(1.0)[None], RATE))
    for name, content in (
        ("a.txt", "café"),
        ("captions.jsonl", '{"file": "a.wav",\n "caption": "café"}'),
        ("captions.csv", "file,caption\na.wav,café\n"),
    ):
        (tmp_path / name).write_bytes(content.encode("latin-1"))
        with pytest.raises(InputError, match=rf"{name}: no UTF-8 text at byte \d+ .*xe9.*: save it as UTF-8") as error:
            load_items(suite, tmp_path)
        assert "\n" not in str(error.value)
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.replace(",\n ", ",").encode())
        assert [item.caption for item in load_items(suite, tmp_path)] == ["café"]


def test_the_same_file_name_in_two_folders(tmp_path):
    suite = load_suite("folder")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        audio.write(tmp_path / folder / "a.wav", Audio(music(1.0)[None], RATE))
    table_file = tmp_path / "captions.csv"
    table_file.write_text("file,caption\none/a.wav,x\ntwo/a.wav,y\n")
    with pytest.raises(InputError, match=r"item a is listed twice, .*one/a\.wav and .*two/a\.wav: .*a column id"):
        load_items(suite, tmp_path)
    table_file.write_text("file,caption,id\none/a.wav,x,one-a\ntwo/a.wav,y,\n")
    assert [(item.id, item.file.parent.name) for item in load_items(suite, tmp_path)] == [
        ("one-a", "one"),
        ("a", "two"),
    ]


def test_a_device_that_is_not_here_is_one_line_before_the_work(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    command = ["score", "synth", str(tmp_path / "none"), "--out", str(tmp_path / "r.json"), "--score-device", "cuda"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "the device 'cuda' is not available here" in error
    assert error.count("\n") == 1


def test_estimate_interval_and_p_of_a_comparison_are_of_the_same_ratio(tmp_path):
    """One system copies two references of 4.5 s, the other one six of 1 s: frames weigh, clips do not."""
    data = tmp_path / "data"
    data.mkdir()
    writers = {name: samples.Writer(tmp_path / name, name) for name in ("long", "short")}
    for number in range(8):
        seconds = 4.5 if number < 2 else 1.0
        clip = Audio(music(seconds, seed=number)[None], RATE)
        other = Audio(music(seconds, seed=80 + number)[None], RATE)
        audio.write(data / f"{number}.wav", clip)
        (data / f"{number}.txt").write_text("a song")
        writers["long"].add(f"{number}", clip if number < 2 else other, prompt="p")
        writers["short"].add(f"{number}", other if number < 2 else clip, prompt="p")
    suite, cache = load_suite("folder"), Cache(tmp_path / "cache")
    folders = [tmp_path / "long", tmp_path / "short"]
    found = score(
        suite, load_items(suite, data), folders, Embedders(), cache, ScoringOptions(progress=False), ["chroma"]
    )
    (row,) = found.comparisons
    first, second = (system.scores[0].value for system in found.systems)
    assert row.difference == pytest.approx(first - second)
    clips = np.array([[system.scores[0].clips[str(i)] for system in found.systems] for i in range(8)])
    assert np.sign(np.diff(clips.mean(axis=0))[0]) == np.sign(row.difference)  # means of clips say the opposite
    assert -1 <= row.low < row.difference < row.high <= 1
    assert row.p > 0.3
    assert "chroma: long − short" in table.markdown([found])
