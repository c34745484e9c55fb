"""What a criterion needs is measured where it can be, on the samples that the settings ask for."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from compressor.config import PruneSettings
from compressor.data import Batch, Indices
from compressor.errors import ModelError, UsageError
from compressor.pruning.criteria import CRITERIA, criterion
from compressor.pruning.criteria.measurement import RANK_SAMPLES
from compressor.pruning.cut.analysis import analyse
from compressor.steps.score import MINIBATCHES, measure_for_criterion
from tests.models import between, in_memory, model


class Seeded:
    """Random images that note down what was read."""

    labelled = False

    def __init__(self, count: int) -> None:
        self.x = np.random.default_rng(0).normal(size=(count, 4, 6, 6)).astype(np.float32)
        self.read: list[Indices] = []

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Indices) -> Batch:
        self.read.append(indices)
        return Batch({"x": self.x[indices]})


def settings(name: str, **values: object) -> PruneSettings:
    return PruneSettings.parse({"criterion": name, **values})


def symbolic() -> onnx.ModelProto:
    proto = between("b = Relu(a)")
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    return proto


def reads(name: str, data: Seeded, proto: onnx.ModelProto, **values: object) -> list[Indices]:
    chosen = settings(name, **values)
    assert measure_for_criterion(analyse(in_memory(proto), chosen), chosen, data) is not None
    return data.read


@pytest.mark.parametrize("name", CRITERIA)
def test_only_those_that_need_data_read_any(name: str) -> None:
    data, chosen = Seeded(40), settings(name)
    found = measure_for_criterion(analyse(in_memory(symbolic()), chosen), chosen, data)
    assert (found is None) == (criterion(name).needs is None)
    assert bool(data.read) == (found is not None and name != "synflow")
    if found is not None:
        assert np.isfinite(found.rounds).all()
        assert np.count_nonzero(found.rounds) > 0


@pytest.mark.parametrize("name", ["taylor", "fisher", "hessian"])
def test_squares_are_averaged_over_enough_rounds(name: str) -> None:
    assert len(reads(name, Seeded(200), symbolic(), samples=128)) >= MINIBATCHES


@pytest.mark.parametrize("name", ["taylor", "snip", "activation"])
def test_samples_are_drawn_once_each_and_by_the_seed(name: str) -> None:
    one, again, other = (
        np.concatenate(reads(name, Seeded(200), symbolic(), samples=64, seed=seed)) for seed in (1, 1, 2)
    )
    assert len(set(one.tolist())) == len(one) == 64
    assert one.tolist() == again.tolist() != other.tolist()


def test_a_batch_is_no_larger_than_asked_for() -> None:
    assert max(len(r) for r in reads("snip", Seeded(50), symbolic(), batch_size=8)) == 8


def test_few_samples_are_decomposed() -> None:
    assert sum(len(r) for r in reads("chip", Seeded(50), symbolic())) == RANK_SAMPLES


@pytest.mark.parametrize("name", ["taylor", "activation"])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_fixed_batch_is_filled(name: str, count: int) -> None:
    """The model takes three at a time: what is too few is repeated, what is left over is left out."""
    found = reads(name, Seeded(count), between("b = Relu(a)"))
    assert {len(r) for r in found} == {3}
    assert len(found) == max(count // 3, 1)


@pytest.mark.parametrize("data", [None, Seeded(0)])
@pytest.mark.parametrize("name", ["taylor", "pfp"])
def test_no_samples(name: str, data: Seeded | None) -> None:
    chosen = settings(name)
    with pytest.raises(UsageError, match=f"--criterion {name} needs samples"):
        measure_for_criterion(analyse(in_memory(symbolic()), chosen), chosen, data)


@pytest.mark.parametrize("name", ["taylor", "synflow"])
def test_an_operator_without_a_gradient_is_named(name: str) -> None:
    proto = model(
        """(float[3,4] x) => (float[3,5] y) <float[4,8] w, float[8,5] v>
        { a = MatMul(x, w)  b = Relu(a)  c = MatMul(b, v)  y = custom.Magic(c) }""",
        domains=("custom",),
        checked=False,
    )
    chosen = settings(name)
    analysis = analyse(in_memory(proto), chosen)
    with pytest.raises(ModelError, match=f"--criterion {name} needs gradients.*Magic.*choose --criterion activation"):
        measure_for_criterion(analysis, chosen, Seeded(4))


PROGRAM = """
import sys
sys.modules["torch"] = None
from tests.steps.test_score import Seeded, settings, symbolic, analyse, in_memory, measure_for_criterion
from compressor.errors import CompressorError
for name in ("l2", "product", "activation", "pfp", "taylor"):
    chosen = settings(name)
    try:
        measure_for_criterion(analyse(in_memory(symbolic()), chosen), chosen, Seeded(4))
        print(name, "works")
    except CompressorError as error:
        print(name, error.exit_code, error)
"""


@pytest.fixture(scope="module")
def without_torch() -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


def test_torch_is_needed_for_gradients_only(without_torch: list[str]) -> None:
    assert without_torch[:4] == [f"{name} works" for name in ("l2", "product", "activation", "pfp")]
    assert without_torch[4].startswith("taylor 2 --criterion taylor needs gradients, and torch is not installed")
    assert "pip install 'onnx-compressor[tune]'" in without_torch[4]
    assert len(without_torch) == 5
