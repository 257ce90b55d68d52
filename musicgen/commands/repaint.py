"""Regenerate a span of a clip, so that it fits what precedes and follows it; a span before 0 extends the clip to the left."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping
from pathlib import Path

from musicgen import __version__, catalog, commandline
from musicgen.commands import conditions, generate, lora, outputs
from musicgen.folders import folder_name
from musicgen.options import MAX_DURATION, GenerationOptions

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
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="description of the span (default: that of the "
                        "clip)")  # fmt: skip
    parser.add_argument("--span", type=span, required=True, metavar="START:END", help="seconds: 8:12, or -4:0 for four more "
                        "at the beginning")  # fmt: skip
    parser.add_argument("--candidates", type=int, default=DEFAULT_CANDIDATES, metavar="N", help="number of candidates; the one "
                        f"is taken that fits what follows best (default: {DEFAULT_CANDIDATES})")  # fmt: skip
    parser.add_argument("--output", "-o", type=Path, metavar="FILE|FOLDER", help="default: outputs/")
    outputs.add_force(parser)
    conditions.add_arguments(parser)
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
    from musicgen.clip_repainting import left_out, span_request
    from musicgen.engine.batch_size import automatic
    from musicgen.settings import REPAINTED, Settings, SourceFile

    start, end = arguments.span
    audio.measure(arguments.file, MAX_DURATION)
    stored = Settings.of_recording(arguments.file)
    options = generate.options_of(arguments, stored.options if stored else GenerationOptions())
    chart = conditions.chart(arguments, stored)
    further = conditions.parse(arguments.condition) | conditions.style(arguments.style)
    conditions.check_recordings(arguments)
    adapters = lora.parse(arguments.lora)
    lora.require(adapters, stored.adapters if stored else ())
    name, is_folder = generate.model_of(arguments, stored)
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(2**31)
    wanted = span_request(
        stored,
        start,
        arguments.prompt,
        seed=seed,
        melody=arguments.melody if chart is None else chart,
        conditions=further,
        separate=arguments.separation,
        options=options,
    )
    request = wanted.request
    (prompt,) = request.prompts
    label = f"{arguments.file.stem}-{start:g}-{end:g}"
    (path,) = outputs.files(arguments.output, [label], seed)
    sources = {"melody": arguments.melody, "": arguments.file}
    sources |= {f"condition {name}": source for name, source in conditions.files(further).items()}
    outputs.check_clips([path], sources, force=arguments.force)
    for one in wanted.missing:
        commandline.warn(left_out(arguments.file, one))

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
    # Where the clip begins earlier now, chords and a melody are no longer at the times that settings give them.
    in_time = start >= 0
    kept = {name: value for name, value in request.conditions.items() if name != "melody" and name not in further}
    separate = request.separate
    if separate is None and arguments.melody is not None and model.melody is not None:
        separate = model.melody.separated
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
        melody=SourceFile.of(arguments.melody) if arguments.melody is not None and in_time else None,
        chords=chart if in_time else None,
        separate=separate if arguments.melody is not None and in_time else None,
        conditions=kept | conditions.described(further, {}),
        continue_from=source,
        adapters=lora.described(model, None),
        beyond=(f"the span {start:g}:{end:g} of {source.name} {REPAINTED}",),
    )
    audio.write(path, clip, provenance.tags(settings.comment()))
    fit = _fit(made.log_likelihoods, made.original)
    print(f"{path}  seed {made.seed}  {clip.duration:.2f} s  {clip.rate} Hz  {model.precision}{fit}")
    return 0


def _fit(log_likelihoods: Mapping[int, float], original: float | None) -> str:
    """How well the candidates fit what follows, as text: mean log-likelihood of a code of it."""
    if not log_likelihoods:
        return ""
    values = log_likelihoods.values()
    before = "" if original is None else f", before {original:.3f}"
    best = f"{max(values):.3f}"
    return f"  fit {best}{f', the worst of {len(values)} {min(values):.3f}' if len(values) > 1 else ''}{before}"
