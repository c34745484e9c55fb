"""Random graphs: recovery leaves a sound model with the same signature, and no layer worse than it was."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor import errors
from compressor.data import Batch
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface
from compressor.reconstruct import ReconstructOptions
from tests.models import model
from tests.property.graphs import blocks_of, random_inputs, random_model
from tests.reconstruct.case import Arrays, Pruned, noise, outputs, pruned

FAST = range(6)
MANY = range(6, 250)


class Drawn:
    """Random inputs for a random model, in batches of whatever size it wants."""

    labelled = False

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._proto = proto

    def __len__(self) -> int:
        return 24

    def take(self, indices: np.ndarray) -> Batch:
        return Batch(random_inputs(self._proto, np.random.default_rng(int(indices[0])), len(indices)))


def cut(seed: int) -> tuple[onnx.ModelProto, Pruned] | None:
    rng = np.random.default_rng(seed)
    proto = random_model(rng, size=6)
    try:
        return proto, pruned(
            proto, ratio=float(rng.choice([0.3, 0.5])), attention=str(rng.choice(["heads", "dims"])), seed=seed
        )
    except errors.NotPossible:
        return None


@cache
def check(seed: int) -> int:
    """Returns the number of layers that were given new weights."""
    drawn = cut(seed)
    if drawn is None:
        return 0
    proto, found = drawn
    options = ReconstructOptions(
        batch_size=6, min_rows=64, targets="symmetric" if seed % 2 else "asymmetric", cache_bytes=(seed % 3) << 12
    )
    data = Drawn(proto)
    result = found.recover("bias" if seed % 4 == 0 else "lstsq", data, options)
    where = f"seed {seed} ({', '.join(blocks_of(proto))})"
    demand_same_interface(ir.from_proto(proto), found.model)
    onnx.checker.check_model(ir.to_proto(found.model), full_check=True)
    for layer in result.layers:
        assert layer.after <= layer.before, f"{where}: {layer}"
        assert layer.changed == (layer.reason is None), f"{where}: {layer}"
    misread = [node for node, reason in result.skipped.items() if "attributes" in reason]
    assert not misread, f"{where}: {misread}"
    outputs(found.model, data.take(np.arange(3)).inputs)
    return sum(layer.changed for layer in result.layers)


@pytest.mark.parametrize("seed", FAST)
def test_sound_and_never_worse(seed: int) -> None:
    check(seed)


def test_random_graphs_do_have_layers_to_repair() -> None:
    """The property would hold of a recovery that changes nothing."""
    assert sum(check(seed) > 0 for seed in FAST) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_sound_and_never_worse_on_many(seed: int) -> None:
    check(seed)


@given(st.lists(st.sampled_from([10, 14, 18]), min_size=1, max_size=3), st.booleans(), st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_a_linear_net_is_repaired_exactly(widths: list[int], image: bool, seed: int) -> None:
    """Four inputs span every layer, so the half that is left can stand for all of it."""
    sizes = [4, *widths, 3]
    taps = ",1,1" if image else ""
    weights = ", ".join(f"float[{b},{a}{taps}] w{k}" for k, (a, b) in enumerate(pairwise(sizes)))
    op = "Conv" if image else "Gemm<transB=1>"
    names = ["x", *(f"a{k}" for k in range(len(widths))), "y"]
    nodes = " ".join(f"{names[k + 1]} = {op}({names[k]}, w{k})" for k in range(len(sizes) - 1))
    shape = (4, 4, 4) if image else (4,)
    dims = ",".join(map(str, shape))
    found = pruned(model(f"(float[N,{dims}] x) => (float y) <{weights}> {{ {nodes} }}", seed=seed))
    x = noise(64, *shape, seed=seed)
    found.recover("lstsq", Arrays(x=x), ReconstructOptions(batch_size=16, dampings=(1e-10,)))
    assert found.error(x=noise(16, *shape, seed=seed + 1)) < 2e-4
