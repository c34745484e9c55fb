"""A layer in one shot: its weight brought to the nearest that has what is asked for, and packed."""

from __future__ import annotations

import numpy as np

from compressor.config import UnifySettings
from compressor.config.blocks import BlocksSection, StorageSection
from compressor.core.arrays import Array
from compressor.graph.ir.edit import constant_array
from compressor.unification import packed_codebook
from compressor.unification.assignment import Kinds
from compressor.unification.codebook import Codebook
from compressor.unification.layers import UnifiedLayer
from compressor.unification.packed import pack_blocks
from compressor.unification.projections import Mixed
from compressor.unification.train import SetTraining, wide_array
from compressor.unification.unified import Unified


def project(layer: UnifiedLayer, settings: UnifySettings) -> Unified:
    """One layer in one shot: the nearest weight with the shares that are asked for, packed."""
    weight, nearest = wide_array(layer.value), target(layer, settings)
    kinds = nearest.kinds(weight)
    return pack(layer, constant_array(layer.value), nearest.impose(weight, kinds), kinds, settings)


def target(layer: UnifiedLayer, settings: BlocksSection) -> Mixed | Codebook:
    """The set that the weight of a layer is brought to."""
    if layer.layout.block.values:
        return Codebook(layer.layout, layer.layout.block.values, layer.curvature)
    return Mixed(layer.layout, settings.unify_share, settings.prune_share, layer.curvature)


def adopt(item: Unified, trained: SetTraining, settings: UnifySettings) -> Unified:
    """The layer with the weight that training gave it."""
    name = item.layer.name
    weight = constant_array(trained.model.graph.initializers[name])
    return pack(item.layer, item.original, weight, trained.kinds[name], settings)


def pack(layer: UnifiedLayer, original: Array, constrained: Array, kinds: Kinds, settings: StorageSection) -> Unified:
    """A layer whose ``constrained`` weight satisfies ``kinds``; shared values are rounded as they are stored."""
    narrow, layout = np.asarray(constrained).astype(original.dtype), layer.layout
    if layout.block.values:
        packed = packed_codebook.pack_codebook(narrow, layout, kinds, layout.block.values, settings.magnitudes)
        return Unified(layer, original, narrow, packed)
    return Unified(layer, original, narrow, pack_blocks(narrow, layout, kinds, settings.magnitudes))
