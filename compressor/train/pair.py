"""The module that is trained and the one that it imitates, made of two models that have to go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch

from compressor.config import TuneSettings
from compressor.config.training import demand_teacher
from compressor.data.output_forms import vocabularies
from compressor.errors import UsageError
from compressor.graph.form.upcast import is_narrow, widened
from compressor.graph.sizes.batch_limit import batch_limit
from compressor.pruning.proofs.graphs.interface_match import demand_teachable
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.intermediate_outputs import with_outputs


@dataclass(frozen=True)
class TaughtPair:
    """The module that is trained and the one it imitates.

    Attributes:
        module: is trained.
        teacher: is imitated; None where nothing is.
        names: of the model's own outputs, after which come values asked for by name.
        limit: samples that the file says it takes at a time.
        vocabularies: lengths of the tables that the model looks whole numbers up in.
    """

    module: GraphModule
    teacher: torch.nn.Module | None
    names: tuple[str, ...]
    limit: int | None
    vocabularies: frozenset[int]

    @staticmethod
    def of(model: ir.Model, settings: TuneSettings, teacher: ir.Model | None, values: Sequence[str] = ()) -> TaughtPair:
        """Both modules, in float32 or wider; the original only where something is compared with it.

        The trained one gives ``values`` too, after what is compared.
        """
        demand_teacher(settings, given=teacher is not None)
        # Cross-entropy compares with labels alone; building the original would only take memory.
        if teacher is not None:
            demand_teachable(model, teacher, ("the model", "the teacher"))
        imitated = settings.loss != "cross-entropy" or settings.features
        made = _module(model, [*settings.features, *values], settings.train_bn)
        # The original never updates statistics, whatever the settings say: it is what is imitated.
        original = _module(teacher, settings.features, False) if teacher is not None and imitated else None
        names = tuple(str(v.name) for v in model.graph.outputs)
        return TaughtPair(made, original, names, _limit(model, teacher), frozenset(vocabularies(model)))


def _limit(model: ir.Model, teacher: ir.Model | None) -> int | None:
    """Samples that either file says it takes at a time."""
    own = batch_limit(model)
    other = batch_limit(teacher) if teacher is not None else None
    if own is not None and other is not None and own != other:
        raise UsageError(
            f"the model takes {own} samples at a time and the original {other}; export both with the same batch size"
        )
    return own if own is not None else other


def _module(model: ir.Model, values: Sequence[str], train_bn: bool) -> GraphModule:
    wide = widened(model) if is_narrow(model) else model
    return GraphModule(with_outputs(wide, values), train_bn=train_bn)
