"""The ONNX standard's own node tests, for every operator that has a function in torch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from string import ascii_lowercase
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")

from compressor.operators.table import RULES  # noqa: E402 -- after the skip
from compressor.torch_ops.table import FUNCTIONS  # noqa: E402
from compressor.torch_ops.tensors import to_numpy, to_torch  # noqa: E402
from compressor.train import GraphModule  # noqa: E402

torch.set_num_threads(1)

KERNELS = {op for domain, op in FUNCTIONS if domain == ""}

EXCEPTIONS: Mapping[str, str] = {
    r"float4e2m1": "torch has no floats of four bits",
    r"e8m0": "torch computes nothing with floats that are powers of two",
    r"bernoulli": "random: the expected numbers are those of numpy's generator",
    r"training_dropout(?!.*zero_ratio)": "random, and dropout acts in train() only",
    r"equal_string": "torch knows no text",
    r"scan_sum": "operator set 8, in which Scan has other inputs; from 9 on it is claimed",
}
"""Cases of claimed operators that are left out, by a part of their name."""

UNCLAIMED = {
    "ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit",
    "TfIdfVectorizer",
}  # fmt: skip
"""Operators of the standard's own domain that have cases and no function here: text, pictures in files, previews."""

UNTESTED = {
    "ConcatFromSequence", "GlobalLpPool", "MaxRoiPool", "Multinomial", "RandomNormal", "RandomNormalLike",
    "RandomUniform", "SequenceErase",
}  # fmt: skip
"""Operators that the standard has no case for; test_functions.py has."""

TOLERANCE: Mapping[str, float] = {"float16": 2e-3, "bfloat16": 2e-2}


@lru_cache(maxsize=1)
def cases() -> list[Any]:
    """Every case, built when the first test asks: it takes seconds, which each process that collects would spend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests  # noqa: PLC0415

        found: list[Any] = load_model_tests(kind="node")
    return found


def _operators(graph: onnx.GraphProto, functions: set[str]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for node in graph.node:
        if node.op_type not in functions:
            found.add((node.domain, node.op_type))
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _operators(attribute.g, functions)
    return found


def _claimed(case: Any) -> bool:
    own = {function.name for function in case.model.functions}
    operators = _operators(case.model.graph, own)
    return all(domain in ("", "ai.onnx") and op in KERNELS for domain, op in operators)


def _excepted(name: str) -> bool:
    return any(re.search(pattern, name, re.IGNORECASE) for pattern in EXCEPTIONS)


def _given(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if value is None or isinstance(value, list):
        return None if value is None else [_given(entry) for entry in value]
    return to_torch(np.asarray(value))


def _numbers(value: Any) -> np.ndarray:
    return np.asarray(onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)


def _defined(given: Any, expected: np.ndarray) -> np.ndarray:
    """Which entries ONNX defines: what a Cast makes of a float out of the range of 4 or 2 bits is open."""
    array = None if given is None or isinstance(given, list) else _numbers(given)
    if array is None or array.shape != expected.shape or array.dtype.name not in ("float16", "float32"):
        return np.ones(expected.shape, np.bool_)
    limits = ml_dtypes.iinfo(expected.dtype)
    return (array > int(limits.min) - 1) & (array < int(limits.max) + 1)


def _compare(got: Any, want: Any, rtol: float, given: Any = None) -> None:
    if want is None or isinstance(want, list):
        assert (got is None) == (want is None)
        for a, b in zip(got or [], want or [], strict=True):
            _compare(a, b, rtol)
        return
    expected = _numbers(want)
    kind = str(expected.dtype)
    found = to_numpy(got)
    assert found.shape == expected.shape
    if kind in ("int2", "uint2", "int4", "uint4"):
        assert str(found.dtype) in ("int8", "uint8")
        defined = _defined(given, expected)
        found, expected = found[defined], expected[defined]
    else:
        assert found.dtype == expected.dtype
    wide = np.complex128 if found.dtype.kind == "c" else np.float64
    loose = TOLERANCE.get(kind, 0.0)
    np.testing.assert_allclose(
        found.astype(wide), expected.astype(wide), rtol=max(rtol, loose), atol=max(1e-6, loose / 10)
    )


def _run(case: Any) -> None:
    module = GraphModule(ir.from_proto(case.model)).eval()
    for inputs, outputs in case.data_sets:
        with torch.no_grad():
            found = module(*map(_given, inputs))
        for got, want in zip(found if isinstance(found, tuple) else (found,), outputs, strict=True):
            _compare(got, want, max(case.rtol, 1e-3), inputs[0] if case.name.startswith("test_cast") else None)


@pytest.mark.parametrize("initial", ascii_lowercase)
def test_cases_of_claimed_operators_pass(initial: str) -> None:
    named = [case for case in cases() if case.name.startswith(f"test_{initial}")]
    failed = []
    for case in (case for case in named if _claimed(case) and not _excepted(case.name)):
        try:
            _run(case)
        except Exception as error:  # noqa: BLE001 -- all cases are reported together
            failed.append(f"{case.name}: {' '.join(str(error).split())[:200]}")
    assert not failed, "\n".join(failed)


def test_what_is_not_claimed_is_known() -> None:
    own = {node.op_type for case in cases() for node in case.model.graph.node if node.domain in ("", "ai.onnx")}
    functions = {f.name for case in cases() for f in case.model.functions}
    assert own - KERNELS - functions == UNCLAIMED


def test_claimed_operators_without_a_case_are_known() -> None:
    seen = {op for case in cases() for _, op in _operators(case.model.graph, set())}
    assert KERNELS - seen == UNTESTED


def test_every_exception_is_needed() -> None:
    names = [case.name for case in cases() if _claimed(case)]
    for pattern in EXCEPTIONS:
        assert any(re.search(pattern, name, re.IGNORECASE) for name in names), pattern


def test_most_cases_are_claimed() -> None:
    everything = cases()
    claimed = [case for case in everything if _claimed(case)]
    excepted = [case for case in claimed if _excepted(case.name)]
    print(f"{len(claimed)} of {len(everything)} cases claimed, {len(excepted)} of them left out")
    assert len(claimed) - len(excepted) >= 1780
    assert {case.name[5] for case in everything} <= set(ascii_lowercase)


def test_every_operator_that_prunes_also_runs() -> None:
    assert {op for (domain, op), record in RULES.items() if domain == "" and record.coupled} <= KERNELS
