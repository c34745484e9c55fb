"""A model ready to be cut: normalised, shapes bound, simplified, small constants unshared, channels coupled."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compressor.channels.coupling import Coupling, Policy
from compressor.config import PruneSettings, RunSettings
from compressor.errors import ModelError
from compressor.graph import clean
from compressor.graph.normalise import normalise, unshare
from compressor.graph.restore_packed import plain
from compressor.graph.shapes import Shapes, infer
from compressor.operators.table import RULES


@dataclass(frozen=True)
class Analysis:
    """What is known of a model before anything is chosen.

    Attributes:
        model: a copy of the user's model in normal form, which surgery may change.
        shapes: concrete shapes and static values.
        coupling: which channels live and die together.
        macs: multiply-accumulates of the original at the bound shapes.
    """

    model: ir.Model
    shapes: Shapes
    coupling: Coupling


def prepare(source: ir.Model, settings: RunSettings) -> tuple[ir.Model, Shapes]:
    """A normalised copy of ``source`` and its shapes; simplified if the settings say so."""
    try:
        copy = source.clone()
    except RuntimeError:
        raise ModelError("the nodes of the model are not in topological order; call model.graph.sort() first") from None
    model = normalise(copy)
    shapes = infer(model, settings.input_shapes, settings.dims)
    if settings.simplify:
        clean.simplify(model, shapes)
    else:
        clean.remove_dead(model)
    return model, shapes


def analyse(source: ir.Model, settings: RunSettings) -> Analysis:
    """Couples the channels of ``source``, which is not changed.

    Raises:
        ModelError: shapes do not fit; see :func:`compressor.graph.shapes.infer`.
    """
    model, shapes = prepare(plain(source), settings)
    unshare(model)
    policy = Policy()
    if isinstance(settings, PruneSettings):
        policy = Policy(heads=settings.attention == "heads", keep_norm_axes=settings.keep_norm_axes)
    coupling = Coupling(model.graph, shapes, RULES, policy).run()
    return Analysis(model, shapes, coupling)
