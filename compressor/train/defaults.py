"""How a network is trained where the user does not say: by what it is made of.

Convolutional networks take SGD at a large rate once BatchNormalization, which exporters fold away, is put back;
networks of matrix products, transformers above all, take AdamW at a small one. Both were chosen by measurement, see
docs/fine-tuning.md. What a user gave is never changed.
"""

from __future__ import annotations

from typing import Any, TypeVar

import onnx_ir as ir

from compressor.config import TuneSettings
from compressor.config.training import LEARNING_RATES, RATE_WITH_NORMS
from compressor.train.reparameterize.batchnorm import takes_batchnorm

S = TypeVar("S", bound=TuneSettings)


def training_defaults(settings: S, model: ir.Model) -> S:
    """The settings with optimiser, learning rate and BatchNormalization chosen for ``model``, where not given.

    Args:
        settings: of which fields that were set stay.
        model: that will be trained; not changed.
    """
    chosen: dict[str, Any] = {}
    if not settings.given("optimiser") and not is_convolutional(model):
        chosen["optimiser"] = "adamw"
    optimiser = chosen.get("optimiser", settings.optimiser)
    if not settings.given("insert_bn") and optimiser == "sgd" and not settings.train_bn:
        chosen["insert_bn"] = takes_batchnorm(model)
    if not settings.given("learning_rate"):
        norms = chosen.get("insert_bn", settings.insert_bn)
        # The larger rate needs the norms that are put in.
        chosen["learning_rate"] = RATE_WITH_NORMS if optimiser == "sgd" and norms else LEARNING_RATES[optimiser]
    return settings.model_copy(update=chosen)


def is_convolutional(model: ir.Model) -> bool:
    """Whether at least half of the weights of linear layers are kernels, of three axes or more, by number of weights.

    Counting numbers in them would make a convolutional network with one wide classifier a transformer.
    """
    ranks = [
        len(value.shape)
        for value in model.graph.initializers.values()
        # Integer tables and shapes are no layers.
        if value.shape is not None and value.dtype is not None and value.dtype.is_floating_point()
    ]
    # Counted by number of weights and not of elements, see above; vectors (biases, norms) say nothing of the kind.
    kernels, matrices = sum(rank > 2 for rank in ranks), sum(rank == 2 for rank in ranks)
    return kernels > 0 and kernels >= matrices
