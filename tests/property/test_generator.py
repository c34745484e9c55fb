"""The random graphs are valid, run, cover the catalogue, and would show a mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from .catalogue import BLOCKS
from .graphs import OPSETS, blocks_of, has_symbolic_batch, random_inputs, random_model
from .growing import session
from .idioms import IDIOMS, idiom

SEEDS = range(300)
DRAWN = SEEDS[:160]
"""As many as it takes until every block was drawn."""


@cache
def model_of(seed: int) -> onnx.ModelProto:
    return random_model(np.random.default_rng(seed))


def check_and_run(model: onnx.ModelProto) -> None:
    """Valid for the checker; runs for every batch with finite outputs of ordinary size."""
    onnx.checker.check_model(model, full_check=True)
    runner = session(model, optimise=True)
    for batch in (1, 3) if has_symbolic_batch(model) else (1,):
        outputs = runner.run(None, random_inputs(model, np.random.default_rng(batch), batch))
        for output, declared in zip(outputs, model.graph.output, strict=True):
            assert np.isfinite(output).all()
            assert 0.03 < np.sqrt(np.mean(np.square(output))) < 100
            sizes = [dim.dim_value or batch for dim in declared.type.tensor_type.shape.dim]
            assert list(output.shape) == sizes


def valid_and_running(first: int) -> None:
    for seed in range(first, first + 20):
        check_and_run(model_of(seed))


@pytest.mark.parametrize("first", SEEDS[:60:20])
def test_random_models_are_valid_and_run(first: int) -> None:
    """Of more seeds than the fast tests prune."""
    valid_and_running(first)


@pytest.mark.slow
@pytest.mark.parametrize("first", SEEDS[60::20])
def test_more_random_models_are_valid_and_run(first: int) -> None:
    valid_and_running(first)


def counts(seeds: range) -> dict[str, int]:
    """How often each block is drawn."""
    used = Counter(name.split(".")[-1] for seed in seeds for name in blocks_of(model_of(seed)))
    return {block.name.split(".")[1]: used[block.name.split(".")[1]] for table in BLOCKS.values() for block in table}


def test_every_block_is_drawn() -> None:
    assert not {name for name, count in counts(DRAWN).items() if count == 0}


@pytest.mark.slow
def test_every_block_is_drawn_several_times() -> None:
    assert not {name for name, count in counts(SEEDS).items() if count < 3}


def test_every_opset_and_batch_is_drawn() -> None:
    versions = Counter(model_of(seed).opset_import[0].version for seed in DRAWN)
    assert set(versions) == set(OPSETS)
    symbolic = sum(has_symbolic_batch(model_of(seed)) for seed in DRAWN)
    assert 0.3 < symbolic / len(DRAWN) < 0.7


@pytest.mark.parametrize("opset", OPSETS)
def test_opset_can_be_chosen(opset: int) -> None:
    model = random_model(np.random.default_rng(1), size=4, opset=opset)
    assert model.opset_import[0].version == opset
    check_and_run(model)


def test_same_seed_gives_the_same_file() -> None:
    first, second = (random_model(np.random.default_rng(7)) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


@pytest.mark.parametrize("kind", ["image", "tokens", "features", "network"])
def test_idioms_are_valid_and_run(kind: str) -> None:
    names = [name for name in IDIOMS if name.startswith(kind)]
    assert len(names) >= 20
    for name in names:
        check_and_run(IDIOMS[name]())


@pytest.mark.slow
@pytest.mark.parametrize("variant", range(1, 5))
def test_other_variants_of_idioms_are_valid_and_run(variant: int) -> None:
    for name in IDIOMS:
        check_and_run(idiom(name, variant))


def with_weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network, with every float matrix or kernel open to the caller."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    listed = {info.name for info in opened.graph.input}
    for tensor in opened.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name.startswith("w_") and tensor.name not in listed:
            opened.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    return opened


def effects(model: onnx.ModelProto, rng: np.random.Generator) -> Iterator[float]:
    """For every kernel: how far the outputs move, against their size, when one of its slices is zeroed."""
    runner = session(with_weights_as_inputs(model))
    feed = random_inputs(model, rng)
    before = runner.run(None, feed)
    for tensor in model.graph.initializer:
        if not tensor.name.startswith("w_"):
            continue
        array = numpy_helper.to_array(tensor).copy()
        array[int(rng.integers(array.shape[0]))] = 0
        after = runner.run(None, feed | {tensor.name: array})
        yield max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(after, before, strict=True))


def test_a_wrong_slice_shows_in_the_outputs() -> None:
    """Else masked == removed would hold whatever a pruner does.

    Some kernels rightly have none: a key that shifts all scores alike, a row of a table nobody looks up.
    """
    rng = np.random.default_rng(0)
    moved = [effect for seed in range(40) for effect in effects(model_of(seed), rng)]
    assert np.mean(np.array(moved) > 1e-3) > 0.85
    assert np.mean(np.array(moved) > 1e-5) > 0.93
