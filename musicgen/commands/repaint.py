"""Make a span of a clip anew, so that it fits what is before and behind it; a span before 0 extends the clip to the left."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen import __version__, catalog, commandline
from musicgen.commands import generate, lora, outputs
from musicgen.folders import folder_name
from musicgen.options import MAX_DURATION, GenerationOptions

if TYPE_CHECKING:
    from musicgen.settings import Settings

DEFAULT_CANDIDATES = 8


def span(text: str) -> tuple[float, float]:
    """ "8:12" as seconds."""
    start, _, end = text.partition(":")
    try:
        return float(start), float(end)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no span: it must be START:END in seconds, like 8:12 or -4:0"
        ) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the clip")
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="description of what is in the span (default: that of the "
                        "clip)")  # fmt: skip
    parser.add_argument("--span", type=span, required=True, metavar="START:END", help="seconds: 8:12, or -4:0 for four more "
                        "at the beginning")  # fmt: skip
    parser.add_argument("--candidates", type=int, default=DEFAULT_CANDIDATES, metavar="N", help="how many are drawn; the one "
                        f"is taken that fits what follows best (default: {DEFAULT_CANDIDATES})")  # fmt: skip
    parser.add_argument("--output", "-o", type=Path, metavar="FILE|FOLDER", help="default: outputs/")
    parser.add_argument("--melody", type=Path, metavar="FILE", help="audio, or a MIDI file, whose melody the clip "
                        "follows")  # fmt: skip
    parser.add_argument("--separation", action=argparse.BooleanOptionalAction, help="drop drums and bass from the melody by "
                        "Demucs (default: as in the model's training)")  # fmt: skip
    parser.add_argument("--model", "-m", help="hub name, embedded name or folder (default: that of the clip, else "
                        f"{generate.default_model()})")  # fmt: skip
    parser.add_argument("--seed", type=int, help="candidate i uses seed + i (default: a new one, printed)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument("--precision", help="as of generate (default: that of the clip, else auto)")
    parser.add_argument(
        "--decoder", choices=catalog.DECODERS, help="as of generate (default: that of the clip, else codec)"
    )
    lora.add_argument(parser)
    generate.add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    from musicgen import audio, checkpoint, provenance
    from musicgen.audio import Audio
    from musicgen.engine.batch_size import automatic
    from musicgen.request import GenerationRequest
    from musicgen.settings import REPAINTED, Settings, SourceFile

    start, end = arguments.span
    audio.measure(arguments.file, MAX_DURATION)
    stored = _stored(arguments.file)
    prompt = arguments.prompt if arguments.prompt is not None else stored.prompt if stored else None
    options = generate.options_of(arguments, stored.options if stored else GenerationOptions())
    if arguments.melody is None and stored is not None and (stored.melody or stored.chords):
        commandline.warn(
            f"{arguments.file} was made with a melody or chords: without --melody the span follows the description alone"
        )
    adapters = lora.parse(arguments.lora)
    lora.require(adapters, stored.adapters if stored else ())
    name, is_folder = generate.model_of(arguments, stored)
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(2**31)
    request = GenerationRequest.of_one(
        prompt, seed=seed, melody=arguments.melody, separate=arguments.separation, options=options
    )
    label = f"{arguments.file.stem}-{start:g}-{end:g}"
    (path,) = outputs.files(arguments.output, [label], seed)
    outputs.check([path], {"melody": arguments.melody, "": arguments.file})

    precision = arguments.precision or (stored.precision if stored else "auto")
    decoder = arguments.decoder or (stored.decoder if stored else catalog.DECODERS[0])
    model = checkpoint.load(name, arguments.device, precision, decoder=decoder, adapters=adapters, folders=is_folder)
    if prompt and (unknown := model.unknown(prompt)):
        commandline.warn(f"{name} does not know {unknown:.0%} of {prompt!r}, and follows the rest alone")
    with generate.bar("generating") as shown:
        made = model.repaint(
            arguments.file,
            start,
            end,
            request,
            candidates=arguments.candidates,
            batch_size=automatic(model, max(1, arguments.candidates)),
            progress=shown.update_to,
        )
    # As loud as the rest of the clip, which stays what it is.
    clip = Audio(made.wave, model.sample_rate)
    source = SourceFile.of(arguments.file)
    settings = Settings(
        version=__version__,
        model=folder_name(name) if is_folder else name,
        model_folder=is_folder,
        precision=model.precision,
        decoder=model.decoder.kind,
        prompt=prompt,
        duration=min(clip.duration, MAX_DURATION),
        seed=made.seed,
        options=options,
        loudness=None,
        continue_from=source,
        adapters=lora.described(model, None),
        beyond=(f"the span {start:g}:{end:g} of {source.name} {REPAINTED}",),
    )
    audio.write(path, clip, provenance.tags(settings.comment()))
    fit = _fit(made.log_likelihoods, made.original)
    print(f"{path}  seed {made.seed}  {clip.duration:.2f} s  {clip.rate} Hz  {model.precision}{fit}")
    return 0


def _stored(file: Path) -> Settings | None:
    """The settings in a clip, None for a recording without any."""
    from musicgen import audio
    from musicgen.settings import KEY, Settings

    comment = audio.read_comment(file)
    return Settings.from_comment(comment, str(file)) if f'"{KEY}"' in comment else None


def _fit(log_likelihoods: Mapping[int, float], original: float | None) -> str:
    """How well the candidates fit what follows, as text: mean log-likelihood of a code of it."""
    if not log_likelihoods:
        return ""
    values = log_likelihoods.values()
    before = "" if original is None else f", before {original:.3f}"
    best = f"{max(values):.3f}"
    return f"  fit {best}{f', the worst of {len(values)} {min(values):.3f}' if len(values) > 1 else ''}{before}"
