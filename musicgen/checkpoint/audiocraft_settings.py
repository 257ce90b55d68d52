"""The training configuration inside audiocraft's files, interpreted as audiocraft does.

A missing setting has the default of audiocraft's constructors. A setting that changes the computation is either supported or
refused with an error that names it: most of them cannot be seen in the tensors, so ignoring one would silently change the
music.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from musicgen import yaml_text
from musicgen.chroma import NUM_CHROMA, SAMPLE_RATE, WINDOW
from musicgen.errors import CheckpointError

MAGNET = "transformer_lm_magnet"
"""audiocraft's name of a language model that sees all frames."""
TEXT, MELODY = "description", "self_wav"
"""audiocraft's names of the two conditions."""

TRANSFORMER: dict[str, tuple[Any, Any]] = {
    "norm_first": (True, False), "bias_ff": (False, True), "bias_attn": (False, True), "bias_proj": (False, True),
    "norm": ("layer_norm", "layer_norm"), "positional_embedding": ("sin", "sin"), "positional_scale": (1, 1),
    "max_period": (10_000, 10_000), "xpos": (False, False), "causal": (True, False), "layer_scale": (None, None),
    "qk_layer_norm": (False, False), "qk_layer_norm_cross": (False, False), "past_context": (None, None),
    "kv_repeat": (1, 1), "two_step_cfg": (False, False),
}  # fmt: skip
"""Settings of the language model that the published models share and ours is built for -> what audiocraft takes in their
absence."""

MASKED = {"use_sampling": (True, True), "top_k": (0, 0), "anneal_temp": (True, True)}
"""The same of MAGNeT's decoding, under `generate.lm`."""
SPAN_ARRANGEMENTS = {"nonoverlap": "separate", "stride1": "overlapping"}
SPAN_SCORES = {"max": "max", "prod": "product"}
"""audiocraft's names of how MAGNeT's spans lie and are scored -> ours."""

_OTHERS = {
    "fuser.cross_attention_pos_emb": (False, False), "fuser.sum": ([], []), "fuser.input_interpolate": ([], []),
    "fuser.ignore": ([], []), "interleave_stereo_codebooks.per_timestep": (False, False),
}  # fmt: skip
_T5 = {"finetune": (False, None), "normalize_text": (False, False)}
_STYLE = {"model_name": ("mert", None), "batch_norm": (True, True), "use_middle_of_segment": (False, False)}
_CHROMA = {
    "sample_rate": (SAMPLE_RATE, None), "n_chroma": (NUM_CHROMA, None), "radix2_exp": (WINDOW.bit_length() - 1, None),
    "argmax": (True, False),
}  # fmt: skip
_ENCODEC = {
    "encodec.autoencoder": ("seanet", None), "encodec.quantizer": ("rvq", None), "encodec.renormalize": (False, False),
    "seanet.activation": ("ELU", "ELU"), "seanet.activation_params": ({"alpha": 1.0}, {"alpha": 1.0}),
    "seanet.norm_params": ({}, {}), "seanet.disable_norm_outer_blocks": (0, 0), "seanet.encoder": ({}, {}),
    "seanet.decoder.final_activation": (None, None),
}  # fmt: skip

_ABSENT = object()


class AudiocraftSettings:
    """A configuration's values by dotted path."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.values = values
        self.source = source

    @classmethod
    def of(cls, package: Mapping[str, Any], source: str) -> AudiocraftSettings:
        """The configuration of a file's content."""
        text = package.get("xp.cfg")
        try:
            values = yaml_text.parse(text) if isinstance(text, str) else text
        except yaml.YAMLError as error:
            raise CheckpointError(
                f"{source}: the configuration inside (xp.cfg) is damaged YAML ({' '.join(str(error).split())})"
            ) from error
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{source}: the configuration inside (xp.cfg) is no list of settings")
        return cls(values, source)

    def at(self, path: str, default: Any = _ABSENT) -> Any:
        """The setting at a dotted path; a value `${other.path}` stands for the one at that path."""
        return self._at(path, default, 8)

    def _at(self, path: str, default: Any, depth: int) -> Any:
        value: Any = self.values
        for part in path.split("."):
            if not isinstance(value, Mapping) or part not in value:
                if default is _ABSENT:
                    raise CheckpointError(f"{self.source}: the configuration inside has no setting {path!r}")
                return default
            value = value[part]
        reference = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
        if reference and not depth:
            raise CheckpointError(f"{self.source}: the setting {path!r} stands for itself ({value})")
        return self._at(reference[1], default, depth - 1) if reference else value

    def part(self, path: str) -> Mapping[str, Any]:
        """The settings below a path; none where there is nothing."""
        value = self.at(path, None)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{self.source}: {path} is {value!r}: settings are expected there")
        return value

    def demand(self, below: str, table: Mapping[str, tuple[Any, Any]]) -> None:
        """Refuse the first setting that is not the one that is supported."""
        for name, (supported, default) in table.items():
            path = f"{below}{name}"
            value = self.at(path, default)
            if value != supported:
                absent = ", which audiocraft takes where it is absent" if self.at(path, None) is None else ""
                raise CheckpointError(f"{self.source}: {path} is {value!r}{absent}: only {supported!r} is supported")


_KINDS: dict[tuple[str, str], Mapping[str, tuple[Any, Any]]] = {
    (TEXT, "t5"): _T5, (MELODY, "chroma_stem"): _CHROMA, (MELODY, "style"): _STYLE,
}  # fmt: skip
"""The conditions that can be followed and the kinds of their conditioners -> what these must be set to."""


def conditions(settings: AudiocraftSettings) -> dict[str, str]:
    """The names of a language model's conditions and their kinds, of those that are known here; what else it asks for is
    refused."""
    found = {
        name: str(settings.at(f"conditioners.{name}.model")) for name in settings.part("conditioners") if name != "args"
    }
    for name, kind in found.items():
        if (name, kind) not in _KINDS:
            raise CheckpointError(
                f"{settings.source}: the condition {name!r} is of the kind {kind!r}: only {TEXT} by t5 and {MELODY} by "
                "chroma_stem or style are supported in this layout"
            )
        settings.demand(f"conditioners.{name}.{kind}.", _KINDS[name, kind])
    settings.demand("", _OTHERS)
    cross, prepend = (settings.at(f"fuser.{way}", None) or [] for way in ("cross", "prepend"))
    if sorted([*cross, *prepend]) != sorted(found) or cross not in ([], [TEXT]) or (cross and prepend):
        raise CheckpointError(
            f"{settings.source}: fuser.cross is {cross} and fuser.prepend {prepend} for the conditions {list(found)}: only the "
            "text by cross-attention, or text and melody as a prefix, are supported"
        )
    if settings.at("transformer_lm.cross_attention", False) and not cross:
        raise CheckpointError(f"{settings.source}: transformer_lm.cross_attention is True and fuser.cross is empty")
    return found


def check_kind(settings: AudiocraftSettings) -> None:
    """Refuse the models of audiocraft that are no MusicGen, by their names."""
    solver, lm = settings.at("solver", None), settings.at("lm_model", "transformer_lm")
    kinds = {
        "compression": "an audio tokeniser, not a language model",
        "diffusion": "a diffusion decoder", "watermarking": "a watermarking model", "jasco": "a JASCO model",
    }  # fmt: skip
    if lm == "flow_matching":
        kind = kinds["jasco"]
    elif "transformer_lm" not in settings.values and "compression_model" in settings.values:
        kind = kinds["compression"]
    elif solver in kinds:
        kind = kinds[solver]
    elif lm not in ("transformer_lm", MAGNET):
        kind = f"a language model of the kind {lm!r}"
    else:
        return
    raise CheckpointError(
        f"{settings.source}: {kind}: only MusicGen, MusicGen-Style, AudioGen and MAGNeT models are supported"
    )


def check_encodec(settings: AudiocraftSettings) -> None:
    """Refuse a tokeniser that transformers' EnCodec cannot follow."""
    settings.demand("", {"compression_model": ("encodec", None)} | _ENCODEC)
    known = {"trim_right_ratio", "final_activation", "final_activation_params"}
    other = sorted(set(settings.part("seanet.decoder")) - known)
    if other:
        raise CheckpointError(f"{settings.source}: seanet.decoder.{other[0]} is not supported")
