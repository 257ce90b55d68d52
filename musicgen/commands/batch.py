"""`generate --prompts FILE`: a list of prompts to a samples folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen import __version__, commandline
from musicgen.commands import conditions, lora, marks, outputs
from musicgen.errors import InputError
from musicgen.folders import folder_name, is_file
from musicgen.options import LIMITERS, LOOP_CUTS, GenerationOptions, check_duration, check_loop_bars
from musicgen.text_format import counted

if TYPE_CHECKING:
    from musicgen.batch import BatchClip, BatchReport
    from musicgen.model import MusicGen

AUTO = "auto"


def batch_size(text: str) -> int | None:
    """ "8" as a number, "auto" as None."""
    if text == AUTO:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither {AUTO} nor a whole number from 1 on")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a batch from a list")
    group.add_argument("--prompts", dest="prompts_file", type=Path, metavar="FILE", help="a file with one clip per line: a "
                       "description, or in .csv and .jsonl any option of a clip; existing clips are kept, so an interrupted "
                       "run can be continued; the default seed is 0")  # fmt: skip
    group.add_argument("--batch-size", type=batch_size, metavar="N", help="clips that are generated at the same time (default: "
                       "auto, by memory and device)")  # fmt: skip
    group.add_argument("--format", metavar="NAME", help="file format: wav, flac, mp3 or ogg (default: flac)")


def check(arguments: argparse.Namespace) -> None:
    """Refuse what only a batch has without one, and what a batch cannot do."""
    if arguments.prompts_file is None:
        given = {"--batch-size": arguments.batch_size, "--format": arguments.format}
        for flag, value in given.items():
            if value is not None:
                raise InputError(f"{flag} is for a list of prompts: pass --prompts FILE, too")
        return
    if arguments.format is not None:
        outputs.check_named_format(arguments.format)
    if arguments.prompts:
        raise InputError(
            f"the descriptions are those of {arguments.prompts_file}: leave {arguments.prompts[0]!r} out, or add it there"
        )
    for flag, value in (("--from-file", arguments.from_file), ("--play", arguments.play or None)):
        if value is not None:
            raise InputError(f"{flag} is for one clip, and --prompts for many: leave one of them out")
    output = arguments.output
    if output is not None and (str(output) == outputs.PIPE or outputs.is_file_name(output)):
        raise InputError(f"--output {output}: a list of prompts fills a folder")


def _extension(arguments: argparse.Namespace) -> str:
    return f".{arguments.format or 'flac'}"


def run(arguments: argparse.Namespace, name: str, is_folder: bool, options: GenerationOptions, duration: float) -> int:
    """Make the clips of a list that are missing.

    Args:
        arguments: Of `generate`.
        name: The model.
        is_folder: Whether that is a path.
        options: Of lines that say nothing else.
        duration: The same, in seconds.

    Returns:
        The exit code: 2 where a line gave no clip.
    """
    from musicgen import audio, batch, checkpoint, content_credentials
    from musicgen.checkpoint import audioseal
    from musicgen.settings import Settings

    file = arguments.prompts_file
    folder = arguments.output if arguments.output is not None else outputs.FOLDER / file.stem
    label = folder_name(name) if is_folder else name
    watermark = bool(arguments.watermark)
    signer = marks.signer(arguments.c2pa_certificate, arguments.c2pa_key)
    if signer is not None:
        content_credentials.check_format(f"{label}{_extension(arguments)}")
    run_settings = Settings(
        __version__, label, None, check_duration(duration), 0, options, model_folder=is_folder,
        limiter=LIMITERS[0] if arguments.limiter is False else LIMITERS[-1], watermark=watermark,
        loop_cut=arguments.loop_cut or LOOP_CUTS[-1], loop_bars=check_loop_bars(arguments.loop_bars),
    )  # fmt: skip
    seed = arguments.seed if arguments.seed is not None else 0
    clips, errors = batch.read(file, run_settings, _defaults(arguments, audio.TARGET_LUFS), seed=seed)
    listed = len(clips) + len(errors)
    if clips:
        adapters = lora.parse(arguments.lora)
        model = checkpoint.load(
            name,
            arguments.device,
            arguments.precision or "auto",
            decoder=arguments.decoder or "codec",
            adapters=adapters,
            folders=is_folder,
        )
        _warn_of_unknown_words(model, clips)
        with _bar(len(clips)) as bar:

            def show(report: BatchReport) -> None:
                bar.set_postfix_str(f"{report.clips_an_hour:.0f} clips/h", refresh=False)
                bar.update(report.there + report.made + len(report.errors) - bar.n)

            report = batch.generate(
                model,
                clips,
                folder,
                system=label.rstrip("/").rsplit("/", 1)[-1],
                adapters=lora.described(model, None),
                batch_size=arguments.batch_size,
                extension=_extension(arguments),
                watermark=audioseal.load() if watermark else None,
                sign=None if signer is None else signer.sign,
                progress=show,
            )
        errors += report.errors
        print(f"{folder}  {_told(report)}")
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if errors:
        print(
            f"{len(errors)} of {counted(listed, 'line')} gave no clip: mend them and run the same command",
            file=sys.stderr,
        )
    return 2 if errors else 0


def _defaults(arguments: argparse.Namespace, loudness: float) -> dict[str, Any]:
    """The defaults of all lines, from the arguments. Paths are relative to the working directory, not to the list."""
    given: dict[str, Any] = {
        "melody": arguments.melody,
        "style": arguments.style,
        "continue_from": arguments.continue_from,
        "chords": arguments.chords,
        "bpm": arguments.bpm,
        "metre": arguments.metre,
        "separate": arguments.separation,
        "timeline": arguments.timeline,
        "loop": arguments.loop,
    }
    found = {
        key: str(value.absolute()) if isinstance(value, Path) else value
        for key, value in given.items()
        if value is not None
    }
    further = conditions.parse(arguments.condition)
    if further:
        found["conditions"] = {
            key: str(Path(value).absolute()) if is_file(value) else value for key, value in further.items()
        }
    found["loudness"] = (
        None if arguments.no_loudness else loudness if arguments.loudness is None else arguments.loudness
    )
    return found


def _told(report: BatchReport) -> str:
    """A run in a line."""
    there = f"{counted(report.there, 'clip')} {'was' if report.there == 1 else 'were'} there" if report.there else ""
    if not report.made:
        return there or "no clip was made"
    made = (
        f"{counted(report.made, 'clip')}, {report.music:.1f} s of music in {report.seconds:.1f} s: "
        f"{report.clips_an_hour:.0f} clips an hour, {report.speed:.1f} s of music a second, batch size {report.batch_size}"
    )
    return f"{made}; {there}" if there else made


def _warn_of_unknown_words(model: MusicGen, clips: list[BatchClip]) -> None:
    unknown = {prompt: model.unknown(prompt) for prompt in dict.fromkeys(clip.settings.prompt for clip in clips)}
    strange = [prompt for prompt, share in unknown.items() if share]
    if strange:
        commandline.warn(
            f"{len(strange)} of {counted(len(unknown), 'description')} have words that {model.name} does not know, and are "
            f"followed in the rest alone: the first is {strange[0]!r}"
        )


def _bar(total: int):  # type: ignore[no-untyped-def]
    from tqdm import tqdm

    return tqdm(total=total, desc="generating", unit=" clips", file=sys.stderr, leave=False)
