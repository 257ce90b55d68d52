"""python -m benchmarks.early_exit: how often the first layers of a model predict the same codes as all layers.

In speculative decoding, a cheap draft model proposes codes, which the full model verifies for several steps at a time. The
draft model here is an early exit: the first layers of the model, with the output heads, the guidance and the random numbers of
the full model. A drafted step is accepted only if all of its codes are those of the full model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import musicgen
from benchmarks import machine, store
from musicgen import GenerationOptions, generate

PROMPTS = ("lofi hip hop with a warm piano", "fast heavy metal", "sad jazz", "string quartet")


@contextmanager
def watched(model: musicgen.MusicGen) -> Iterator[list[torch.Tensor]]:
    """Collects of every step which codes each number of layers draws as all layers do: bool [layers, K]."""
    hidden: list[torch.Tensor] = [torch.empty(0)] * len(model.lm.blocks)
    steps: list[torch.Tensor] = []
    draw = generate.sample

    def after(layer: int) -> Any:
        return lambda _module, _given, made: hidden.__setitem__(layer, made[:, -1:])

    def sample(logits: torch.Tensor, options: GenerationOptions, uniforms: torch.Tensor | None = None) -> torch.Tensor:
        codes = draw(logits, options, uniforms)
        equal = []
        for each in hidden:
            given, null = model.lm.predict(each)[:, :, -1].chunk(2)
            equal.append((draw(null + options.guidance_scale * (given - null), options, uniforms) == codes)[0])
        steps.append(torch.stack(equal))
        return codes

    hooks = [block.register_forward_hook(after(layer)) for layer, block in enumerate(model.lm.blocks)]
    generate.sample = sample
    try:
        yield steps
    finally:
        generate.sample = draw
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def measure(name: str, duration: float) -> list[dict[str, Any]]:
    """A row for each number of layers."""
    model = musicgen.load(name, "cpu", "float32")
    model.engine = None  # the modules, whose layers can be watched
    with watched(model) as steps:
        for seed, prompt in enumerate(PROMPTS):
            model.generate_codes([prompt], duration, seed=seed)
    equal = torch.stack(steps)  # [steps, layers, K]
    return [
        {
            "layers": layer + 1,
            "codes": round(float(equal[:, layer].float().mean()), 4),
            "steps": round(float(equal[:, layer].all(dim=1).float().mean()), 4),
            "n": len(equal),
        }
        for layer in range(equal.shape[1])
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.early_exit", description=__doc__)
    parser.add_argument("--model", default="mini", help="name or folder (default: mini)")
    parser.add_argument("--duration", type=float, default=6.0, help="seconds of music (default: 6)")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    torch.set_num_threads(2)
    rows = measure(options.model, options.duration)
    command = store.command("early_exit")
    store.publish({"command": command, "machine": machine.describe("cpu", 2), "results": rows}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
