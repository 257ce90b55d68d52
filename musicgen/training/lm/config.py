"""The recipe of a language model: every setting with its type, limits and documentation. Does not import PyTorch.

Defaults are the paper's (Copet et al. 2023, sections 3.1 and 3.2).
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from musicgen.errors import InputError
from musicgen.patterns import BY_NAME
from musicgen.training.schema import (
    STRICT,
    Flag,
    NonNegativeInt,
    Number,
    PositiveInt,
    Probability,
    between,
    build,
    one_of,
    plain,
)

Beta = Annotated[Number, Field(ge=0, lt=1)]
PatternName = Annotated[str, one_of(BY_NAME)]


@dataclass(frozen=True, config=STRICT)
class Initialization:
    """Initial weights: new ones, or those of a model to fine-tune."""

    model: str = ""
    """A model to fine-tune: embedded name, hub name or folder. Empty: new weights, in the shape of `shape`."""
    stereo: Flag = False
    """Convert the mono model `model` to stereo: embedding table and head of every codebook are copied for left and
    right."""
    melody: Flag = False
    """Convert the text model `model` to a melody model: its cross-attention is removed, and its conditions become a
    prefix."""
    align: Flag = False
    """With `melody`: initialise one attention head in each of the first two layers so that it attends to the melody frame
    of the current step. Needs `text.length`."""
    text: Flag = False
    """Train the text encoder too, for small encoders that were trained with their model; T5 itself should stay frozen."""
    pattern: Annotated[str, one_of(("", *BY_NAME))] = ""
    """The codebook pattern to train `model` further with, by the paper's name, instead of its own."""
    tables: str = ""
    """A model whose embedding tables and heads initialise those of the new model (same width, same tokeniser). All
    other weights are new, and the pattern is the recipe's own."""
    lora_rank: NonNegativeInt = 0
    """Rank of low-rank adapters (LoRA, Hu et al. 2021), which are trained instead of the language model; 0 for none."""
    lora_alpha: Annotated[Number, between(1e-3, 1e6)] = 16.0
    """The output of the adapters is scaled by alpha / rank."""

    def __post_init__(self) -> None:
        if not self.model and (self.stereo or self.melody or self.text or self.lora_rank):
            raise InputError("start.stereo, melody, text and lora_rank change a model: name it in start.model")
        if self.align and not self.melody:
            raise InputError("start.align fits the heads of a new melody model: set start.melody, or leave it out")
        if self.pattern and not self.model:
            raise InputError("start.pattern is for start.model: a new model has shape.pattern")
        if self.model and self.tables:
            raise InputError("start.model brings its tables with it: leave start.tables out")


@dataclass(frozen=True, config=STRICT)
class Shape:
    """A new language model. Not used with `start.model`."""

    dim: PositiveInt = 1024
    """D."""
    num_heads: PositiveInt = 16
    num_layers: PositiveInt = 24
    ffn_dim: NonNegativeInt = 0
    """0: four times `dim`."""
    activation: Literal["gelu", "relu"] = "gelu"
    """gelu as in the published weights, relu as in the paper's text."""
    pattern: PatternName = "delay"
    """The paper's name of the codebook pattern (section 2.2); stereo models double the codebooks of the tokeniser."""
    melody: Flag = False
    """Melody and text as a prefix; otherwise the text is read by cross-attention."""
    stereo: Flag = False
    """Left and right are tokenised separately: twice the codebooks."""

    def __post_init__(self) -> None:
        if self.dim % (2 * self.num_heads):
            raise InputError(f"shape.dim is {self.dim}: it does not split into {self.num_heads} heads of an even size")


@dataclass(frozen=True, config=STRICT)
class NewText:
    """A small T5 encoder with its own vocabulary, both trained on the captions."""

    vocabulary: PositiveInt = 2000
    """Size of the byte pair encoding (Sennrich et al. 2016)."""
    dim: PositiveInt = 256
    num_heads: PositiveInt = 4
    num_layers: PositiveInt = 2
    ffn_dim: PositiveInt = 1024

    def __post_init__(self) -> None:
        if self.dim % self.num_heads:
            raise InputError(f"text.new.dim is {self.dim}: it does not split into {self.num_heads} heads")


@dataclass(frozen=True, config=STRICT)
class Clap:
    """CLAP embeddings instead of T5: of the audio of each crop in training, of the text at inference (table A.1)."""

    embedder: str = "laion_clap"
    """The registered name of the network (`musicgen.conditioners.joint_embedding`)."""
    normalise: Flag = True
    quantise: Flag = True
    """Residual vector quantisation, whose codebooks are fitted to the embeddings of the training music (k-means)."""
    num_quantisers: PositiveInt = 12
    num_entries: PositiveInt = 1024


@dataclass(frozen=True, config=STRICT)
class Text:
    """The text encoder and the augmentation of descriptions (section 3.1, table A.2)."""

    encoder: str = "t5-base"
    """A frozen T5 or FLAN-T5 encoder: hub name or folder. Not used with `start.model` or `text.new`."""
    new: NewText | None = None
    clap: Clap | None = None
    """Condition on CLAP instead. Training then needs no texts, and all settings of texts are ignored."""
    learn: Flag = True
    """Whether the encoder of `new` is trained; otherwise it keeps its random weights."""
    merge: Probability = 0.25
    """Condition merging: the probability that other fields (genre, bpm, key, instruments …) are merged into the
    description."""
    merge_field: Probability = 0.5
    """The probability of each field to be merged, when condition merging is applied; the order is random."""
    drop_description: Probability = 0.5
    """The probability that the description itself is dropped after merging."""
    drop_words: Probability = 0.3
    """The probability that word dropout is applied to a description."""
    word_share: Probability = 0.3
    """The share of words that word dropout removes."""
    normalise: Flag = False
    """Text normalisation: remove stop words, lemmatise the rest."""
    max_tokens: Annotated[NonNegativeInt, Field(ge=4)] = 256
    """Longer descriptions are truncated."""
    length: NonNegativeInt = 0
    """Melody models: pad shorter descriptions to this many tokens with zero vectors, so that the distance between music
    and melody does not depend on the text. The model then learns to follow the melody much sooner. 0: no padding, as in the
    published models."""

    def __post_init__(self) -> None:
        if self.clap is not None and (self.new is not None or self.length):
            raise InputError("text.clap takes the place of T5: leave text.new and text.length out")
        if self.length > self.max_tokens:
            raise InputError(f"text.length is {self.length}: it may be text.max_tokens ({self.max_tokens}) at most")
        if self.merge == 0 and self.drop_description not in (0, 0.5):
            raise InputError("text.drop_description does nothing while text.merge is 0: give merge a probability")


@dataclass(frozen=True, config=STRICT)
class Data:
    """The music, its tokens, and how crops are drawn."""

    path: str = ""
    """A manifest.jsonl with the field "path" on every line, or a folder of audio with a JSON or text file beside each clip or
    a metadata.csv. Needed once, to write the shards."""
    texts: Flag = True
    """Train on the clips' descriptions; music without descriptions is refused. False trains without text, also if there are
    descriptions."""
    tokens: str = ""
    """The folder of the WebDataset shards with the tokens, or its URL (anything fsspec opens); written from `path` when the
    folder is empty. Default: OUTPUT/tokens."""
    tokenizer: str = "facebook/encodec_32khz"
    """The audio tokeniser, hub name or folder. Not used with `start.model`."""
    seconds: Annotated[Number, between(0.5, 600.0)] = 30.0
    """Length of a training example, a random crop, and of the model's context."""
    begin: Literal["anywhere", "bars", "sections"] = "anywhere"
    """Where crops begin: "anywhere"; at "bars" (the metadata's "downbeats"), so that the position of a frame and the
    tempo determine its position in the bar; or at "sections", mostly on the tonic."""
    melody: Literal["", "mix", "separated"] = ""
    """The audio from which chroma is computed: "separated" (Demucs removes drums and bass, as in the paper) or "mix". Default:
    as in the melody model that is fine-tuned; "separated" for a new one."""
    chords: Probability = 0.0
    """The share of examples with a melody that are conditioned on all pitch classes of the chord ("chords" of the metadata)
    instead of the strongest one, so that the model follows chords and polyphonic MIDI."""
    fill_in_the_middle: Probability = 0.0
    """The share of examples in the order suffix, prefix, middle (Bavarian et al. 2022), so that the model learns to generate a
    span with what follows it in its context: `repaint` then makes use of that. Not for models that follow a condition over
    time."""
    lanes: PositiveInt = 8
    """Independent streams through the shards; row i of a batch comes from stream i modulo `lanes`. It must be a
    multiple of the number of processes and divide the batch, so that batches are the same for any number of
    processes."""
    workers: NonNegativeInt = 0
    """Processes that encode the audio, each with the tokeniser on the device; 0: this process."""
    validation: PositiveInt = 32
    """Clips held out, chosen by the seed; at most a tenth of all, and at least one."""


@dataclass(frozen=True, config=STRICT)
class Dropout:
    """Condition dropout for classifier-free guidance, as shares of the examples."""

    all: Probability = 0.2
    """Drop all conditions."""
    melody: Probability = 0.0
    """Drop the melody only, in addition."""


@dataclass(frozen=True, config=STRICT)
class NewConditioner:
    """A conditioner that is added to the model and trained with it."""

    kind: str
    """The registered name of its class."""
    config: dict[str, Any] = field(default_factory=dict)
    """The settings of its class."""
    fusion: Literal["prefix", "cross", "sum"] = "prefix"
    """prefix: vectors before the steps, in front of those of melody and text; cross: cross-attention; sum: one vector that is
    added to every step."""
    metadata: str = ""
    """The field of the clips' metadata with its value. Default: the name of the conditioner."""
    dropout: Probability = 0.0
    """The share of examples without this condition, in addition to `dropout.all`."""


@dataclass(frozen=True, config=STRICT)
class AuxiliaryLoss:
    """A loss on the hidden states of one layer, in training only."""

    weight: Annotated[Number, between(0.0, 100.0)] = 1.0
    """Its weight relative to the cross-entropy of the codes; 0 disables it."""
    layer: PositiveInt = 2
    """The layer whose output it reads, counted from 1."""


@dataclass(frozen=True, config=STRICT)
class AuxiliaryLosses:
    """Losses in addition to the cross-entropy of the codes, by their names in `auxiliary_losses.REGISTRY`; the exported model
    does not contain their heads."""

    beat_chord_key: AuxiliaryLoss | None = None
    """Predict the position in bar and beat, the chord and the key of every frame, which the clips' metadata must
    contain."""

    def active(self) -> dict[str, AuxiliaryLoss]:
        """Name -> options of the losses that are switched on."""
        return {name: options for name, options in vars(self).items() if options is not None and options.weight > 0}


@dataclass(frozen=True, config=STRICT)
class Optimisation:
    """Steps and the optimiser."""

    steps: PositiveInt = 1_000_000
    batch: PositiveInt = 192
    """Examples per step, over all processes."""
    micro_batch: NonNegativeInt = 0
    """Examples of one forward pass in one process (gradient accumulation): less memory, same gradients. 0: all of them."""
    optimiser: Literal["adamw", "dadaptation", "muon"] = "adamw"
    """adamw; dadaptation (Defazio and Mishchenko 2023), which finds the learning rate itself: set learning_rate 1; or muon
    (Jordan et al. 2024) for the layers' matrices beside AdamW for the rest, which learns in far fewer steps."""
    learning_rate: Annotated[Number, between(0.0, 10.0)] = 1e-4
    """The peak, after `warmup` steps; then cosine decay to `floor` times the peak."""
    warmup: NonNegativeInt = 4000
    """Steps."""
    floor: Probability = 0.0
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    weight_decay: Annotated[Number, between(0.0, 1.0)] = 0.1
    """Applied to matrices, not to vectors (norms and biases)."""
    clip: Annotated[Number, between(1e-6, 1e9)] = 1.0
    """Largest norm of the gradient."""
    average: Annotated[Number, between(0.0, 0.999999)] = 0.99
    """Decay of the moving average of the weights (EMA), which is validated and exported; 0 disables it."""
    codebooks: tuple[Annotated[Number, Field(gt=0)], ...] = ()
    """Weights of the codebooks in the loss; empty: equal ones."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """float32, bfloat16 or float16 (autocast; float16 scales the loss). auto is float16 on a GPU, as in the paper, and float32
    elsewhere."""
    compile: Flag = False
    """torch.compile: takes minutes at the start, makes steps faster."""
    checkpoint_layers: Flag = False
    """Activation checkpointing: recompute layers in the backward pass, a third more work and much less memory."""

    def __post_init__(self) -> None:
        if self.optimiser != "dadaptation" and self.learning_rate > 0.1:
            raise InputError(
                f"optimisation.learning_rate is {self.learning_rate:g}: that is meant for the optimiser dadaptation"
            )


@dataclass(frozen=True, config=STRICT)
class StepIntervals:
    """Intervals, in steps."""

    log: PositiveInt = 50
    """Between two readings of the losses, the only points where the host synchronises with the device."""
    validate: PositiveInt = 1000
    start: Flag = False
    """Also validate before the first step, as a baseline."""
    checkpoint: PositiveInt = 1000
    samples: PositiveInt = 10_000
    """Between two validations that write audio of a few held-out captions to TensorBoard and OUTPUT/samples."""
    keep: PositiveInt = 2
    """How many of the newest checkpoints are kept."""


@dataclass(frozen=True, config=STRICT)
class LMRecipe:
    """All of a training run."""

    start: Initialization = field(default_factory=Initialization)
    shape: Shape = field(default_factory=Shape)
    text: Text = field(default_factory=Text)
    data: Data = field(default_factory=Data)
    dropout: Dropout = field(default_factory=Dropout)
    conditioners: dict[str, NewConditioner] = field(default_factory=dict)
    """Further conditioners by name. Further conditioners of `start.model` are trained too, without being named here."""
    optimisation: Optimisation = field(default_factory=Optimisation)
    auxiliary_losses: AuxiliaryLosses = field(default_factory=AuxiliaryLosses)
    every: StepIntervals = field(default_factory=StepIntervals)
    seed: NonNegativeInt = 0
    guidance_scale: Annotated[Number, between(0.0, 100.0)] | None = None
    """The default guidance scale of the exported model; None: that of `start.model`, or the paper's 3."""
    export: Literal["float32", "float16", "adapter"] = "float32"
    """Type of the exported weights; "adapter" exports only the adapter of `start.lora_rank`, and no model."""

    def __post_init__(self) -> None:
        batch, lanes = self.optimisation.batch, self.data.lanes
        if batch % lanes:
            raise InputError(f"optimisation.batch is {batch}: data.lanes ({lanes}) must divide it")
        if not (self.data.path or self.data.tokens):
            raise InputError("data.path and data.tokens are both empty: name the music to train on")
        if self.start.model and self.text.clap is not None:
            raise InputError(
                "text.clap is for new models, and start.model brings its own text encoder: leave one of them out"
            )
        if self.start.model and self.text.new is not None:
            raise InputError("text.new makes a text encoder, and start.model brings its own: leave one of them out")
        if not self.data.texts and self.text.new is not None:
            raise InputError("text.new makes a text encoder of the clips' texts, which data.texts: false leaves out")
        if self.export == "adapter" and (not self.start.lora_rank or self.start.text or self.conditioners):
            raise InputError(
                "export is 'adapter': that needs start.lora_rank, and neither start.text nor conditioners, which adapters "
                "cannot hold"
            )
        if self.start.model and self.shape != Shape():
            raise InputError("start.model brings its shape with it: leave the section shape out")
        if self.text.length and not (self.shape.melody or self.start.melody):
            raise InputError("text.length is for a new melody model (shape.melody or start.melody): leave it out")
        timed = self.shape.melody or self.start.melody or bool(self.conditioners)
        if self.data.fill_in_the_middle and timed:
            raise InputError(
                "data.fill_in_the_middle changes the order of the frames, which a melody or a further conditioner would not "
                "follow: it is for models of text alone"
            )
        if self.start.align and not self.text.length:
            raise InputError("start.align needs music at a fixed distance from its melody: set text.length")
        if "stereo" in self.shape.pattern and not self.shape.stereo:
            raise InputError(f"shape.pattern is {self.shape.pattern!r}: that is for stereo, so set shape.stereo: true")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and checkpoints."""
        return {"kind": "lm"} | plain(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LMRecipe:
        """The inverse of `as_dict`; what is left out keeps its default. An unknown name is an error."""
        values = dict(values)
        if values.pop("kind", "lm") != "lm":
            raise InputError("this recipe is of another kind: a language model's says `kind: lm`")
        return build(cls, values)
