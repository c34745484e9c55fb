"""Structures that are masks over weights; the others are in ``structure.py``, which loads no maker of masks."""

from __future__ import annotations

from compressor.structures.interspace.coefficients import Coefficients, Columns
from compressor.structures.layer.geometry import maskable, spatial
from compressor.structures.masks.graph import Graph
from compressor.structures.masks.groups import Groups
from compressor.structures.masks.nm import NofM
from compressor.structures.masks.supports import Supports
from compressor.structures.structure import Structure

GROUPS = Structure(masks=Groups, suits=maskable)
GRAPH = Structure(masks=Graph, suits=maskable)
SUPPORTS = Structure(masks=Supports, suits=maskable)
NM = Structure(masks=NofM, lowers=False, suits=maskable)
INTERSPACE = Structure(masks=Coefficients, basis=True, suits=maskable)
COLUMNS = Structure(masks=Columns, basis=True, suits=spatial)
