"""Keys of what travels in ``.meta`` of models, graphs, nodes and values, in memory only: no file holds it.

Copies of a graph (``clone``) have what its parts have; where it goes earlier, its key says so.
"""

from __future__ import annotations

from typing import Final

from compressor.graph.ir.exporter_metadata import OWN_PREFIX

UNFUSED: Final = f"{OWN_PREFIX}unfused"
"""Of a model: how many nodes of which operator ``unfuse`` took apart, ``dict[str, int]``."""
SOURCE: Final = f"{OWN_PREFIX}source"
"""Of a graph: the files that ``files`` read it from, a ``Source``."""
MAPS: Final = f"{OWN_PREFIX}maps"
"""Of a graph: types of outputs by name (``onnx.TypeProto``) that onnx_ir cannot represent; from ``files``."""
JOINED: Final = f"{OWN_PREFIX}joined"
"""Of a graph: the files that ``joined`` made it of, a ``Joined``."""
BATCH: Final = f"{OWN_PREFIX}batch"
"""Of a graph: how many samples it takes at a time, where a run showed that; from ``batch_limit``."""
SAMPLE: Final = f"{OWN_PREFIX}sample"
"""Of a graph: the sizes of one of the user's samples, ``dict[str, tuple[int, ...]]`` by input; from ``data.spec``."""
HANDED_OVER: Final = f"{OWN_PREFIX}handed_over"
"""Of a node: the name of the result of one file that it hands to another, so that it stays; from ``joined``."""
RECORD: Final = f"{OWN_PREFIX}operator"
"""Of a node: the record of an operator that no table has; from ``nodes.give_record``."""
COPY: Final = f"{OWN_PREFIX}copy"
"""Of a node: ``channels.fills`` made it for a copy of a value, and takes it out again."""
COPY_OF: Final = f"{OWN_PREFIX}copy_of"
"""Of an initializer: the name of the one that it was, before ``normalise`` gave its uses copies of their own."""
OMITTED: Final = f"{OWN_PREFIX}omitted"
"""Of a value: an output that a node leaves out. ``normalise`` marks it, as inlining names it, and takes both away."""
