"""What the engine has to know of an operator; the records that know more lie above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import onnx_ir as ir

if TYPE_CHECKING:
    from compressor.channels.coupling import Coupling


class Rule(Protocol):
    """What is read of an operator's record."""

    @property
    def coupled(self) -> bool:
        """Is it known how channels flow through it?"""
        ...

    @property
    def spreads(self) -> bool:
        """Does it make a tensor of one number, if that is all that it reads?"""
        ...

    @property
    def rearranges(self) -> bool:
        """Are all entries of its outputs entries of its inputs?"""
        ...

    @property
    def overwrites(self) -> bool:
        """Does it write entries of one input over those of another?"""
        ...

    def couple(self, node: ir.Node, coupling: Coupling) -> None:
        """Lets labels flow through ``node``: sets the layouts of its outputs."""
        ...
