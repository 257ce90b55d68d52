"""python -m musicgen.training.corpus --seed 0 --count 100 --output DIR: write a corpus."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from musicgen import commandline
from musicgen.folders import check_writable_folder
from musicgen.training.corpus.dataset import CorpusOptions, write
from musicgen.training.corpus.genres import GENRES


@commandline.entry()
def main() -> None:
    """Compose and render what the arguments ask for."""
    parser = commandline.Parser(
        prog="python -m musicgen.training.corpus", description="Compose and render captioned music."
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for FLAC, JSON and manifest.jsonl")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first composition; the next ones count up (default 0)"
    )
    parser.add_argument("--count", type=int, default=100, help="compositions (default 100)")
    parser.add_argument(
        "--duration",
        type=float,
        nargs="+",
        default=[30.0],
        metavar="SECONDS",
        help="of every composition, or the shortest and the longest (default 30)",
    )
    parser.add_argument(
        "--genre",
        action="append",
        default=[],
        choices=list(GENRES),
        metavar="GENRE",
        help="only this genre; may be given again (default all)",
    )
    parser.add_argument(
        "--sequenced", action="store_true", help="played as by a sequencer, on the frames of a token model"
    )
    parser.add_argument("--captions", type=int, default=4, help="different captions a composition (default 4)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    options = parser.parse_args()
    if options.seed < 0 or options.count < 1 or options.workers < 1 or len(options.duration) > 2:
        parser.error("--seed must be 0 or more, --count and --workers 1 or more, --duration one or two numbers")
    check_writable_folder(options.output)
    settings = CorpusOptions(
        output=options.output,
        durations=(options.duration[0], options.duration[-1]),
        genres=tuple(options.genre),
        captions=options.captions,
        sequenced=options.sequenced,
    )
    seeds = range(options.seed, options.seed + options.count)
    for _ in tqdm(write(settings, seeds, options.workers), total=len(seeds), unit="clip"):
        pass


if __name__ == "__main__":
    sys.exit(main())
