"""A layer by its coefficients, as an option of a budget: what it costs, how coefficients are fitted and written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.reconstruct.fit import Affine
from compressor.reconstruct.form import Matrix, OperandForm, Pick
from compressor.reconstruct.layers import LayerPair
from compressor.reconstruct.options import ReconstructOptions
from compressor.structures.interspace.basis import KernelSpace
from compressor.structures.interspace.coefficients import kernels_of
from compressor.structures.interspace.write import write_columns, write_composition
from compressor.structures.layer.change import Written
from compressor.structures.layer.geometry import Geometry
from compressor.structures.masks.fit import MaskedEntries, MaskedFit
from compressor.structures.masks.pieces import WeightMask

WIDE_TYPE = np.dtype(np.float32)
"""Of what is not stored in the smaller type."""
NODE_BYTES = 1800
"""Bytes that the nodes which unpack a layer take in the file, about; in small models they count."""
ROUNDING_SHARE = 1e-3
"""Share of the norm of coefficients that rounding to the smaller type may take; else they stay in the larger one."""


@dataclass(frozen=True, eq=False)
class CoefficientOption:
    """A convolution of which a part of the coefficients is kept.

    Attributes:
        name: what it is.
        mask: coefficients that are kept, bool[out, channels, *kernel], basis kernels in the place of taps.
        space: the basis.
        kernels: int64[channels, kept], basis kernels of every channel; None where filters differ in them.
        dtype: that coefficients are stored in.
    """

    name: str
    mask: WeightMask = field(repr=False)
    space: KernelSpace = field(repr=False)
    kernels: npt.NDArray[np.int64] | None = field(repr=False)
    dtype: np.dtype[np.generic]

    @staticmethod
    def of(name: str, mask: WeightMask, space: KernelSpace, dtype: np.dtype[np.generic]) -> CoefficientOption:
        """A mask, and whether it comes to a depthwise and a pointwise convolution."""
        return CoefficientOption(name, mask, space, kernels_of(mask), dtype)

    @property
    def small(self) -> bool:
        """Does it come to smaller convolutions?"""
        return self.kernels is not None

    @property
    def words(self) -> str:
        """What reports call it."""
        return self.name

    @property
    def held(self) -> float:
        """Numbers that are stored: coefficients, and the basis where there is one."""
        return float(self.mask.sum()) + (self.space.taps**2 if self.space.taps > 1 else 0)

    def macs(self, size: Geometry) -> float:
        """Multiply-accumulates of the two convolutions; where zeros stay, those of coefficients that are no zeros."""
        if self.kernels is None:
            return float(self.mask.sum()) * size.slides
        return self.kernels.size * (size.taps * size.slides + size.outs * size.after)

    def params(self, size: Geometry) -> float:
        """Elements of the weights of the two convolutions, or what is stored."""
        return self.held if self.kernels is None else self.kernels.size * (size.taps + size.outs)

    def bytes(self, size: Geometry, each: float) -> float:
        """Of the two convolutions; or a bit for every coefficient, those that are kept, the basis, and the nodes."""
        if self.kernels is not None:
            return self.params(size) * each
        kept = float(self.mask.sum())
        return kept * self.dtype.itemsize + self.mask.size / 8 + (self.held - kept) * WIDE_TYPE.itemsize + NODE_BYTES

    def begin(self, size: Geometry, outs: Pick, *, regress: bool) -> CoefficientWork:  # noqa: ARG002 - no channel goes
        """Starts on the layer."""
        return CoefficientWork(self, regress=regress)


class CoefficientWork:
    """The kept coefficients of one convolution.

    Args:
        option: mask and basis.
        regress: they are fitted; otherwise those of the weights that are there are taken.
    """

    def __init__(self, option: CoefficientOption, *, regress: bool) -> None:
        self._option, self._coefficients = option, MaskedEntries(option.mask, regress=regress)

    @property
    def ready(self) -> bool:
        """Were coefficients taken, so that it can be written?"""
        return self._coefficients.found is not None

    def fit(self, matrix: Matrix, layers: int, options: ReconstructOptions) -> CoefficientFit:  # noqa: ARG002 - as every fit is made
        """What proposes coefficients under the mask."""
        space = self._option.space
        return CoefficientFit(self._coefficients.fit(space.coordinates(matrix), options), space)

    def without_samples(self, matrix: Matrix) -> None:
        """The coefficients of the weights that are there."""
        self._coefficients.take(self._option.space.coordinates(matrix))

    def _stored(self) -> Matrix:
        """float64[1, out, channels * t]: the coefficients as they are stored."""
        found = self._coefficients.found
        assert found is not None
        return stored_as(found, self._option.dtype).astype(np.float64)

    def product(self, dtype: np.dtype[np.generic]) -> Matrix:
        """The kernels that the stored coefficients come to, in the numbers of ``dtype``."""
        return self._option.space.kernels(self._stored()).astype(dtype).astype(np.float64)

    def write(self, layer: LayerPair, form: OperandForm, *, lower: bool) -> Written:  # noqa: ARG002 - one group only
        """Two convolutions, or the kernels as a product of coefficients and basis."""
        option = self._option
        coefficients = self._stored()[0].reshape(len(option.mask), -1, option.space.taps)
        if lower and option.kernels is not None:
            return Written(tuple(write_columns(layer, coefficients, option.kernels, option.space.basis)), lowered=True)
        name, basis = write_composition(layer, coefficients, option.space.basis)
        bases = {} if basis is None else {name: basis}
        return Written((name,), zeros=(name,), bases=bases, params=option.held)


class CoefficientFit:
    """Proposes kernels whose coefficients are fitted under a mask.

    Args:
        inner: the fit of coefficients.
        space: the basis.
    """

    binding = True

    def __init__(self, inner: MaskedFit, space: KernelSpace) -> None:
        self._inner, self._space = inner, space

    def add(self, layer: int, x: Matrix, y: Matrix) -> None:
        """Takes in x [groups, rows, unknowns] of the compressed net, and y [groups, rows, out] of the original."""
        self._inner.add(layer, self._space.coordinates(x), y)

    def proposals(self) -> Iterator[Affine]:
        """Those of the coefficients, as kernels."""
        for found in self._inner.proposals():
            yield Affine(self._space.kernels(found.matrix), found.biases)


def stored_as(coefficients: npt.NDArray[Any], dtype: np.dtype[np.generic]) -> npt.NDArray[Any]:
    """Coefficients in this type; in float32 where it would take more of them than rounding should."""
    with np.errstate(over="ignore"):
        rounded = coefficients.astype(dtype)
    lost = np.linalg.norm(np.nan_to_num(rounded.astype(np.float64), posinf=0.0, neginf=0.0) - coefficients)
    fits = lost <= ROUNDING_SHARE * np.linalg.norm(coefficients.astype(np.float64))
    return np.asarray(rounded if fits else coefficients.astype(WIDE_TYPE))
