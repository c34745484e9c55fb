"""Structures that are masks over weights; the others are in ``structure.py``, which loads no maker of masks."""

from __future__ import annotations

from compressor.structures.masks.graph import Graph
from compressor.structures.masks.groups import Groups
from compressor.structures.masks.nm import NofM
from compressor.structures.masks.supports import Supports
from compressor.structures.structure import Structure

GROUPS = Structure(masks=Groups)
GRAPH = Structure(masks=Graph)
SUPPORTS = Structure(masks=Supports)
NM = Structure(masks=NofM)
