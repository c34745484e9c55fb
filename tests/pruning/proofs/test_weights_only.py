"""Recovery, training and changes of layers that touch more than weights are noticed, whatever does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import ProofFailed
from compressor.pruning.fresh_weights import reinitialised
from compressor.steps.prune import changes, pruned, trainer
from compressor.steps.prune.recover import Recovered, Recovery
from compressor.structures.apply import Changed
from tests.models import between, in_memory, model


def settings(recover: str, **more: Any) -> PruneSettings:
    return PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": recover, "samples": 64, **more})


def planted(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Recovery leaves another operator behind."""

    def edit(found: ir.Model) -> None:
        for node in found.graph.all_nodes():
            node.op_type = new if node.op_type == old else node.op_type

    left_as(monkeypatch, edit)


@pytest.mark.parametrize("recover", ["bias", "lstsq"])
def test_another_operator(monkeypatch: pytest.MonkeyPatch, recover: str) -> None:
    planted(monkeypatch, "Relu", "Sigmoid")
    with pytest.raises(ProofFailed, match="of the recovered model is a Sigmoid, was a Relu"):
        prune(in_memory(between("b = Relu(a)")), settings(recover))


@pytest.mark.parametrize("recover", ["bias", "lstsq"])
@pytest.mark.parametrize("steps", [1, 2])
def test_weights_and_new_biases_pass(recover: str, steps: int) -> None:
    # The first convolution has a bias and the others none, which recovery gives them.
    found = prune(in_memory(between("b = Relu(a)")), settings(recover, steps=steps))
    assert found.report.recovery


TABLES = """(float[n,8] x, bool c) => (float[n,2] y) <float[8,16] w, float[16,8] v, float[8,2] head,
    int64[8] order = {7,6,5,4,3,2,1,0}> {
    a = MatMul(x, w)  b = Relu(a)  d = MatMul(b, v)  e = Gather<axis=1>(d, order)
    f = If(c) <then_branch = one () => (float[n,8] p) { p = Relu(e) },
               else_branch = two () => (float[n,8] q) { q = Neg(e) }>
    y = MatMul(f, head) }"""


def left_as(monkeypatch: pytest.MonkeyPatch, edit: Callable[[ir.Model], None]) -> None:
    honest = Recovery.recover

    def wrong(*a: Any, **k: Any) -> Recovered:
        recovered = honest(*a, **k)
        model = recovered.plain.clone()
        edit(model)
        return replace(recovered, plain=model)

    monkeypatch.setattr(Recovery, "recover", wrong)


def other_indices(found: ir.Model) -> None:
    value = next(
        v for v in found.graph.initializers.values() if v.dtype == ir.DataType.INT64 and v.const_value.size > 1
    )
    value.const_value = ir.tensor(np.roll(value.const_value.numpy(), 1), name=value.name)


def no_number(found: ir.Model) -> None:
    value = found.graph.initializers["head"]
    value.const_value = ir.tensor(np.full_like(value.const_value.numpy(), np.nan), name="head")


def a_sum_behind_a_function(found: ir.Model) -> None:
    relu = next(node for node in found.graph if node.op_type == "Relu")
    made = relu.outputs[0]
    tensor = ir.tensor(np.zeros(1, np.float32), name="more")
    extra = ir.Value(name="more", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    found.graph.register_initializer(extra)
    users = list(made.uses())
    relu.append(ir.node("Add", [made, extra], name="more.added"))
    for user, index in users:
        user.replace_input_with(index, relu.graph.node("more.added").outputs[0])


def other_branch(found: ir.Model) -> None:
    for node in found.graph.all_nodes():
        node.op_type = "Abs" if node.op_type == "Neg" else node.op_type


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (other_indices, "which holds no weights"),
        (no_number, "not finite"),
        (a_sum_behind_a_function, "'more' where no bias belongs"),
        (other_branch, "recovery changed more than weights|of the recovered model"),
    ],
)
def test_what_recovery_has_no_business_with(
    monkeypatch: pytest.MonkeyPatch, edit: Callable[[ir.Model], None], words: str
) -> None:
    assert prune(in_memory(model(TABLES)), settings("bias")).report.proof is not None
    left_as(monkeypatch, edit)
    with pytest.raises(ProofFailed, match=words):
        prune(in_memory(model(TABLES)), settings("bias"))


def another_function(found: ir.Model) -> None:
    for node in found.graph.all_nodes():
        node.op_type = "Sigmoid" if node.op_type == "Relu" else node.op_type


@pytest.mark.parametrize("structure", ["lowrank", "both", "interspace", "supports"])
def test_the_reference_of_changed_layers_is_the_model_that_was_cut(
    monkeypatch: pytest.MonkeyPatch, structure: str
) -> None:
    """What was written agrees with its reference, as both are wrong."""
    asked = settings("lstsq", structure=structure, **({"lower": "always"} if structure == "supports" else {}))
    net = in_memory(between("b = Relu(a)"))
    assert prune(net, asked).report.changed
    honest = changes.make_changes

    def wrong(*a: Any, **k: Any) -> tuple[Changed, list[str]]:
        made, notes = honest(*a, **k)
        for found in filter(None, (made.model, made.reference, made.unordered)):
            another_function(found)
        return made, notes

    monkeypatch.setattr(changes, "make_changes", wrong)
    with pytest.raises(ProofFailed, match=r"changed more than weights|of the recovered model"):
        prune(net, asked)


@pytest.mark.parametrize(
    "more", [{"sparsify": "decay", "sparsify_epochs": 1}, {"rewind": 0}, {"reinitialise": "before"}]
)
def test_training_before_the_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(24, 4, 6, 6)).astype(np.float32))
    asked = settings("finetune", data=str(tmp_path / "x.npz"), epochs=1, batch_size=3, device="cpu", **more)
    net = in_memory(between("b = Relu(a)"))
    assert prune(net, asked).report.proof is not None

    def wrongly(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*a: Any, **k: Any) -> Any:
            made = honest(*a, **k)
            another_function(made if isinstance(made, ir.Model) else made.model)
            return made

        return wrong

    training = import_module("compressor.train.sparsify")
    monkeypatch.setattr(training, "sparsify", wrongly(training.sparsify))
    monkeypatch.setattr(trainer, "reinitialised", wrongly(reinitialised))
    monkeypatch.setattr(pruned, "reinitialised", wrongly(reinitialised))
    with pytest.raises(ProofFailed, match=r"changed more than weights|of the recovered model"):
        prune(net, asked)


def bounds_moved(found: ir.Model) -> None:
    value = found.graph.initializers["top"]
    value.const_value = ir.tensor(np.asarray(5.5, np.float32), name="top")


def test_a_bound_is_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    net = between("r = Relu(a)  b = Clip(r, low, top)", more="float low = {0}, float top = {6}")
    left_as(monkeypatch, bounds_moved)
    with pytest.raises(ProofFailed, match="changed 'top', which holds no weights"):
        prune(in_memory(net), settings("lstsq"))


QUANTISED = """k = Relu(a)  qa = QuantizeLinear(k, sa, za)  da = DequantizeLinear(qa, sa, za)
    dk = DequantizeLinear<axis=0>(u, su)  b = Conv(da, dk)"""
DECLARED = "int8[16,16,1,1] u, float[16] su, float sa = {0.05}, uint8 za = {0}"


def coarser(name: str) -> Callable[[ir.Model], None]:
    def edit(found: ir.Model) -> None:
        value = next(v for v in found.graph.initializers.values() if str(v.name) == name)
        assert value.const_value is not None
        value.const_value = ir.tensor((2 * value.const_value.numpy()).astype(np.float32), name=name)

    return edit


@pytest.mark.parametrize(("name", "weight"), [("su", True), ("sa", False)])
def test_grids_of_weights_may_change_and_those_of_activations_not(
    monkeypatch: pytest.MonkeyPatch, name: str, weight: bool
) -> None:
    given = in_memory(between(QUANTISED, more=DECLARED))
    assert prune(given, settings("lstsq")).report.recovery
    left_as(monkeypatch, coarser(name))
    if weight:
        prune(given, settings("lstsq"))
        return
    with pytest.raises(ProofFailed, match="'sa', which holds no weights"):
        prune(given, settings("lstsq"))
