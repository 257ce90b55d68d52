"""Make music from descriptions, a melody, or audio to continue."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen import __version__, catalog, commandline
from musicgen.commands import batch, conditions, live, lora, marks, outputs
from musicgen.errors import InputError
from musicgen.folders import folder_name, is_folder
from musicgen.gc_disabled import gc_disabled
from musicgen.options import LIMITERS, LOOP_CUTS, GenerationOptions, check_duration, check_loop_bars

if TYPE_CHECKING:
    import torch

    from musicgen.audio import Audio
    from musicgen.model import MusicGen
    from musicgen.postprocessing import ProcessedClip
    from musicgen.ranking import Ranker
    from musicgen.request import GenerationRequest
    from musicgen.settings import Settings, SourceFile
    from musicgen.watermark import Watermark

DEFAULT_MODEL = "facebook/musicgen-small"
DEFAULT_DURATION = 10.0
SWITCHES = {"do_sample"}
NONE = "none"
"""The value that resets a stored option to the model's default."""


def number_or_none(text: str) -> float | str:
    return NONE if text == NONE else float(text)


def whole_numbers(text: str) -> tuple[int, ...]:
    """ "20,10,10,10" as numbers."""
    return tuple(int(one) for one in text.split(","))


def numbers(text: str) -> tuple[float, ...]:
    """ "10,1" as numbers."""
    return tuple(float(one) for one in text.split(","))


def scales(text: str) -> tuple[tuple[str, float], ...]:
    """ "energy=2" as a name and its scale."""
    pairs = [one.partition("=") for one in text.split(",") if one.strip()]
    return tuple((name.strip(), float(scale)) for name, _, scale in pairs)


KINDS: dict[str, Callable[[str], Any]] = {
    "top_k": int, "negative_prompt": str, "guidance_scale": number_or_none, "melody_guidance_scale": number_or_none,
    "style_guidance_scale": number_or_none, "style_codebooks": int,
    "condition_guidance": scales, "decoding_steps": whole_numbers, "masked_guidance": numbers}  # fmt: skip
"""Option -> its parser, if it is not a number."""
HELP: dict[str, str] = {
    "temperature": "divides the logits: below 1 is safer, above 1 is wilder",
    "top_k": "draw from so many of the most likely codes; 0: from all",
    "top_p": "then from the fewest whose probability reaches this; 0: from all",
    "guidance_scale": "how closely the conditions are followed (as the model says: 3); 1: no guidance",
    "melody_guidance_scale": "a scale for the melody alone; none takes a stored one back",
    "style_guidance_scale": "a scale for the style alone; none takes a stored one back",
    "condition_guidance": "a scale for a further condition alone, by its name",
    "style_seconds": "length of the style's excerpt, 1.5 to 4.5 (as the model says: 3)",
    "style_codebooks": "codebooks of the style, 1 to 6: the fewer, the freer (as the model says: 3)",
    "decoding_steps": "MAGNeT: passes for each codebook (as the model says: 20,10,10,10)",
    "masked_temperature": "MAGNeT: temperature of a codebook's first pass (as the model says: 3)",
    "masked_top_p": "MAGNeT: top-p (as the model says: 0.9)",
    "masked_guidance": "MAGNeT: guidance scale of a codebook's first and last pass (as the model says: 10,1)",
    "negative_prompt": "a description to steer away from",
    "window_overlap": "clips longer than the model's window: the share of a window that prompts the next one",
}
"""Option -> what it does, in a line."""
METAVARS = {
    "condition_guidance": "NAME=SCALE",
    "negative_prompt": "TEXT",
    "decoding_steps": "N,N,…",
    "masked_guidance": "FIRST,LAST",
    "top_k": "K",
    "style_codebooks": "N",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="descriptions, one clip each ('' for none)")
    parser.add_argument("--output", "-o", type=Path, default=None, metavar="FILE|FOLDER",
                        help="a file for one clip (.wav .flac .mp3 .ogg) or a folder (default: outputs/); - streams WAV to a "
                        "pipe, without loudness normalisation unless --loudness is given")  # fmt: skip
    outputs.add_force(parser)
    parser.add_argument("--play", action="store_true", help="play each clip while it is generated (needs sounddevice)")
    parser.add_argument("--model", "-m", help=f"hub name, embedded name or folder (default: {default_model()})")
    parser.add_argument("--duration", "-d", type=float, help=f"seconds (default: {DEFAULT_DURATION:g})")
    conditions.add_arguments(parser)
    parser.add_argument("--continue-from", type=Path, metavar="FILE", help="audio to continue; the clips start with it")
    lora.add_argument(parser)
    parser.add_argument("--timeline", metavar="TEXT", help="changes of the prompt: '0:10 drums come in|0:20 strings' "
                        "(minutes:seconds or seconds)")  # fmt: skip
    parser.add_argument("--loop", action=argparse.BooleanOptionalAction, help="a clip that repeats without a seam")
    parser.add_argument("--loop-cut", choices=LOOP_CUTS, help="bars: cut the loop at bar lines, by its measured beats; end: "
                        "crossfade the end into the beginning (default: bars)")  # fmt: skip
    parser.add_argument("--loop-bars", type=int, metavar="N", help="bars of the loop (default: the most of 1, 2, 4, 8 … that "
                        "fit)")  # fmt: skip
    parser.add_argument("--seed", type=int, help="clip i uses seed + i (default: a new one, printed)")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--loudness", type=float, metavar="LUFS", help="target loudness (default: -14)")
    loudness.add_argument("--no-loudness", action="store_true", help="do not normalise the loudness")
    parser.add_argument("--limiter", action=argparse.BooleanOptionalAction, help="limit peaks, so that the clip reaches its "
                        "target loudness; otherwise a clip with high peaks stays quieter (default: on)")  # fmt: skip
    marks.add_arguments(parser)
    parser.add_argument("--from-file", type=Path, metavar="FILE", help="use the settings stored in a clip; "
                        "further arguments override them")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--precision", help="float32 (exact), bfloat16, float16, int8, int4, or auto: chosen by the model and "
                        "the device (default: auto)")  # fmt: skip
    parser.add_argument("--decoder", choices=catalog.DECODERS, help="how codes are decoded to audio: codec, the tokeniser's "
                        "decoder, or mbd, multi-band diffusion, which is much slower (default: codec)")  # fmt: skip
    takes = parser.add_argument_group("several takes of each description, best first")
    takes.add_argument("--takes", type=int, default=1, metavar="N", help="number of takes, with "
                       "consecutive seeds (default: 1)")  # fmt: skip
    takes.add_argument("--rank", metavar="NAME", help="the ranking: clap (CLAP score of the description), melody, or none "
                       "(default: clap; melody without a description)")  # fmt: skip
    batch.add_arguments(parser)
    add_sampling(parser)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the options of generation to a command, for `options_of`."""
    sampling = parser.add_argument_group("sampling and guidance")
    sampling.add_argument("--greedy", action=argparse.BooleanOptionalAction,
                          help="greedy decoding: take the most likely code instead of sampling")  # fmt: skip
    for field in dataclasses.fields(GenerationOptions):
        if field.name not in SWITCHES:
            default = "" if field.default in (None, ()) else f" (default: {field.default})"
            sampling.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=KINDS.get(field.name, float),
                metavar=METAVARS.get(field.name, "X"),
                help=f"{HELP[field.name]}{default}",
            )


def run(arguments: argparse.Namespace) -> int:
    # Everything that can be wrong with the arguments is found before the model is loaded.
    batch.check(arguments)
    with gc_disabled():
        from musicgen import audio, checkpoint, content_credentials, provenance
        from musicgen.checkpoint import audioseal
        from musicgen.ranking import ranker
        from musicgen.request import GenerationRequest, check_prompts
        from musicgen.sampling import clip_seeds
        from musicgen.settings import Settings, check_loudness
        from musicgen.timeline import check_within, timeline_of
    takes = _takes(arguments)
    if arguments.prompts_file is not None:
        duration = DEFAULT_DURATION if arguments.duration is None else arguments.duration
        return batch.run(arguments, *model_of(arguments, None), options_of(arguments, GenerationOptions()), duration)

    stored = Settings.of_file(arguments.from_file) if arguments.from_file else None
    if stored is not None and stored.repainted:
        raise InputError(
            f"{arguments.from_file}: a span of another clip was made anew in it: musicgen repaint makes it again, from that "
            "clip"
        )
    prompts = check_prompts(arguments.prompts) if arguments.prompts else ([stored.prompt] if stored else [])
    if not prompts:
        raise InputError("no prompt: pass at least one description ('' generates without text)")
    duration = check_duration(_first(arguments.duration, stored and stored.duration, DEFAULT_DURATION))
    timeline = stored.timeline if stored and arguments.timeline is None else timeline_of(arguments.timeline)
    check_within(timeline, duration)
    loop = bool(_first(arguments.loop, stored and stored.loop, False))
    options = options_of(arguments, stored.options if stored else GenerationOptions())
    pipe = arguments.output is not None and str(arguments.output) == outputs.PIPE
    # What is streamed has left before its loudness is known.
    loudness = None if pipe else stored.loudness if stored else audio.TARGET_LUFS
    if arguments.no_loudness or arguments.loudness is not None:
        loudness = None if arguments.no_loudness else check_loudness(arguments.loudness)
    loop_cut = _first(arguments.loop_cut, stored and stored.loop_cut, LOOP_CUTS[-1])
    loop_bars = check_loop_bars(arguments.loop_bars) or (stored.loop_bars if stored else None)
    limiter = stored.limiter if stored else LIMITERS[-1]
    if arguments.limiter is not None:
        limiter = LIMITERS[-1] if arguments.limiter else LIMITERS[0]
    watermark = bool(_first(arguments.watermark, stored and stored.watermark, False))
    signer = marks.signer(arguments.c2pa_certificate, arguments.c2pa_key)
    melody = _source("melody", arguments.melody, stored.melody if stored and arguments.chords is None else None)
    chart = conditions.chart(arguments, stored)
    given = _source("continue-from", arguments.continue_from, stored.continue_from if stored else None)
    known = stored.conditions if stored else {}
    further = conditions.completed(conditions.parse(arguments.condition) | conditions.style(arguments.style), known)
    described = conditions.described(further, known)
    adapters = lora.parse(arguments.lora)
    lora.require(adapters, stored.adapters if stored else ())
    conditions.check_recordings(arguments)
    separate = arguments.separation
    if separate is None and stored is not None and stored.melody is not None:
        separate = stored.separate
    name, is_folder = model_of(arguments, stored)
    precision = _first(arguments.precision, stored and stored.precision, "auto")
    decoder = _first(arguments.decoder, stored and stored.decoder, catalog.DECODERS[0])
    seed = _first(arguments.seed, stored and stored.seed, secrets.randbelow(2**31))
    seeds = clip_seeds(seed, len(prompts) * takes)
    if pipe and len(seeds) > 1:
        raise InputError(f"--output - is one clip, but there are {len(seeds)} clips: pass a folder")
    paths = [] if pipe else outputs.files(arguments.output, prompts, seed, takes)
    sources = {"melody": arguments.melody, "continue-from": arguments.continue_from, "from-file": arguments.from_file}
    sources |= {f"condition {name}": path for name, path in conditions.files(further).items()}
    outputs.check_clips(paths, sources, force=arguments.force)
    if signer is not None:
        for path in paths or [Path(outputs.PIPE)]:
            content_credentials.check_format(path)
    if stored is not None and stored.beyond:
        commandline.warn(
            f"{arguments.from_file} was made with {', '.join(stored.beyond)} too, which this command does not have: the clip "
            "will be another one"
        )
    request = GenerationRequest.of(
        [prompt for prompt in prompts for _ in range(takes)],
        duration,
        seed=seeds,
        melody=arguments.melody if chart is None else chart,
        conditions=further,
        continue_from=arguments.continue_from,
        options=options,
        separate=separate,
        timeline=timeline,
    )
    judge = ranker(_ranking(arguments, request)) if takes > 1 else None
    if judge is not None:
        for index in range(0, len(seeds), takes):
            judge.check(request.clip(index, seeds[index]))

    model = checkpoint.load(name, arguments.device, precision, decoder=decoder, adapters=adapters, folders=is_folder)
    networks = audioseal.load() if watermark else None
    uses = lora.described(model, stored.adapters if stored else None)
    for text in dict.fromkeys((*prompts, options.negative_prompt, *(entry.prompt for entry in timeline))):
        if unknown := model.unknown(text):
            commandline.warn(f"{name} does not know {unknown:.0%} of {text!r}, and follows the rest alone")
    if melody is not None and separate is None and model.melody is not None:
        separate = model.melody.separated
    each = [
        Settings(
            version=__version__,
            model=folder_name(name) if is_folder else name,
            model_folder=is_folder,
            precision=model.precision,
            decoder=model.decoder.kind,
            prompt=prompt,
            duration=duration,
            seed=own_seed,
            options=options,
            loudness=loudness,
            limiter=limiter,
            loop_cut=loop_cut,
            loop_bars=loop_bars,
            watermark=watermark,
            melody=melody,
            chords=chart,
            separate=None if melody is None else separate,
            continue_from=given,
            conditions=described,
            adapters=uses,
            timeline=timeline,
            loop=loop,
        )
        for prompt, own_seed in zip(request.prompts, seeds, strict=True)
    ]
    made: Iterable[tuple[Settings, ProcessedClip, str]]
    if arguments.play or pipe:
        # What changes the whole clip is heard at its end.
        whole = loop or (pipe and (loudness is not None or watermark))
        made = _live(model, request, each, networks, play=arguments.play, pipe=pipe, whole=whole)
    else:
        with bar("generating") as shown:
            waves = _waves(model, request, shown.update_to)
        made = _best_first(model, request, each, waves, takes, judge, networks)
    for index, (settings, finished, score) in enumerate(made):
        clip = finished.audio
        if not pipe:
            tags = provenance.tags(settings.comment(finished.measured))
            content_credentials.write(paths[index], clip, tags, signer)
        print(
            f"{outputs.PIPE if pipe else paths[index]}  seed {settings.seed}  {clip.duration:.2f} s  {clip.rate} Hz  "
            f"{_channels(clip)}  {_level(finished)}  {model.precision}{score}",
            file=sys.stderr if pipe else sys.stdout,
        )
    return 0


def _takes(arguments: argparse.Namespace) -> int:
    """The number of takes of each description, if the other arguments allow it."""
    from musicgen import ranking
    from musicgen.takes import check_takes

    takes = check_takes(arguments.takes)
    if arguments.rank is not None:
        ranking.check(arguments.rank)
        if takes == 1:
            raise InputError("--rank orders several takes: pass --takes N, too")
    if takes > 1:
        for flag, value in (("--prompts", arguments.prompts_file), ("--play", arguments.play or None)):
            if value is not None:
                raise InputError(f"--takes cannot be used with {flag}: leave one of them out")
    return takes


def _ranking(arguments: argparse.Namespace, request: GenerationRequest) -> str:
    """The ranking of takes, where none is named what the request can be compared with."""
    from musicgen import ranking

    if arguments.rank is not None:
        return arguments.rank
    if all(request.prompts):
        return "clap"
    return "melody" if request.conditions.get("melody") is not None else ranking.NONE


def _best_first(
    model: MusicGen,
    request: GenerationRequest,
    each: Sequence[Settings],
    waves: Iterator[torch.Tensor],
    takes: int,
    judge: Ranker | None,
    networks: Watermark | None,
) -> Iterator[tuple[Settings, ProcessedClip, str]]:
    """The settings and the finished clip of each take, best first for each description, and its score as text."""
    from musicgen.audio import Audio
    from musicgen.takes import prepared, ranked

    label = "" if judge is None else judge.label(model)
    for start in range(0, len(each), takes):
        own = {settings.seed: settings for settings in each[start : start + takes]}
        one = request.clip(start, each[start].seed)
        if judge is not None:
            one = prepared(model, one)
        for take in ranked(model, one, list(itertools.islice(waves, takes)), list(own), judge):
            settings = own[take.seed]
            finished = _finished(Audio(take.wave.cpu(), model.sample_rate), settings, networks)
            yield settings, finished, "" if take.score is None else f"  {label} {take.score:.3f}"


def _live(
    model: MusicGen,
    request: GenerationRequest,
    each: Sequence[Settings],
    networks: Watermark | None,
    *,
    play: bool,
    pipe: bool,
    whole: bool,
) -> Iterator[tuple[Settings, ProcessedClip, str]]:
    """The finished clips, heard or written to the pipe while they are generated; `whole`: when they are finished."""
    from musicgen import provenance
    from musicgen.audio import Audio

    for index, settings in enumerate(each):
        own = request.clip(index, settings.seed)
        with (
            live.sinks(
                model.sample_rate, model.channels, play=play, pipe=pipe, tags=provenance.tags(settings.comment())
            ) as sinks,
            bar("generating") as shown,
        ):
            wave = live.generate(model, own, [] if whole else sinks, shown.update_to)
            finished = _finished(Audio(wave, model.sample_rate), settings, networks)
            if whole:
                for write in sinks:
                    write(finished.audio.wave)
        yield settings, finished, ""


def _finished(clip: Audio, settings: Settings, networks: Watermark | None) -> ProcessedClip:
    """A model's waveform as the clip that its settings describe."""
    from musicgen import provenance
    from musicgen.loops import beats_of
    from musicgen.postprocessing import postprocess

    mark = None
    if networks is not None:
        mark = networks.marker(provenance.tags(settings.comment())["settingssha256"])
    finished = postprocess(
        clip, loop=settings.loop, loudness=settings.loudness, limiter=settings.limiter, loop_cut=settings.loop_cut,
        loop_bars=settings.loop_bars, beats_per_bar=beats_of(settings.chords), mark=mark,
    )  # fmt: skip
    if finished.not_at_bars:
        commandline.warn(f"the loop is not cut at bars: {finished.not_at_bars}")
    return finished


def _waves(model: MusicGen, request: GenerationRequest, progress: Callable[[int, int], None]) -> Iterator[torch.Tensor]:
    """The waveforms [C, samples] of the clips, in order."""
    from musicgen.sampling import clip_seeds
    from musicgen.takes import parts

    if request.timeline:
        return iter(model.generate(request, progress=progress))
    codes = [
        (own, seed)
        for part, report in parts(model, request, progress)
        for own, seed in zip(
            model.generate_codes(part, progress=report), clip_seeds(part.seed, len(part.prompts)), strict=True
        )
    ]
    # Decoded one by one: in a batch a clip is rounded otherwise, and --from-file generates it alone.
    return (_decoded(model, own, seed) for own, seed in codes)


def _decoded(model: MusicGen, codes: torch.Tensor, seed: int) -> torch.Tensor:
    """The waveform [C, samples] of one clip's codes [K, T]."""
    with bar("decoding") as shown:
        return model.decode(codes[None], seed, progress=shown.update_to)[0]


def default_model() -> str:
    """An embedded model where there is one: it needs no network."""
    embedded = catalog.embedded()
    return embedded[0] if embedded else DEFAULT_MODEL


def model_of(arguments: argparse.Namespace, stored: Settings | None) -> tuple[str, bool]:
    """The model's name or path, and whether it is a path. What a clip says is never taken for a path."""
    if arguments.model is not None:
        return arguments.model, is_folder(arguments.model)
    if stored is None:
        return default_model(), False
    if stored.model_folder:
        raise InputError(f"the clip was made with a model's folder named {stored.model!r}: pass the folder as --model")
    if not catalog.is_name(stored.model):
        raise InputError(
            f"the clip was made with {stored.model!r}, which is no model's name: pass its folder as --model"
        )
    return stored.model, False


def options_of(arguments: argparse.Namespace, base: GenerationOptions) -> GenerationOptions:
    """The options of the arguments over those of a stored clip."""
    names = [field.name for field in dataclasses.fields(GenerationOptions) if field.name not in SWITCHES]
    changes = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    changes = {name: None if value == NONE else value for name, value in changes.items()}
    if arguments.greedy is not None:
        changes["do_sample"] = not arguments.greedy
    return dataclasses.replace(base, **changes)


def _source(flag: str, path: Path | None, stored: SourceFile | None) -> SourceFile | None:
    """The file behind --melody or --continue-from; a stored clip tells which one it was, not where it lies."""
    from musicgen.settings import SourceFile

    if path is None:
        if stored is not None:
            raise InputError(f"the clip was made with the file {stored.name!r}: pass it again as --{flag}")
        return None
    found = SourceFile.of(path)
    if stored is not None and found.sha256 != stored.sha256:
        commandline.warn(f"{path} is not the file {stored.name!r} that the clip was made with")
    return found


def _first(*values):  # type: ignore[no-untyped-def]
    return next(value for value in values if value is not None)


def _channels(clip) -> str:  # type: ignore[no-untyped-def]
    return {1: "mono", 2: "stereo"}[clip.wave.shape[0]]


def _level(finished: ProcessedClip) -> str:
    from musicgen import audio

    level, reduction = f"{audio.loudness(finished.audio):.1f} LUFS", finished.limited.reduction
    loop = finished.loop
    bars = f"  loop of {loop.text}" if loop is not None and loop.text else ""
    return level + (f", peaks limited by {reduction:.1f} dB" if reduction >= 0.05 else "") + bars


def bar(what: str):  # type: ignore[no-untyped-def]
    """A progress bar with the time left, one unit a step."""
    from tqdm import tqdm

    class Bar(tqdm):
        def update_to(self, done: int, total: int) -> None:
            self.total = total
            self.update(done - self.n)

    return Bar(desc=what, unit=" steps", file=sys.stderr, leave=False)
