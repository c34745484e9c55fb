"""What callers bind to is what the result declares, and gives."""

import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import ProofFailed
from compressor.pruning.proofs.graphs.interface_match import demand_declared
from compressor.runtime.stored import Runs
from tests.models import in_memory, model

RUNS = Runs(["y"], [{"x": np.zeros((3, 8))}], [[np.zeros((3, 4))]])


def declaring(*sizes: int | str) -> ir.Model:
    made = in_memory(model("(float[n,8] x) => (float[n,4] y) <float[8,4] w> { y = MatMul(x, w) }"))
    made.graph.outputs[0].shape = ir.Shape(sizes)
    return made


@pytest.mark.parametrize("sizes", [("n", 4), (3, 4), ("m", "k")])
def test_sizes_that_are_given_are_declared(sizes: tuple[int | str, ...]) -> None:
    demand_declared(declaring(*sizes), RUNS, ["y"])


@pytest.mark.parametrize("sizes", [("n", 8), ("n", 4, 1)])
def test_other_sizes_are_a_failed_proof(sizes: tuple[int | str, ...]) -> None:
    with pytest.raises(ProofFailed, match=r"output 'y' is declared as .* and gives \[3, 4\]"):
        demand_declared(declaring(*sizes), RUNS, ["y"])
    demand_declared(declaring(*sizes), RUNS, [])
