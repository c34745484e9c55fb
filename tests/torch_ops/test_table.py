"""The two tables of operators, records and torch kernels, have the same keys, or say why not."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from compressor.graph.form.fuse import DOMAIN
from compressor.operators.table import RULES
from compressor.torch_ops import fused, table


def test_every_kernel_has_a_record() -> None:
    assert set(table.FUNCTIONS) - set(RULES) == {(DOMAIN, name) for name in fused.FUNCTIONS}


def test_every_record_has_a_kernel_or_a_reason_why_not() -> None:
    kernelless = {key: operator.kernelless for key, operator in RULES.items() if operator.kernelless}
    assert set(RULES) - set(table.FUNCTIONS) == set(kernelless)
    assert all(len(reason.split()) > 2 for reason in kernelless.values())
