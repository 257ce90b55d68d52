"""python -m benchmarks.training --shape mini|small|medium|large: training steps per second of this project and its peers.

One step of every system on the same shapes and random codes (forward, cross-entropy of all codebooks, backward, clip, AdamW),
interleaved, medians. `share_of_peak` counts 6 operations for every weight of the language model and every position (the
embedding tables excluded) and the attention's products, relative to the measured rate of one large matrix product in the same
precision. transformers' decoder is always a peer; audiocraft's if it is installed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks import machine, store
from musicgen import patterns
from musicgen.lm import Conditions, LanguageModel, LMConfig

SHAPES = {
    "mini": (256, 4, 8, 1024),
    "small": (1024, 16, 24, 2048),
    "medium": (1536, 24, 48, 2048),
    "large": (2048, 32, 48, 2048),
}
"""Width, heads, layers, entries of a codebook."""
CODEBOOKS = 4
TEXT_LENGTH = 24
_IGNORED = -100

Step = Callable[[], float]


def ours(config: LMConfig, codes: torch.Tensor, text: torch.Tensor, precision: torch.dtype) -> Step:
    """This project's training step."""
    lm = LanguageModel(config).to(codes.device).train()
    optimiser = torch.optim.AdamW(lm.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    sequence = patterns.delay(CODEBOOKS).layout(codes.shape[2]).build(codes, config.special_token)

    def forward() -> torch.Tensor:
        logits = lm(sequence[:, :, :-1], Conditions(cross=text))
        return _loss(logits, sequence[:, :, 1:], config.special_token)

    return _step(lm, optimiser, forward, codes.device, precision)


def theirs_transformers(config: LMConfig, codes: torch.Tensor, text: torch.Tensor, precision: torch.dtype) -> Step:
    """transformers' MusicgenForCausalLM, fed the same delayed codes."""
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM

    decoder = MusicgenForCausalLM(
        MusicgenDecoderConfig(
            vocab_size=config.codebook_size, num_hidden_layers=config.num_layers, ffn_dim=config.ffn_dim,
            num_attention_heads=config.num_heads, hidden_size=config.dim, num_codebooks=CODEBOOKS, dropout=0.0,
            attention_dropout=0.0, pad_token_id=config.special_token, bos_token_id=config.special_token,
        )
    ).to(codes.device).train()  # fmt: skip
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    sequence = patterns.delay(CODEBOOKS).layout(codes.shape[2]).build(codes, config.special_token)
    inputs = sequence[:, :, :-1].flatten(0, 1)

    def forward() -> torch.Tensor:
        logits = decoder(input_ids=inputs, encoder_hidden_states=text, use_cache=False).logits
        return _loss(logits.unflatten(0, (-1, CODEBOOKS)), sequence[:, :, 1:], config.special_token)

    return _step(decoder, optimiser, forward, codes.device, precision)


def theirs_audiocraft(config: LMConfig, codes: torch.Tensor, text: torch.Tensor, precision: torch.dtype) -> Step:
    """audiocraft's LMModel with its own pattern code and loss; ImportError where it is not installed."""
    from audiocraft.models.lm import LMModel
    from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
    from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider

    lm = LMModel(
        pattern_provider=DelayedPatternProvider(CODEBOOKS, delays=list(range(CODEBOOKS))),
        condition_provider=ConditioningProvider({}),
        fuser=ConditionFuser({"cross": ["description"], "sum": [], "prepend": [], "input_interpolate": []}),
        n_q=CODEBOOKS, card=config.codebook_size, dim=config.dim, num_heads=config.num_heads, hidden_scale=4,
        norm="layer_norm", norm_first=True, bias_proj=False, weight_init="gaussian", depthwise_init="current",
        zero_bias_init=True, causal=True, custom=False, memory_efficient=True, cross_attention=True,
        num_layers=config.num_layers, dropout=0.0, activation="gelu", bias_ff=False, bias_attn=False, device=codes.device,
    )  # fmt: skip
    lm.to(codes.device).train()
    optimiser = torch.optim.AdamW(lm.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    mask = torch.ones(text.shape[:2], dtype=torch.bool, device=codes.device)

    def forward() -> torch.Tensor:
        output = lm.compute_predictions(codes, [], condition_tensors={"description": (text, mask)})
        targets = codes.masked_fill(~output.mask, _IGNORED)
        return F.cross_entropy(output.logits.flatten(0, 2).float(), targets.flatten(), ignore_index=_IGNORED)

    return _step(lm, optimiser, forward, codes.device, precision)


SYSTEMS = {"transformers": theirs_transformers, "audiocraft": theirs_audiocraft}


def _loss(logits: torch.Tensor, targets: torch.Tensor, special: int) -> torch.Tensor:
    targets = targets.masked_fill(targets == special, _IGNORED)
    return F.cross_entropy(logits.flatten(0, 2).float(), targets.flatten(), ignore_index=_IGNORED)


def _step(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    forward: Callable[[], torch.Tensor],
    device: torch.device,
    precision: torch.dtype,
) -> Step:
    def step() -> float:
        began = time.perf_counter()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    return step


def operations(config: LMConfig, batch: int, steps: int) -> float:
    """Of one training step: 6 a weight and position, and the attention's products, 12 S D a layer and position, halved
    since it is causal."""
    weights = config.num_layers * (4 + 4 + 8) * config.dim**2 + CODEBOOKS * config.codebook_size * config.dim
    return batch * steps * (6 * weights + 6 * config.num_layers * steps * config.dim)


def peak(device: torch.device, precision: torch.dtype) -> float:
    """Operations a second of a large matrix product, the best of several."""
    size = 8192 if device.type == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device, dtype=precision) for _ in range(2))
    best = 0.0
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(4):
            one @ other
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - began))
    return best


def measure(shape: str, batch: int, seconds: float, precision: str, against: list[str], rounds: int) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = getattr(torch, precision)
    dim, heads, layers, entries = SHAPES[shape]
    config = LMConfig(dim, heads, layers, CODEBOOKS, entries)
    torch.manual_seed(0)
    codes = torch.randint(0, entries, (batch, CODEBOOKS, round(seconds * 50)), device=device)
    text = torch.randn(batch, TEXT_LENGTH, dim, device=device)
    systems = {"ours": ours(config, codes, text, kind)}
    missing = {}
    for name in against:
        try:
            systems[name] = SYSTEMS[name](config, codes, text, kind)
        except ImportError as error:
            missing[name] = str(error)
    for step in systems.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in tqdm(range(rounds), desc="rounds"):
        for name, step in systems.items():
            times[name].append(step())
    steps = codes.shape[2] + CODEBOOKS - 1
    work, best = operations(config, batch, steps), peak(device, kind)
    rows = {}
    for name, taken in times.items():
        median = statistics.median(taken)
        rows[name] = {
            "seconds_per_step": median,
            "codes_per_second": codes.numel() / median,
            "share_of_peak": work / median / best,
            "n": len(taken),
        }
    return {
        "command": store.command("training"),
        "machine": machine.describe(device.type, torch.get_num_threads()),
        "shape": shape, "precision": precision, "batch": batch, "seconds": seconds,
        "operations_per_step": work, "measured_peak": best, "systems": rows, "not_installed": missing,
        "ratios": {name: rows[name]["seconds_per_step"] / rows["ours"]["seconds_per_step"] for name in rows if name != "ours"},
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--shape", choices=list(SHAPES), default="mini")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a training example (default 10)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--against", default="transformers,audiocraft", help="peers, with commas between")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args()
    against = [name for name in options.against.split(",") if name]
    unknown = [name for name in against if name not in SYSTEMS]
    if unknown:
        parser.error(f"--against {unknown[0]}: one of {', '.join(SYSTEMS)}")
    results = measure(options.shape, options.batch, options.seconds, options.precision, against, options.rounds)
    store.publish(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
