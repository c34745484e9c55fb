"""The closed form against solving the same problem directly."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.allocation.removal import Reader, way_down
from compressor.reconstruct.options import RIDGE

Matrix = np.ndarray


def problem(
    seed: int = 0, outs: int = 5, units: int = 6, taps: int = 3, count: int = 200
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """A weight, a metric, rows of inputs with strong correlations, and the units of columns, out of order."""
    rng = np.random.default_rng(seed)
    columns = units * taps
    weight = rng.normal(size=(outs, columns))
    rows = rng.normal(size=(count, columns)) @ rng.normal(size=(columns, columns))
    labels = rng.permutation(np.repeat(np.arange(1, units + 1), taps))
    return weight, rng.normal(size=(3, outs)), rows, labels


def damped_covariance(rows: Matrix) -> Matrix:
    covariance = rows.T @ rows / len(rows)
    return covariance + RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


def best_change(weight: Matrix, rows: Matrix, gone: Matrix) -> Matrix:
    """The change that takes the columns ``gone`` away and costs least, by the normal equations."""
    damped = damped_covariance(rows)
    stay = ~gone
    change = -weight.copy()
    moved = np.linalg.lstsq(damped[np.ix_(stay, stay)], damped[np.ix_(stay, gone)] @ weight[:, gone].T, rcond=None)[0]
    change[:, stay] = moved.T
    return change


def lost(change: Matrix, metric: Matrix, rows: Matrix) -> float:
    seen = metric @ change
    return float(np.trace(seen @ damped_covariance(rows) @ seen.T))


@pytest.mark.parametrize("count", [200, 18, 7])
@pytest.mark.parametrize("seed", range(3))
def test_a_unit_costs_what_the_best_weights_without_it_lose(seed: int, count: int) -> None:
    weight, metric, rows, labels = problem(seed, count=count)
    units = np.unique(labels)
    costs = Reader(weight, metric, rows, labels).costs(units)
    wanted = [lost(best_change(weight, rows, labels == unit), metric, rows) for unit in units]
    assert costs == pytest.approx(wanted, rel=1e-8)


def test_after_several_units_the_weights_are_those_of_removing_them_at_once() -> None:
    weight, metric, rows, labels = problem(4)
    reader = Reader(weight, metric, rows, labels)
    reader.remove(np.asarray([2]))
    reader.remove(np.asarray([5, 1]))
    assert reader.change == pytest.approx(best_change(weight, rows, np.isin(labels, [1, 2, 5])), rel=1e-8)
    further = reader.costs(np.asarray([3]))[0]
    whole = lost(best_change(weight, rows, np.isin(labels, [1, 2, 3, 5])), metric, rows)
    assert further == pytest.approx(whole - lost(reader.change, metric, rows), rel=1e-6)


def test_the_order_is_that_of_trying_every_unit() -> None:
    problems = [problem(seed, units=8, taps=taps) for seed, taps in ((1, 1), (2, 4))]
    units = np.arange(1, 9)
    gone: list[int] = []
    while len(gone) < 6:
        left = [unit for unit in units if unit not in gone]
        totals = [
            sum(lost(best_change(w, r, np.isin(u, [*gone, unit])), m, r) for w, m, r, u in problems) for unit in left
        ]
        gone.append(left[int(np.argmin(totals))])
    seen: list[int] = []
    order = way_down([Reader(w, m, r, u) for w, m, r, u in problems], units, 2, seen.append)
    assert order.tolist() == gone
    assert seen == [1, 2, 3, 4, 5, 6]


def test_columns_of_no_unit_stay_and_units_may_differ_in_size() -> None:
    weight, metric, rows, _ = problem(3, units=4, taps=3)
    labels = np.asarray([1, 1, 1, 1, 2, 2, 2, 3, 3, 0, 0, 0])
    reader = Reader(weight, metric, rows, labels)
    units = np.asarray([1, 2, 3, 9])
    wanted = [lost(best_change(weight, rows, labels == unit), metric, rows) for unit in units[:3]]
    assert reader.costs(units) == pytest.approx([*wanted, 0.0], rel=1e-8)


def test_a_given_order_is_kept() -> None:
    weight, metric, rows, labels = problem(0)
    order = np.asarray([4, 6, 1, 2, 3, 5])
    found = way_down([Reader(weight, metric, rows, labels)], np.arange(1, 7), 1, lambda _: None, order)
    assert found.tolist() == order[:5].tolist()


def test_single_precision_orders_wide_layers_alike() -> None:
    weight, metric, rows, labels = problem(5, units=64, taps=9, count=100)
    units = np.arange(1, 65)
    orders = [way_down([Reader(weight, metric, rows.astype(kind), labels)], units, 1, lambda _: None) for kind in "fd"]
    assert orders[0].tolist() == orders[1].tolist()
