"""What a model has to give, how near, and how near rounding lets it come.

Two graphs that mean the same round in different places. How far that moves an output is measured where it matters:
the model is run on inputs that differ in the last bit (weights, where inputs have none). Saturated outputs,
thresholds, ties of a maximum, tiny variances and int8 products then have the tolerance that they need, and others
none. Whether anything could still be noticed under it is what :mod:`compressor.pruning.proofs.canary` asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from compressor.core.arrays import Array
from compressor.core.compare import ArrayDistance, Tolerance, distance, is_finite, rounding_spread, share_of_scale
from compressor.core.row_order import in_order_of
from compressor.core.scratch import scratch
from compressor.errors import ModelError, tool_fault
from compressor.graph.ir.randomness import may_draw, may_reorder
from compressor.graph.tensors.weights import with_weights
from compressor.operators.table import operator_of
from compressor.results.records import LOOSE
from compressor.runtime.stored import Answers, Feed, Runs, WeightChange

NOISE_FACTOR = 16.0
"""Rounding happens at every node, the measured noise at the inputs only. A margin that hides
faults is seen, as a wrong cut is judged by it too (docs/decisions/0005)."""
MOST_MOVED, FURTHER = 0.5, 4
"""Share of rows that may be elsewhere, at most, and how many times as far away as in runs whose inputs were moved: a
rotation or a reversal of all is a fault."""
MOST_OTHERS = 0.05
"""Share of rows that may be other ones, at most: those at the edge of what a TopK keeps."""
NUDGES = 2
"""Sets of inputs that differ from the proof's in the last bit."""
REPEATS = 3
"""Runs on the same inputs, of which one at least shows what is drawn at random."""
DRAWN = "it is drawn at random, so that no two runs of the model agree on it"
SIZED_BY_ROUNDING = "its size depends on rounding: inputs that differ in the last bit give another one"
ANY_ORDER = "rows that a TopK or the like puts elsewhere when inputs move in the last bit are compared in one order"
HARDLY_COMPARED = "rounding alone may move it by {share:.0%} of its channels, so that the comparison shows little of it"
AMPLIFIED = "rounding decides here: the tolerance is a multiple of what it does to these outputs by itself"


class Reordered(NamedTuple):
    """How rounding changed the order of an output's rows, at most.

    Attributes:
        moved: rows that changed their place.
        furthest: by how many places.
        strangers: rows that went out while others came in.
    """

    moved: int = 0
    furthest: int = 0
    strangers: int = 0


@dataclass(frozen=True)
class Standard:
    """Outputs that another model has to give.

    Attributes:
        runs: the outputs.
        tolerance: what may differ.
        noise: what rounding does to each output of each run, with a margin; empty where that was not asked.
        note: what a reader of the numbers should know.
        left_out: places of outputs of which nothing is compared, and why.
        any_order: places of outputs whose rows are compared in any order, as rounding decides that, and how far they
            may differ in it.
    """

    runs: Runs
    tolerance: Tolerance
    noise: Sequence[Sequence[Array]] = ()
    note: str = ""
    left_out: Mapping[int, str] = field(default_factory=dict)
    any_order: Mapping[int, Reordered] = field(default_factory=dict)

    def distances(self, actual: Runs) -> list[list[ArrayDistance]]:
        """How far each output of each run is; ``actual`` has the same feeds.

        Raises:
            ProofFailed: outputs have other names, or another order.
        """
        rows = []
        if list(actual.names) != list(self.runs.names):
            raise tool_fault(f"outputs {list(self.runs.names)} came as {list(actual.names)}")
        for number, (expected, given) in enumerate(zip(self.runs.outputs, actual.outputs, strict=True)):
            noise: list[Array | None] = list(self.noise[number]) if self.noise else [None] * len(expected)
            pairs = list(zip(expected, given, strict=True))
            for place, limits in self.any_order.items():
                pairs[place] = _in_order(*pairs[place], limits)
            for place in self.left_out:
                # Nothing is compared of what rounding decides, and sizes may differ there.
                noise[place], pairs[place] = np.full((), np.inf), (expected[place], expected[place])
            rows.append([distance(a, b, self.tolerance, n) for (a, b), n in zip(pairs, noise, strict=True)])
        return rows

    @property
    def hardly_compared(self) -> dict[int, str]:
        """Places of outputs whose tolerance is as large as what they hold, in every run, with the reason."""
        shares: dict[int, float] = {}
        for arrays, spreads in zip(self.runs.outputs, self.noise, strict=bool(self.noise)):
            for place, (array, noise) in enumerate(zip(arrays, spreads, strict=True)):
                shares[place] = min(shares.get(place, np.inf), share_of_scale(noise, array))
        return {k: HARDLY_COMPARED.format(share=share) for k, share in shares.items() if share > LOOSE}

    def met_by(self, actual: Runs) -> bool:
        """Is every output of every run within tolerance? Of no run nothing is said, so that it is not met."""
        return bool(actual.outputs) and all(gap.passed for row in self.distances(actual) for gap in row)

    def of_outputs(self, names: Sequence[str]) -> Standard:
        """Outputs and tolerances of these names, in this order; of a standard that leaves none out."""
        places = [self.runs.names.index(name) for name in names]
        noise = [[row[place] for place in places] for row in self.noise]
        return replace(self, runs=self.runs.of_outputs(names), noise=noise)

    def only(self, number: int) -> Standard:
        """Outputs and tolerances of one of the runs."""
        runs = Runs(self.runs.names, [self.runs.feeds[number]], [self.runs.outputs[number]])
        return replace(self, runs=runs, noise=self.noise[number : number + 1])


def with_tolerance(
    expected: Answers, actual: Answers, tolerance: Tolerance, model: ir.Model | None = None
) -> tuple[Standard, Runs]:
    """The outputs of ``expected``, with as much tolerance as rounding asks for, and no more.

    Asked in turn, until the two agree: at the tolerance alone; with what the last bit of the inputs moves in the first;
    with what it moves in either model.

    Args:
        expected: of the model whose outputs count.
        actual: of the model that is held against it, on the same feeds.
        tolerance: error that is allowed without asking.
        model: what gives ``expected``; where it is known to draw no outputs at random, none are looked for.

    Returns:
        The standard, and the runs to hold against it: whether they meet it is not said yet.
    """
    runs = actual.runs
    strict = Standard(expected.runs, tolerance)
    if strict.met_by(runs):
        return strict, runs
    # Before rounding has the word: what is drawn would pass for it.
    left_out = drawn_of(expected, tolerance) if model is None or may_draw(model) else {}
    if not _same_shapes(strict.runs, runs):
        left_out = _resized_by_rounding(expected) | left_out
    strict = replace(strict, left_out=left_out)
    # Other shapes cannot be explained by rounding, but where it moves those of the original too.
    if strict.met_by(runs) or not _same_shapes(strict.runs, runs, but=left_out):
        return strict, runs
    # Only runs that fail are repeated: noise is measured where it is needed, and nowhere else.
    failing = [k for k, row in enumerate(strict.distances(runs)) if not all(gap.passed for gap in row)]
    moved = _moved_in(expected, failing)
    # By whole outputs instead of channels: where these agree, only small channels in which numbers cancel do not.
    rough = replace(strict, tolerance=Tolerance(tolerance.rtol, tolerance.atol))
    note = "" if rough.met_by(runs) else AMPLIFIED  # numbers that cancel are no news
    strict = replace(strict, note=note)
    sorts = model is None or may_reorder(model)
    noisy = _with_noise(strict, [(strict.runs, moved)], sorts=sorts)
    if noisy.met_by(runs):
        return noisy, runs
    # Last, the noise of the smaller model counts too; it may round in places that the reference has not. Weights that
    # move stand for rounding at every node, of which inputs that move show what is left at the end.
    sides = [(strict.runs, moved), (runs, _moved_in(actual, failing))]
    # Where inputs are whole numbers, weights are what was moved already.
    if _are_real(expected.runs.feeds):
        heavier = [_moved_in(side, failing, runs_of_moved_weights) for side in (expected, actual)]
        sides = [(base, [*variants, *more]) for (base, variants), more in zip(sides, heavier, strict=True)]
    noisy = _with_noise(strict, sides, sorts=sorts)
    if noisy.met_by(runs):
        return noisy, runs
    # Steps, as of a quantiser or a floor, mostly stand still where numbers move by a last bit. The whole margin is
    # moved instead, which comes to the same where there are none.
    further = partial(runs_of_moved_weights, bits=int(NOISE_FACTOR))
    steps = noise_of(
        [(side.runs, _moved_in(side, failing, further)) for side in (expected, actual)], noisy.left_out, factor=1.0
    )
    pairs = zip(noisy.noise, steps, strict=True)
    return replace(noisy, noise=[[*map(np.maximum, *rows)] for rows in pairs]), runs


def _with_noise(standard: Standard, sides: Sequence[tuple[Runs, Sequence[Runs]]], *, sorts: bool) -> Standard:
    """The standard with the noise of runs, see :func:`noise_of`; rows that rounding puts elsewhere are told by what
    they hold, so that their order is no noise.
    """
    if sorts:
        found = [
            (base, [_ordered_as(base, other, standard.left_out) for other in variants]) for base, variants in sides
        ]
        sides = [(base, [runs for runs, _ in variants]) for base, variants in found]
        moved = [(place, rows) for _, variants in found for _, places in variants for place, rows in places]
    else:
        moved = []
    order: dict[int, Reordered] = {}
    for place, rows in moved:
        order[place] = Reordered(*map(max, order.get(place, Reordered()), rows))
    note = "; ".join(filter(None, [standard.note, ANY_ORDER if order else ""]))
    return replace(standard, noise=noise_of(sides, but=standard.left_out), any_order=order, note=note)


def _ordered_as(base: Runs, other: Runs, left_out: Container[int]) -> tuple[Runs, list[tuple[int, Reordered]]]:
    """The other runs with rows of their outputs in the order of those of ``base``, and how far they went: for each
    place of an output, once for each run in which rows of it went elsewhere.
    """
    outputs = [list(row) for row in other.outputs]
    found = []
    for row, wanted in zip(outputs, base.outputs, strict=True):
        for place in range(len(row)):
            rows = None if place in left_out else in_order_of(wanted[place], row[place])
            if rows is not None and rows.moved:
                found.append((place, Reordered(rows.moved, rows.furthest, int(rows.strangers.sum()))))
                row[place] = rows.without_strangers(wanted[place])
    return Runs(other.names, other.feeds, outputs), found


def _in_order(expected: Array, found: Array, limits: Reordered) -> tuple[Array, Array]:
    """The two with their rows in one order, and without those that have no counterpart, as far as rounding explains it:
    as given where more rows are elsewhere, or further away, than some multiple of what rounding did.
    """
    rows = in_order_of(expected, found)
    if rows is None:
        return expected, found
    count = rows.strangers.size
    if rows.moved > min(NOISE_FACTOR * limits.moved, MOST_MOVED * count) or rows.furthest > FURTHER * limits.furthest:
        return expected, found
    few = int(rows.strangers.sum()) <= min(NOISE_FACTOR * limits.strangers, MOST_OTHERS * count)
    return expected, rows.without_strangers(expected) if few else rows.array


def drawn_of(answers: Answers, tolerance: Tolerance) -> dict[int, str]:
    """:func:`drawn_outputs` of a model whose session is open."""
    return drawn_outputs(answers.runs, lambda: answers.ready.run(answers.runs.feeds), tolerance)


def drawn_outputs(runs: Runs, again: Callable[[], Runs], tolerance: Tolerance) -> dict[int, str]:
    """Places of outputs that are other ones each time a model is run on the same inputs, with the reason.

    Args:
        runs: of the model.
        again: runs it once more on the same inputs.
        tolerance: what passes for the same.
    """
    first = Standard(runs, tolerance)
    rows_again = [first.distances(again()) for _ in range(REPEATS)]
    return {k: DRAWN for rows in rows_again for row in rows for k, gap in enumerate(row) if not gap.passed}


def _resized_by_rounding(answers: Answers) -> dict[int, str]:
    """Places of outputs whose sizes are other ones where inputs differ in the last bit, with the reason."""
    again = moved_runs(answers, answers.runs.feeds)
    rows = [pair for other in again for pair in zip(answers.runs.outputs, other.outputs, strict=True)]
    return {
        k: SIZED_BY_ROUNDING
        for one, two in rows
        for k, (a, b) in enumerate(zip(one, two, strict=True))
        if a.shape != b.shape
    }


def moved_runs(answers: Answers, feeds: Sequence[Feed]) -> list[Runs]:
    """What a model gives when the real numbers that enter it are moved in the last bit, once for each nudge.

    Those are its inputs. Where inputs are whole numbers alone, such as tokens, the first real numbers are weights, and
    these are moved instead.
    """
    if not _are_real(feeds):
        return runs_of_moved_weights(answers, feeds)
    return _of_those_that_run(partial(answers.ready.run, moved) for moved in nudged(feeds))


def runs_of_moved_weights(answers: Answers, feeds: Sequence[Feed], bits: int = 1) -> list[Runs]:
    """What a model gives when its weights are moved by so many times the last bit, once for each nudge."""
    with scratch() as folder:
        changed = (answers.stored.changed(change, folder) for change in nudges_of_weights(bits))
        return _of_those_that_run(partial(model.run, feeds) for model in changed)


def _of_those_that_run(calls: Iterable[Callable[[], Runs]]) -> list[Runs]:
    """What was moved may be a size, such as the factor of a Resize; a model that no longer fits it shows nothing."""
    found = []
    for call in calls:
        with suppress(ModelError):
            found.append(call())
    return found


def _are_real(feeds: Sequence[Feed]) -> bool:
    """Would :func:`nudged` move anything?"""
    return any(array.dtype.kind == "f" and array.size for feed in feeds for array in feed.values())


def nudges_of_weights(bits: int = 1) -> list[WeightChange]:
    """As :func:`nudged`, of the weights of a model, by so many last bits; not of sizes, as those of a Resize."""

    def changed(seed: int, model: ir.Model) -> ir.Model:
        uses = ((v, operator_of(node), k) for node in model.graph.all_nodes() for k, v in enumerate(node.inputs))
        sizes = {str(value.name) for value, operator, k in uses if value is not None and k in operator.host}

        def change(name: str, rows: Array, first: int) -> Array:
            return rows if name in sizes else _nudge(rows, np.random.default_rng([seed, first, *name.encode()]), bits)

        return with_weights(model, change)

    return [partial(changed, seed) for seed in range(NUDGES)]


def _moved_in(
    answers: Answers, numbers: Sequence[int], move: Callable[[Answers, Sequence[Feed]], list[Runs]] = moved_runs
) -> list[Runs]:
    """``move`` for these runs alone; the others are as they were."""
    runs, several = answers.runs, []
    for again in move(answers, [runs.feeds[k] for k in numbers]):
        outputs = list(runs.outputs)
        for number, row in zip(numbers, again.outputs, strict=True):
            outputs[number] = row
        several.append(Runs(runs.names, runs.feeds, outputs))
    return several


def noise_of(
    sides: Sequence[tuple[Runs, Sequence[Runs]]], but: Collection[int] = (), factor: float = NOISE_FACTOR
) -> list[list[Array]]:
    """What rounding does to each output of each run: the larger of what it does to either model, with a margin.

    Args:
        sides: runs of a model and the same runs, rounded differently; of equal shapes.
        but: places of outputs that are not asked about and may have other shapes; there it is infinite.
        factor: the margin.
    """
    endless = np.full((), np.inf)
    noise = []
    for number, row in enumerate(sides[0][0].outputs):
        parts = [
            [
                endless
                if k in but
                else rounding_spread(base.outputs[number][k], [v.outputs[number][k] for v in variants])
                for k in range(len(row))
            ]
            for base, variants in sides
        ]
        # Either model may be the one that rounds worse; a difference within that says nothing against the cut.
        noise.append([factor * np.maximum.reduce(several) for several in zip(*parts, strict=True)])
    return noise


def nudged(feeds: Sequence[Feed]) -> list[list[Feed]]:
    """The feeds with every real number moved by one unit in the last place, up or down at random; several times."""
    return [[_moved(feed, np.random.default_rng([seed, k])) for k, feed in enumerate(feeds)] for seed in range(NUDGES)]


def _moved(feed: Feed, rng: np.random.Generator) -> Feed:
    return {name: _nudge(array, rng) for name, array in feed.items()}


def _nudge(array: Array, rng: np.random.Generator, bits: int = 1) -> Array:
    # Indices and flags have no last bit; moving them would change what is computed.
    if array.dtype.kind != "f":
        return array
    # Up or down at random: all in one direction would move sums by more than rounding does.
    goals = np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
    # What stands for infinity, in masks, is no number that rounding has a part in.
    largest = np.nextafter(np.full((), np.inf, array.dtype), np.zeros((), array.dtype))
    large = np.abs(array) > largest / 2
    goals = np.where(large, array, goals)
    for _ in range(bits):
        array = np.nextafter(array, goals)
    return array


def _same_shapes(one: Runs, two: Runs, but: Collection[int] = ()) -> bool:
    return all(
        a.shape == b.shape
        for rows in zip(one.outputs, two.outputs, strict=True)
        for place, (a, b) in enumerate(zip(*rows, strict=True))
        if place not in but
    )


def finite_everywhere(runs: Runs) -> bool:
    """Are all results finite numbers?"""
    return all(is_finite(array) for row in runs.outputs for array in row)
