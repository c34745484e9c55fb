"""Operators through which no channel flows: what they read stays whole. What else is known of them stands here.

Optional values, random numbers, losses, signals, and operators that nobody has written a signature for yet.
"""

from __future__ import annotations

from compressor.graph.ir.randomness import RANDOM
from compressor.operators.facts import FUSION, Host, Normalises
from compressor.operators.operator import Operator


def _plain(*names: str) -> tuple[Operator, ...]:
    return tuple(Operator(name) for name in names)


OPERATORS = (
    # optional values, and sequences of which no element is known
    *(Operator(name, sequence=True) for name in ("Optional", "SequenceMap")),
    *_plain("OptionalGetElement", "OptionalHasElement"),
    # made of numbers
    *_plain("Constant"),
    Operator("EyeLike", differentiable=False),
    Operator("OneHot", host=(1,), on_host=Host.GROWS, differentiable=False),
    Operator("Range", host=(0, 1, 2), on_host=Host.GROWS, differentiable=False),
    *(
        Operator(name, differentiable=False)
        for name in sorted(RANDOM - {"Dropout"})  # which hands on its input when it does not train
    ),
    # where something is
    Operator("NonMaxSuppression", host=(2, 3, 4), differentiable=False),
    Operator("NonZero", on_host=Host.ARITHMETIC, differentiable=False),
    *_plain("Unique"),
    # signals and images
    *(Operator(n, host=(0,), differentiable=False) for n in ("BlackmanWindow", "HammingWindow", "HannWindow")),
    Operator("AffineGrid", host=(1,)),
    Operator("MelWeightMatrix", host=tuple(range(5)), differentiable=False),
    *_plain("Det"),
    # losses
    *(Operator(name, settings=(2,)) for name in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")),
    # of language models
    *_plain("CausalConvWithState", "LinearAttention", "SwiGLU"),
    Operator(
        "SimplifiedLayerNormalization", scale=(1,), normalises=Normalises.ALL_TOGETHER, kernelless=FUSION
    ),
)  # fmt: skip
