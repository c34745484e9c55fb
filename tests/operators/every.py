"""The cases of all families."""

from __future__ import annotations

from . import (
    test_attention,
    test_control_flow,
    test_conv,
    test_elementwise,
    test_experts,
    test_fused_attention,
    test_indexing,
    test_integer,
    test_joining,
    test_linear,
    test_movement,
    test_norm,
    test_packed,
    test_pool,
    test_quant,
    test_recurrent,
    test_reduce,
    test_sequence,
    test_shape,
    test_spectral,
)
from .case import Case

CASES: tuple[Case, ...] = (
    *test_attention.CASES,
    *test_control_flow.CASES,
    *test_conv.CASES,
    *test_elementwise.CASES,
    *test_experts.CASES,
    *test_fused_attention.CASES,
    *test_indexing.CASES,
    *test_integer.CASES,
    *test_joining.CASES,
    *test_linear.CASES,
    *test_movement.CASES,
    *test_norm.CASES,
    *test_packed.CASES,
    *test_pool.CASES,
    *test_quant.CASES,
    *test_recurrent.CASES,
    *test_reduce.CASES,
    *test_sequence.CASES,
    *test_shape.CASES,
    *test_spectral.CASES,
)
