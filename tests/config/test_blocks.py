"""The notation of ``--block``."""

from __future__ import annotations

import pytest

from compressor.config.blocks import ALL, BlockShape


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("4x4", BlockShape(4, 4)),
        ("4x4x9", BlockShape(4, 4, 9)),
        ("*x1", BlockShape(ALL, 1)),
        ("1x1x*", BlockShape(1, 1, ALL)),
        (" Kernel ", BlockShape(1, 1, ALL)),
        ("tap", BlockShape(1, ALL, 1)),
        ("filter", BlockShape(1, ALL, ALL)),
        ("matrix:1x16", BlockShape(1, 16, 1, matrix=True)),
        ("values:16", BlockShape(ALL, ALL, ALL, values=16)),
        ("values:16/output", BlockShape(1, ALL, ALL, values=16)),
    ],
)
def test_what_a_block_spans(text: str, shape: BlockShape) -> None:
    assert BlockShape.parse(text) == shape


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("4", "is not a block; write 4x4"),
        ("4x4x4x4", "is not a block"),
        ("0x4", "is not a block"),
        ("4x-1", "is not a block"),
        ("a matrix:1x16", "is not a block"),
        ("matrix:1x4x4", "is not a block"),
        ("1x1", "holds one weight, so there is nothing to share"),
        ("matrix:1x1", "holds one weight"),
        ("values:1", "take 2 to 256 values"),
        ("values:257", "take 2 to 256 values"),
        ("values:0", "is not a block"),
    ],
)
def test_what_is_no_block_is_said_with_the_forms(text: str, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        BlockShape.parse(text)
