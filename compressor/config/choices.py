"""The tables of what users choose by name. To add one: a class or record in a file of its own, and a line here.

Distributions of others add names by entry points in the groups that are named here.
"""

from __future__ import annotations

from compressor.core.choices import Choices
from compressor.core.default_metric import DEFAULT_METRIC

_CRITERIA = "compressor.pruning.criteria"
CRITERIA = Choices(
    "criterion",
    {
        "l1": f"{_CRITERIA}.norms:L1",
        "l2": f"{_CRITERIA}.norms:L2",
        "consumers": f"{_CRITERIA}.norms:Consumers",
        "dependency": f"{_CRITERIA}.norms:Dependency",
        "product": f"{_CRITERIA}.norms:Product",
        "fpgm": f"{_CRITERIA}.redundancy:GeometricMedian",
        "lamp": f"{_CRITERIA}.norms:Lamp",
        "taylor": f"{_CRITERIA}.measured:TAYLOR",
        "fisher": f"{_CRITERIA}.measured:FISHER",
        "hessian": f"{_CRITERIA}.measured:HESSIAN",
        "snip": f"{_CRITERIA}.measured:SNIP",
        "grasp": f"{_CRITERIA}.measured:GRASP",
        "synflow": f"{_CRITERIA}.measured:SYNFLOW",
        "activation": f"{_CRITERIA}.measured:ACTIVATION",
        "wanda": f"{_CRITERIA}.measured:WANDA",
        "pfp": f"{_CRITERIA}.measured:PFP",
        "chip": f"{_CRITERIA}.measured:CHIP",
        "random": f"{_CRITERIA}.random:Random",
    },
    group="onnx_compressor.criteria",
)
"""What makes a channel important: a :class:`compressor.pruning.criteria.base.Criterion`, or a class or function without
arguments that makes one."""

RECOVERIES = Choices(
    "recovery",
    {"bias": "compressor.reconstruct.bias:BiasCorrection", "lstsq": "compressor.reconstruct.lstsq:LeastSquares"},
    group="onnx_compressor.recoveries",
)
"""What restores accuracy without training: a :class:`compressor.reconstruct.fit.RecoveryMethod`."""

_METRICS = "compressor.metrics"
METRICS = Choices(
    "metric",
    {
        DEFAULT_METRIC: f"{_METRICS}.classes:Top1",
        "top-5": f"{_METRICS}.classes:Top5",
        "miou": f"{_METRICS}.overlap:MeanIou",
        "map": f"{_METRICS}.average_precision:AveragePrecision",
        "map50": f"{_METRICS}.average_precision:AveragePrecision50",
        "perplexity": f"{_METRICS}.perplexity:Perplexity",
        "cosine": f"{_METRICS}.numbers:Cosine",
        "rmse": f"{_METRICS}.numbers:Rmse",
    },
    group="onnx_compressor.metrics",
)
"""What a model is judged by: a class of :class:`compressor.metrics.metric.Metric`."""
_STRUCTURES = "compressor.structures"
STRUCTURES = Choices(
    "structure",
    {
        "channels": f"{_STRUCTURES}.masks.structure:CHANNELS",
        "lowrank": f"{_STRUCTURES}.masks.structure:LOWRANK",
        "both": f"{_STRUCTURES}.masks.structure:BOTH",
        "groups": f"{_STRUCTURES}.masks.groups:GROUPS",
        "graph": f"{_STRUCTURES}.masks.graph:GRAPH",
        "supports": f"{_STRUCTURES}.masks.supports:SUPPORTS",
        "nm": f"{_STRUCTURES}.masks.nm:NM",
        "interspace": f"{_STRUCTURES}.interspace.coefficients:INTERSPACE",
        "interspace-columns": f"{_STRUCTURES}.interspace.coefficients:COLUMNS",
    },
    group="onnx_compressor.structures",
)
"""What a budget is taken from: a :class:`compressor.structures.masks.structure.Structure`."""

_METHODS = "compressor.unification.methods"
# Only those that bring weights near; one-shot and retrain need no method of training.
METHODS = Choices(
    "method",
    {name: f"{_METHODS}:{name}" for name in ("admm", "iss", "envelope", "ste")},
    group="onnx_compressor.methods",
)
"""How training brings weights to blocks of one absolute value: ``(settings, targets) -> Approach``."""

_REGULARIZERS = "compressor.train.regularizers"
REGULARIZERS = Choices(
    "regularizer",
    {
        "dependency": f"{_REGULARIZERS}.dependency:DEPENDENCY",
        "dependency-l2": f"{_REGULARIZERS}.dependency:DEPENDENCY_L2",
        "group": f"{_REGULARIZERS}.group_sparsity:GROUP",
        "feature-flow": f"{_REGULARIZERS}.feature_flow:FLOW",
        "feature-flow-angle": f"{_REGULARIZERS}.feature_flow:FLOW_ANGLE",
        "iss": f"{_REGULARIZERS}.shrinking:ISS",
        "envelope": f"{_REGULARIZERS}.shrinking:ENVELOPE",
        "admm": f"{_REGULARIZERS}.channel_admm:ADMM",
        "decay": f"{_REGULARIZERS}.decay:DECAY",
        "tpp": f"{_REGULARIZERS}.trainability_preserving:TPP",
    },
    group="onnx_compressor.regularizers",
)
"""How training makes channels dispensable before they are cut: a
:class:`compressor.train.regularizers.regularizer.RegularizerRow`."""

_CORRUPTIONS = "compressor.data.corruptions"
CORRUPTIONS = Choices(
    "corruption",
    {
        "gaussian-noise": f"{_CORRUPTIONS}:GAUSSIAN_NOISE",
        "impulse-noise": f"{_CORRUPTIONS}:IMPULSE_NOISE",
        "blur": f"{_CORRUPTIONS}:BLUR",
        "contrast": f"{_CORRUPTIONS}:CONTRAST",
        "brightness": f"{_CORRUPTIONS}:BRIGHTNESS",
        "jpeg": f"{_CORRUPTIONS}:JPEG",
    },
)
"""How images are damaged: a :class:`compressor.data.corruptions.Corruption`."""

_STAGES = "compressor.recipe.stages"
STAGES = Choices(
    "stage",
    {
        "clean": f"{_STAGES}:CLEAN",
        "sparsify": f"{_STAGES}:SPARSIFY",
        "prune": f"{_STAGES}:PRUNE",
        "finetune": f"{_STAGES}:FINETUNE",
        "unify": f"{_STAGES}:UNIFY",
        "quantize": f"{_STAGES}:QUANTIZE",
        "verify": f"{_STAGES}:VERIFY",
        "bench": f"{_STAGES}:BENCH",
    },
    group="onnx_compressor.stages",
)
"""Kinds of a recipe's stages: a :class:`compressor.recipe.stages.Stage`."""
