"""Random graphs of pieces hold every operator that has a record: removing channels gives what masking them gives."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from zlib import crc32

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor import errors
from compressor.commands import prune
from compressor.operators.table import RULES
from tests.oracle import TOLERANCE, worst
from tests.property.graphs import blocks_of, settings_for
from tests.property.growing import DeadEndError
from tests.property.pieces import Key, Piece, by_operator, every_node, pieces
from tests.property.splice import spliced_model

NOT_RUN = frozenset({"CausalConvWithState", "LinearAttention", "SwiGLU"})
"""Operators that ONNX Runtime does not run yet."""
DRAWS = 4
"""How often a graph is drawn until it holds all of its pieces."""
LENGTH = 5
"""Pieces of a graph, at most."""
MANY = range(600)


def _number(*words: str) -> int:
    """Follows from the words alone, in every process."""
    return crc32(" ".join(words).encode())


def _drawn(key: Key) -> Piece:
    """One of the pieces that hold the operator; what others hold does not move the draw."""
    found = by_operator()[key]
    return found[int(np.random.default_rng([5, _number(*key)]).integers(len(found)))]


@cache
def chosen() -> tuple[tuple[Piece, ...], ...]:
    """A few pieces a graph, of one operator set, so that every operator is in one of the graphs."""
    found: list[Piece] = []
    held: set[Key] = set()
    for key in sorted(by_operator(), key=lambda key: (len(by_operator()[key]), key)):
        if key in RULES and key not in held:
            found.append(_drawn(key))
            held |= found[-1].operators
    graphs: list[tuple[Piece, ...]] = []
    for opset in sorted({piece.opset for piece in found}):
        # In an order that another piece joins without moving those before it.
        same = sorted((piece for piece in found if piece.opset == opset), key=lambda piece: _number(piece.name))
        graphs += [tuple(same[k : k + LENGTH]) for k in range(0, len(same), LENGTH)]
    return tuple(graphs)


@cache
def covering(number: int) -> onnx.ModelProto:
    """A graph of these pieces. One that drowns what comes before it is left out; other draws keep it.

    Raises:
        DeadEndError: no draw gave a graph.
    """
    wanted = {key for piece in chosen()[number] for key in piece.operators & RULES.keys()}
    drawn: list[onnx.ModelProto] = []
    for again in range(DRAWS):
        with suppress(DeadEndError):
            drawn.append(spliced_model(np.random.default_rng([13, number, again]), chosen()[number]))
            if wanted <= _operators(drawn[-1]):
                return drawn[-1]
    if not drawn:
        raise DeadEndError(f"{', '.join(piece.name for piece in chosen()[number])}: no graph in {DRAWS} draws")
    return drawn[0]


def _operators(model: onnx.ModelProto) -> set[Key]:
    return {(node.domain, node.op_type) for node in every_node(model.graph.node)}


def check(model: onnx.ModelProto, rng: np.random.Generator, *, checked: bool) -> int:
    """Prunes one graph, and holds every value against the masked one. Returns the channels removed."""
    # Of a single channel a norm leaves rounding errors alone, which nothing could be held against.
    settings = settings_for(rng)
    text = f"{' '.join(blocks_of(model))} with {settings.model_dump(exclude_defaults=True)}"
    try:
        result = prune.prune(ir.from_proto(model), settings)
        name, gap = worst(ir.from_proto(model), settings)
    except errors.NotPossible:
        return 0
    except Exception as error:
        raise AssertionError(f"{text}: {type(error).__name__}: {error}") from error
    assert gap < TOLERANCE, f"{text}: {name}"
    if checked:
        onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    return sum(group.removed for group in result.report.groups)


def test_a_draw_without_a_graph_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = covering(0)

    def drawn(rng: np.random.Generator, pieces: tuple[Piece, ...]) -> onnx.ModelProto:
        del pieces
        if rng.integers(1 << 32) == np.random.default_rng([13, 0, 0]).integers(1 << 32):
            raise DeadEndError("no signal")
        return whole

    monkeypatch.setattr("tests.property.test_every_operator.spliced_model", drawn)
    assert covering.__wrapped__(0) is whole


def test_a_draw_follows_from_its_operator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = by_operator()
    key, other = ("", "Add"), ("", "Relu")
    more = {**found, other: [*found[other], found[key][0]]}
    before = _drawn(key)
    monkeypatch.setattr("tests.property.test_every_operator.by_operator", lambda: more)
    _drawn(other)
    assert _drawn(key) is before


def test_every_record_is_in_a_random_graph() -> None:
    held = set[Key]().union(*(_operators(covering(number)) for number in range(len(chosen()))))
    missing = {name for (domain, name), record in RULES.items() if (domain, name) not in held and not record.whole}
    assert missing == NOT_RUN


FAST = range(0, len(chosen()), 2)
SLOW = range(1, len(chosen()), 2)


@cache
def removed(number: int) -> int:
    checked = all(piece.checked for piece in chosen()[number])
    return check(covering(number), np.random.default_rng([14, number]), checked=checked)


@pytest.mark.parametrize("number", FAST)
def test_masked_equals_removed_with_operators(number: int) -> None:
    removed(number)


def test_graphs_with_every_operator_do_lose_channels() -> None:
    """All but two, in which shapes are not followed: behind SequenceMap, and behind what Compress and NonMaxSuppression
    pick.
    """
    assert [removed(k) > 0 for k in FAST].count(False) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("number", SLOW)
def test_masked_equals_removed_with_other_operators(number: int) -> None:
    assert removed(number) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_masked_equals_removed_of_many_pieces(seed: int) -> None:
    """Every piece comes first in some graph; what is behind it is drawn."""
    rng = np.random.default_rng([31, seed])
    first = pieces()[seed % len(pieces())]
    same = [piece for piece in pieces() if piece.opset == first.opset]
    drawn = (first, *(same[k] for k in rng.integers(len(same), size=int(rng.integers(1, 4)))))
    check(spliced_model(rng, drawn), rng, checked=all(piece.checked for piece in drawn))
