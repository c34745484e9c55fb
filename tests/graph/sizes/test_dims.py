"""Sizes as polynomials: canonical form, exact division, bounds, names that are sums; against numbers put in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.graph.sizes import dims
from compressor.graph.sizes.dims import (
    Dim,
    common_factor,
    div,
    exact_quotient,
    maximum,
    minimum,
    mod,
    parse,
    size_product,
    solve_symbol,
    substitute,
    symbol,
)

N, T, P = symbol("N"), symbol("T"), symbol("P")


def test_what_depends_on_no_symbol_is_a_number() -> None:
    assert T - T == 0
    assert T * 0 == 0
    assert div(N * T, N * T) == 1
    assert (T + P) - (P + T) == 0
    assert mod(T * 6, 3) == 0
    assert 3 + T - T == 3


def test_what_only_looks_constant_stays_open() -> None:
    for size in (minimum(T, 8), maximum(T, 512), div(T + 31, 32), mod(T, 1000), maximum(0, T - 3)):
        assert isinstance(size, dims.Size), size


@pytest.mark.parametrize(
    ("size", "by", "expected"),
    [
        (N * (T + P) * 768, (T + P) * 12, N * 64),
        (N * T + N * 3, T + 3, N),
        (N * T, T + P, None),
        (N * 6, 4, None),
        (N, 0, None),
        (12, 4, 3),
        (T * T - P * P, T + P, T - P),
    ],
)
def test_exact_division(size: Dim, by: Dim, expected: Dim | None) -> None:
    assert exact_quotient(size, by) == expected


def test_what_divides_a_size_whatever_its_symbols_are() -> None:
    assert [common_factor(size) for size in (12, T, T * 8, T * 8 + 12, N * T * 6 - P * 4)] == [12, 1, 8, 4, 2]


def test_bounds_that_are_known() -> None:
    assert minimum(T, T + P) == T
    assert maximum(T, 0) == T
    assert maximum(T, T + 1, 0) == T + 1
    assert minimum(512, T) == minimum(T, 512)
    assert not dims.nonnegative(T - 1)
    assert dims.nonnegative(mod(P, 7))
    assert not dims.nonnegative(symbol("~1"))


def test_a_quotient_rounds_towards_zero() -> None:
    assert [div(a, b) for a, b in ((7, 2), (-7, 2), (7, -2), (-7, -2))] == [3, -3, -3, 3]
    assert mod(-7, 3) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("P + T", P + T),
        ("2*T", T * 2),
        ("T + P + 1", T + P + 1),
        ("T//2", div(T, 2)),
        ("T", None),
        ("batch-size", None),
        ("T-P", T - P),
        ("T + Q", None),
        ("height (pixels)", None),
        ("T + ", None),
        ("__import__('os')", None),
        ("T ** 99999999", None),
    ],
)
def test_names_that_spell_out_a_sum(name: str, expected: Dim | None) -> None:
    assert parse(name, ["N", "T", "P"]) == expected


def test_equations_are_solved_for_what_no_size_makes_negative() -> None:
    total = symbol("total")
    assert solve_symbol(total, P + T) == ("total", P + T)
    assert solve_symbol(P + T, total) == ("total", P + T)
    assert solve_symbol(N, T) in {("N", T), ("T", N)}
    assert solve_symbol(N * 2, 6) is None
    assert solve_symbol(symbol("?1"), 5) is None
    assert solve_symbol(T, symbol("?1") + 1) is None
    assert solve_symbol(T, T) is None


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> Dim:
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from([N, T, P, 0, 1, 2, 3, 12]))
    one, two = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
    sums = [one + two, one - two, one * two]
    return draw(st.sampled_from([*sums, minimum(one, two), maximum(one, two), div(one, 4), mod(one, 5)]))


SIZES = st.fixed_dictionaries({"N": st.integers(1, 9), "T": st.integers(1, 70), "P": st.integers(1, 70)})


@settings(max_examples=150, deadline=None)
@given(expressions(), expressions(), SIZES)
def test_arithmetic_agrees_with_numbers_put_in(one: Dim, two: Dim, sizes: dict[str, int]) -> None:
    a, b = substitute(one, sizes), substitute(two, sizes)
    assert isinstance(a, int)
    assert isinstance(b, int)
    assert substitute(one + two, sizes) == a + b
    assert substitute(one - two, sizes) == a - b
    assert substitute(one * two, sizes) == a * b
    assert substitute(minimum(one, two), sizes) == min(a, b)
    assert substitute(maximum(one, two), sizes) == max(a, b)
    if dims.nonnegative(one):
        assert a >= 0
    exact = exact_quotient(one, two)
    if exact is not None and b != 0:
        assert substitute(exact, sizes) * b == a


def test_many_sizes_are_added_at_once() -> None:
    many = [symbol(f"a{k}") for k in range(3000)]
    found = dims.total([*many, 5, *many])
    assert isinstance(found, dims.Size)
    assert len(found.terms) == 3001
    assert dims.total([N, 2, -N]) == 2


def test_a_long_product_is_not_multiplied_out() -> None:
    long = size_product([symbol(f"a{k}") + symbol(f"b{k}") for k in range(12)])
    assert isinstance(long, dims.Size)
    assert len(long.terms) <= dims.TERM_LIMIT
    assert substitute(long, {name: 1 for k in range(12) for name in (f"a{k}", f"b{k}")}) == 2**12
