"""What brings weights to their blocks is made of the settings, and says what it is not for."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from compressor.config import BlockShape, UnifySettings
from compressor.errors import UsageError
from compressor.train.constraints.envelope import EnvelopeTraining
from compressor.unification import methods
from compressor.unification.codebook import Codebook
from compressor.unification.layout import Blocking, CanonicalAxes
from compressor.unification.projections import Mixed

LAYOUT = Blocking(CanonicalAxes.of((6, 8), "oi"), BlockShape.parse("2x4"))


def test_the_envelope_is_for_blocks_alone() -> None:
    blocks = {"w": Mixed(LAYOUT)}
    assert isinstance(methods.envelope(UnifySettings(), blocks), EnvelopeTraining)
    with pytest.raises(UsageError, match="train codebooks with another --method"):
        methods.envelope(UnifySettings(), {**blocks, "v": Codebook(LAYOUT, 4)})
