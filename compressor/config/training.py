"""Settings of training: what is minimised, by which steps, and where that runs."""

import re
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from compressor.config.section import Applies, Operational, Section, Shown
from compressor.core.notation import parse_texts
from compressor.errors import UsageError

TOWARDS_A_SET = MappingProxyType({"sweep": False, "ema": 0.0, "mean_weights": 0.0, "patience": 0})
"""What training towards a set of weights goes without: the last weights are near it, and no mean of them is."""
LEARNING_RATES = MappingProxyType({"sgd": 0.01, "adamw": 3e-4})
"""Default learning rate of each optimiser."""
RATE_WITH_NORMS = 0.05
"""The same of SGD where BatchNormalization is put in, which brings all filters to the norm of fresh ones."""
LOSSES = ("distill", "cross-entropy", "mixed")
FormKind = Literal["kl", "mse", "none"]
"""How an output is compared: by the divergence of Kullback and Leibler, by the squared difference, or not at all."""


def _loss(value: object) -> object:
    text = str(value)
    module, colon, name = text.partition(":")
    # Whether the function can be imported is found out when the run starts, not by every reading of settings.
    if text in LOSSES or (colon and module and name.isidentifier()):
        return text
    raise ValueError(f"{text!r} is not a loss ({', '.join(LOSSES)} or package.module:callable)")


def _forms(value: object) -> object:
    """``("logits=kl", "mask=kl:-1")`` as a dictionary; dictionaries pass."""
    if isinstance(value, dict):
        pairs = [(str(name), str(form)) for name, form in value.items()]
    else:
        pairs = [(name, form) for name, _, form in (str(item).rpartition("=") for item in _listed(value))]
    for name, form in pairs:
        # Names of outputs may hold an equals sign, so the last one parts name and form; axes stand behind a colon.
        kind, colon, axis = form.partition(":")
        wrong = kind not in get_args(FormKind) or (colon and (kind != "kl" or not axis.lstrip("-").isdigit()))
        if not name or wrong:
            raise ValueError(
                f"{name}={form} is no form of an output; write NAME=kl, NAME=kl:AXIS, NAME=mse or NAME=none"
            )
    return dict(pairs)


def _device(value: str) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        return value
    raise ValueError(f"{value!r} is no device (auto, cpu, cuda or cuda:N)")


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _sgd() -> Literal["sgd"]:
    """What stands here until the graph is known: see :mod:`compressor.train.defaults`."""
    return "sgd"


def _never() -> bool:
    """What stands for ``insert_bn`` until the graph is known: see :mod:`compressor.train.defaults`."""
    return False


def _default_rate(values: dict[str, Any]) -> float:
    return LEARNING_RATES[values.get("optimiser", "sgd")]


NEEDS_TEACHER = "distillation needs the original model; give it with --teacher, or choose another --loss"
"""What is said of a loss that compares with an original that is not given."""


class LossSection(Section):
    """What is minimised."""

    title: ClassVar[str] = "Training: loss"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(("alpha",), lambda s: s.loss == "mixed", "the loss is not mixed; say --loss mixed"),
        Applies(
            ("temperature",),
            lambda s: s.loss in ("distill", "mixed"),
            "scores of the original are not imitated; say --loss distill or mixed",
        ),
        Applies(
            ("feature_weight",), lambda s: s.features, "no intermediate values are matched; name some with --features"
        ),
    )

    loss: Annotated[str, BeforeValidator(_loss), Shown("NAME")] = Field(
        default="distill",
        description="What is minimised: distill, the distance to the original model, which needs no labels; "
        "cross-entropy with labels; mixed, both; or package.module:callable.",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="Temperature at which class scores are compared with the original's."
    )
    teacher_ensemble: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Imitate the mean of N networks drawn around the original's weights, which train on labels for one "
        "more epoch first; 0 imitates the original.",
    )
    alpha: float = Field(default=0.5, ge=0, le=1, description="Share of distillation in the mixed loss.")
    features: Annotated[tuple[str, ...], BeforeValidator(parse_texts), Shown("VALUE")] = Field(
        default=(), description="Intermediate value, by its name in the graph, to be matched too; repeatable."
    )
    feature_weight: float = Field(default=1.0, ge=0, description="Weight of matched intermediate values in the loss.")
    output_form: Annotated[dict[str, str], BeforeValidator(_forms), Shown("NAME=FORM")] = Field(
        default={},
        description="How an output is compared: NAME=kl (class scores on axis 1), NAME=kl:AXIS, NAME=mse or NAME=none; "
        "repeatable. Decided from its values where not given.",
    )


def demand_teacher(settings: LossSection, *, given: bool) -> None:
    """Raises UsageError where training would imitate an original that was not ``given``."""
    if not given and settings.loss in ("distill", "mixed"):
        raise UsageError(NEEDS_TEACHER)
    if not given and settings.features:
        raise UsageError("--features matches values of the original model; give it with --teacher")


class StepsSection(Section):
    """The optimiser, its schedule, and what happens to weights meanwhile."""

    title: ClassVar[str] = "Training: steps"
    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(("momentum",), lambda s: s.optimiser == "sgd", "AdamW has none; say --optimiser sgd"),
    )

    epochs: int = Field(default=10, ge=1, description="Passes over the training samples.")
    optimiser: Literal["sgd", "adamw"] = Field(
        default_factory=_sgd,
        description="SGD with Nesterov momentum, or AdamW. Default: sgd for convolutional networks, adamw for others.",
    )
    learning_rate: float = Field(
        default_factory=_default_rate,
        gt=0,
        description="Highest learning rate. Default: "
        + ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())
        + f", {RATE_WITH_NORMS:g} for sgd with BatchNormalization put in.",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of SGD.")
    weight_decay: float = Field(
        default=1e-4, ge=0, description="Weight decay of matrices and kernels; biases and norms have none."
    )
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="Share of all steps in which the learning rate rises from zero."
    )
    final_rate: float = Field(
        default=0.01, ge=0, le=1, description="Share of the learning rate that is left at the end of the cosine."
    )
    clip_norm: float = Field(
        default=1.0, ge=0, description="Largest norm of the gradient of all parameters together; 0 turns clipping off."
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay of a running mean of the weights, which is kept instead of the last.",
    )
    patience: int = Field(default=0, ge=0, description="Stop after N epochs without a better one; 0 never does.")
    train_bn: bool = Field(
        default=False, description="Let BatchNormalization use and update the statistics of the batch."
    )
    insert_bn: bool = Field(
        default_factory=_never,
        description="Put BatchNormalization, which exporters fold away, behind every layer while training lasts. "
        "Default: where SGD trains, and batches can be of any size.",
    )
    expand: float = Field(
        default=0.0,
        ge=0,
        le=16,
        description="Train kernels as products of N times as many channels, merged at the end; 0 does not.",
    )
    mean_weights: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Keep the mean of the weights over this last share of all steps; 0 does not.",
    )
    sweep: bool = Field(
        default=False, description="Try several learning rates for an epoch each, and train with the best."
    )


TRAINED = (*LossSection.own_fields(), *StepsSection.own_fields(), "resume", "metrics")
"""Settings that say nothing where nothing is trained. Where training would run is none of them: scripts say that of
every run, and it contradicts nothing."""


class TrainingSection(Section):
    """Where training runs, and what it leaves behind."""

    title: ClassVar[str] = "Training: running"

    device: Annotated[str, AfterValidator(_device), Shown("NAME")] = Field(
        default="auto", description="Where training runs: auto, cpu, cuda or cuda:N."
    )
    amp: Literal["auto", "off", "bf16"] = Field(
        default="auto", description="Mixed precision: auto uses it on CUDA, bf16 on the CPU too."
    )
    compile: bool = Field(default=False, description="Compile the module with torch.compile first.")
    checkpoint: Annotated[Path | None, Shown("FOLDER"), Operational()] = Field(
        default=None,
        description="Folder of the checkpoint. Default: beside the output, removed when the run ends well.",
    )
    keep_checkpoint: Annotated[bool, Operational()] = Field(
        default=False, description="Leave the checkpoint when the run ends well."
    )
    resume: Annotated[bool, Operational()] = Field(default=False, description="Continue from the checkpoint.")
    metrics: Annotated[Path | None, Shown("PATH"), Operational()] = Field(
        default=None, description="Write one line of JSON for every epoch and report of progress."
    )
