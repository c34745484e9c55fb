"""Chosen changes are made: layers fitted in the order of the graph, then written, beside a reference to hold them to.

The reference is the same graph with the same layers whole, their weights the products that the factors come to. So what
is proved is the writing; what the change does to outputs is measured, and is no matter of proof.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compressor.channels.channel_mask import ChannelMask
from compressor.config import RunSettings
from compressor.config.choices import RECOVERIES
from compressor.data import Dataset
from compressor.graph.form import clean
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.measured_shapes import shapes_of
from compressor.reconstruct import ReconstructOptions, recover
from compressor.reconstruct.form import OperandForm, Pick, Shape, Unrepairable
from compressor.reconstruct.layers import Kept, LayerPair, repairable_layers, untie_weights
from compressor.reconstruct.run import Fits
from compressor.reconstruct.task import LayerRepair
from compressor.structures.layer.change import LayerChange, Work, Written
from compressor.structures.layer.geometry import Geometry
from compressor.structures.masks.masked import MaskOption
from compressor.structures.reorder import reorder

NO_FACTORS = "its factors could not be fitted, so that it stays whole"


@dataclass(frozen=True)
class Calibration:
    """How layers are fitted.

    Attributes:
        data: samples; None: weights are taken as they are.
        method: a recovery, which repairs all other layers that see the change.
        options: of it.
        reorder: groups of channels may be reordered where masked layers then move fewer of them.
    """

    data: Dataset | None
    method: str
    options: ReconstructOptions
    reorder: bool = True


@dataclass(frozen=True)
class ChangedLayer:
    """One layer that was changed.

    Attributes:
        node: its name.
        words: what it became.
        before: sizes when it was changed.
        macs: multiply-accumulates of what it became.
        params: elements of its new weights.
        written: its new weights.
    """

    node: str
    words: str
    before: Geometry
    macs: float
    params: float
    written: Written

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of its new weights; none where the layer stays as it is, with zeros in its weight."""
        return self.written.weights

    @property
    def lowered(self) -> bool:
        """Is it written so that less is computed?"""
        return self.written.lowered


@dataclass(frozen=True)
class Changed:
    """A model in which layers were changed.

    Attributes:
        model: as it is written.
        reference: the graph with these layers whole.
        layers: those that were changed.
        repairs: what least squares did to every layer.
        skipped: node -> why it was left alone.
        sites: layers with their fitted work, from which the model is written.
        unordered: the reference before channels were reordered; None where none were.
    """

    model: ir.Model
    reference: ir.Model
    layers: tuple[ChangedLayer, ...]
    repairs: tuple[LayerRepair, ...]
    skipped: Mapping[str, str]
    sites: tuple[_Site, ...] = ()
    unordered: ir.Model | None = None

    @property
    def zeros(self) -> list[str]:
        """Names of the weights in which masks stay as zeros."""
        left = {row.node for row in self.layers if not row.weights}
        plain = [str(site.layer.weight.initializer.name) for site in self.sites if site.layer.name in left]
        return [*plain, *self.coefficients]

    @property
    def coefficients(self) -> list[str]:
        """Names of the coefficients of layers that are written by them."""
        return [name for row in self.layers for name in row.written.zeros]

    @property
    def bases(self) -> dict[str, str]:
        """Name of coefficients -> name of the basis that they are multiplied by."""
        return {name: basis for row in self.layers for name, basis in row.written.bases.items()}

    def lowering(self, nodes: Collection[str]) -> Changed:
        """The same with these layers alone written as something else; masks of the others stay as zeros."""
        model, rows = _written(self.reference, self.sites, nodes)
        return replace(self, model=model, layers=tuple(rows))


@dataclass(frozen=True)
class _Site:
    """A layer that is to be changed."""

    layer: LayerPair
    form: OperandForm
    size: Geometry
    outs: Pick
    change: LayerChange
    work: Work


def change_layers(
    small: ir.Model,
    dense: ir.Model,
    cut: ChannelMask,
    changes: Mapping[str, LayerChange],
    how: Calibration,
    settings: RunSettings,
) -> Changed:
    """Makes changes.

    Args:
        small: the model that channels were removed from, or a copy of the analysed one; becomes the reference.
        dense: the analysed model, from before the cut.
        cut: what was removed.
        changes: node -> what it becomes.
        how: samples and recovery.
        settings: sizes of inputs.

    Raises:
        UsageError: there is no data, or it lacks an input.
        ModelError: a net does not run on the data.
    """
    regress = RECOVERIES.find(how.method).regresses
    sites, skipped = _sites(small, dense, cut, changes, settings, regress=regress)
    repairs: tuple[LayerRepair, ...] = ()
    # Without samples weights are split as they are, and no other layer is repaired.
    if how.data is None:
        for site in sites:
            site.work.without_samples(site.form.matrix(site.layer.weight.read()))
    else:
        fits = Fits(how.method, {site.layer.name: site.work.fit for site in sites})
        done = recover(small, dense, cut, fits, how.data, how.options)
        repairs, skipped = done.layers, {**skipped, **done.skipped}
    # A fit may find no solution for a layer, which then stays whole.
    ready = [site for site in sites if site.work.ready]
    skipped |= {site.layer.name: NO_FACTORS for site in sites if not site.work.ready and site.layer.name not in skipped}
    for site in ready:
        weight = site.layer.weight
        # The reference gets the product of the factors as they are rounded, so that writing alone is what is
        # compared.
        weight.write(site.form.weight(site.work.product(weight.read().dtype)))
    before = small.clone()
    ordered = _in_order(small, ready, settings) if how.reorder else ready
    model, rows = _written(small, ordered, [site.layer.name for site in ready])
    unordered = None if all(a is b for a, b in zip(ready, ordered, strict=True)) else before
    return Changed(model, small, tuple(rows), repairs, skipped, tuple(ordered), unordered)


def _in_order(small: ir.Model, sites: Sequence[_Site], settings: RunSettings) -> list[_Site]:
    """The sites after groups of channels were reordered, in the model and in the masks."""
    names = [str(site.layer.weight.initializer.name) for site in sites]
    # A weight that is moved before it is read has its axes elsewhere.
    plain = {
        name: site.change
        for name, site in zip(names, sites, strict=True)
        if isinstance(site.change, MaskOption) and site.layer.weight.place is None
    }
    # Analysed anew, as recovery may have put biases in, which have to move along.
    found = reorder(small, analyse(small.clone(), settings).coupling, plain) if plain else {}
    return [
        replace(site, change=found[name], work=found[name].begin(site.size, site.outs, regress=False))
        if name in found
        else site
        for name, site in zip(names, sites, strict=True)
    ]


def _written(
    reference: ir.Model, sites: Sequence[_Site], lowered: Collection[str]
) -> tuple[ir.Model, list[ChangedLayer]]:
    """A copy in which the layers that are ``lowered`` are written as what they became."""
    model = reference.clone()
    rows = [_row(site, model, lower=site.layer.name in lowered) for site in sites]
    # The weights of what was replaced are read by nobody now.
    clean.remove_dead(model)
    return model, rows


def _row(site: _Site, model: ir.Model, *, lower: bool) -> ChangedLayer:
    """Writes one layer, so that less is computed if it is to be."""
    name = site.layer.name
    node = next(node for node in model.graph if node.name == name)
    weight = model.graph.initializers[str(site.layer.weight.initializer.name)]
    # The site belongs to the reference; its node and weight are found by name in the copy.
    there = replace(site.layer, node=node, weight=replace(site.layer.weight, initializer=weight))
    made, size, change = site.work.write(there, site.form, lower=lower), site.size, site.change
    macs, params = (change.macs(size), change.params(size)) if made.lowered else (size.macs, size.params)
    return ChangedLayer(name, change.words, size, macs, params if made.params is None else made.params, made)


def _sites(
    small: ir.Model,
    dense: ir.Model,
    cut: ChannelMask,
    changes: Mapping[str, LayerChange],
    settings: RunSettings,
    *,
    regress: bool,
) -> tuple[list[_Site], dict[str, str]]:
    """The layers of the smaller model that are to be changed, and why others of them cannot be."""
    shapes, kept, graph = shapes_of(small, settings), Kept(cut), cut.coupling.graph
    before = {str(v.name): cut.coupling.shapes(v) for v in (*graph.inputs, *(v for n in graph for v in n.outputs))}
    values = {str(v.name) for node in small.graph for v in node.inputs if v is not None}
    untie_weights(small, dense, values)
    layers, refused = repairable_layers(small, dense, values)
    known = {layer.name: layer for layer in layers if layer.name in changes}
    sites: list[_Site] = []
    skipped = {name: refused.get(name, NO_FACTORS) for name in changes if name not in known}
    for name, layer in known.items():
        sizes = [None if v is None else shapes(v) for v in (*layer.node.inputs, layer.node.outputs[0])]
        x, y, weight = sizes[1 - layer.held], sizes[-1], layer.weight.read().shape
        # What the node reads of the weight, which is known even where no shape was inferred.
        sizes[layer.held] = weight
        size = Geometry.of(layer.node, layer.held, sizes)
        if size is None or x is None or y is None:
            skipped[name] = "its sizes are not known"
            continue
        try:
            form = layer.form((x, weight, y))
            outs = _kept_outputs(layer, form, before, kept)
        except Unrepairable as reason:
            skipped[name] = str(reason)
            continue
        change = changes[name]
        sites.append(_Site(layer, form, size, outs, change, change.begin(size, outs, regress=regress)))
    return sites, skipped


def _kept_outputs(layer: LayerPair, form: OperandForm, before: Mapping[str, Shape | None], kept: Kept) -> Pick:
    """int64[groups, out]: which of the outputs of each group of the dense layer are still there."""
    dense_weight = layer.dense_weight.read()
    x, y = before.get(layer.x), before.get(layer.y)
    if x is None or y is None:
        raise Unrepairable("its sizes are not known")
    whole = layer.form((x, dense_weight.shape, y), dense=True)
    groups, out, _ = whole.matrix(dense_weight).shape
    # Outputs are numbered, and the numbers go through the cut as activations would: what is left tells its origin.
    numbers = np.arange(groups * out, dtype=np.float64).reshape(groups, out)
    spread = np.broadcast_to(whole.spread(numbers, len(y)), y)
    left = form.targets(kept(layer.y, spread), np.zeros(1, np.int64))[:, 0]
    return np.asarray(left.round() % out, np.int64)
