"""A wrong cut is noticed at the outputs, or inside, or is said not to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from compressor.channels.groups import ChannelGroup
from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import ModelError, NothingToProve, ProofFailed
from compressor.pruning.proofs import canary, versions
from compressor.pruning.proofs.outputs.evidence import Noticed
from compressor.pruning.proofs.versions import OtherWeights, Versions
from compressor.results import ProofResult
from compressor.runtime import sessions
from compressor.runtime.stored import Answers, Ready, Runnable
from tests.models import between, in_memory, model

SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")


def proved(proto: onnx.ModelProto, settings: PruneSettings = SETTINGS) -> ProofResult:
    found = prune(in_memory(proto), settings).report.proof
    assert found is not None
    return found


def with_weight(proto: onnx.ModelProto, name: str, change: np.ndarray | float) -> onnx.ModelProto:
    """The model with a weight multiplied by ``change``."""
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(array * change, array.dtype), name))
    return proto


HEAD = """(float[3,4,6,6] x) => (float y) <float[16,4,3,3] w, float[8,16,1,1] v, float[2,8,1,1] head> {
    a = Conv(x, w)  b = Relu(a)  c = Conv(b, v)  d = Relu(c)  l = Conv(d, head)  y = """


def test_every_group_is_noticed() -> None:
    found = proved(between("b = Relu(a)"))
    assert (found.noticed, found.not_proved) == (2, [])


@pytest.mark.parametrize("out", ["Clip(l, lo, hi)", "Sigmoid(far)", "ArgMax<axis=1>(far)"])
def test_blind_outputs_are_looked_behind(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saturated outputs show nothing; what the groups' weights make does, in one run for each."""
    inside, honest = list[OtherWeights](), Versions.open

    def counted(made: Versions, weights: OtherWeights) -> Ready:
        if weights and [value.name for value in made.model.graph.outputs] != ["y"]:
            inside.append(weights)
        return honest(made, weights)

    monkeypatch.setattr(Versions, "open", counted)
    text = HEAD.replace("float[2,8,1,1] head", "float[2,8,1,1] head, float lo, float hi, float[2,1,1] shift")
    text = text.replace("float y", "int64 y") if "ArgMax" in out else text
    proto = model(text.replace("y = ", "far = Add(l, shift)  y = ") + out + " }")
    shift = np.asarray([1e7, -1e7], np.float32).reshape(2, 1, 1)
    values = {"lo": np.float32(1e6), "hi": np.float32(2e6), "shift": shift}
    for tensor in proto.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(values[tensor.name]), tensor.name))
    found = proved(proto)
    assert (found.noticed, found.not_proved) == (2, [])
    assert len(inside) == 2


def test_many_blind_groups_are_looked_behind_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "BLIND_ALONE", 0)
    monkeypatch.setattr(versions, "EFFORT", 0)
    text = HEAD.replace("head>", "head, float[2,1,1] shift>") + "Sigmoid(far) }"
    proto = model(text.replace("y = ", "far = Add(l, shift)  y = "))
    tensor = next(t for t in proto.graph.initializer if t.name == "shift")
    tensor.CopyFrom(numpy_helper.from_array(np.full((2, 1, 1), 1e7, np.float32), "shift"))
    found = proved(proto)
    assert (found.noticed, found.not_proved) == (2, [])
    assert found.shifted_together == ["w", "v"]


def test_what_stays_blind_is_not_proved() -> None:
    """A dead layer: a hugely negative bias in front of a Relu, and nothing behind it moves."""
    text = HEAD.replace("float[16,4,3,3] w,", "float[16,4,3,3] w, float[16] bias,") + "Sigmoid(l) }"
    proto = model(text.replace("Conv(x, w)", "Conv(x, w, bias)"))
    bias = next(t for t in proto.graph.initializer if t.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(16, -1e9, np.float32), "bias"))
    found = proved(proto)
    assert found.passed
    assert "v" in {row.group for row in found.not_proved}
    assert all("shifted by one" in row.reason for row in found.not_proved)


def test_equal_channels_cannot_be_told_apart() -> None:
    proto = model(HEAD + "Relu(l) }")
    for name in ("w", "v"):
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.ones(tensor.dims, np.float32), name))
    found = proved(proto)
    assert [(row.group, row.reason) for row in found.not_proved] == [("w", canary.ALIKE)]


def test_a_fault_behind_blind_outputs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels of the smaller model are in another order where a head of zeros does not show it."""
    honest = canary.Case.try_wrong_cuts

    def tampered(case: canary.Case, groups: Sequence[ChannelGroup]) -> Noticed:
        value = case.small.graph.initializers["v"]
        assert value.const_value is not None
        value.const_value = ir.tensor(np.roll(value.const_value.numpy(), 1, 1), name="v")
        return honest(case, groups)

    monkeypatch.setattr(canary.Case, "try_wrong_cuts", tampered)
    with pytest.raises(ProofFailed, match="values inside differ"):
        proved(with_weight(model(HEAD + "Relu(l) }"), "head", 0.0))


def test_groups_are_shifted_together_where_that_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "EFFORT", 0)
    found = proved(between("b = Relu(a)"))
    assert (found.noticed, found.not_proved) == (1, [])
    assert len(found.shifted_together) == 2


TWO_BRANCHES = """(float[3,4,6,6] x) => (float y)
    <float[16,4,3,3] w, float[8,16,1,1] v, float[16,4,3,3] u, float[16] bias, float[8,16,1,1] t> {
    a = Conv(x, w)  b = Relu(a)  c = Conv(b, v)  p = Conv(x, u, bias)  q = Relu(p)  r = Conv(q, t)  y = Add(c, r) }"""


def test_a_dead_branch_does_not_count_as_proved_along_with_a_live_one(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model(TWO_BRANCHES)
    bias = next(t for t in proto.graph.initializer if t.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(16, -1e9, np.float32), "bias"))
    found = proved(proto)
    dead = {row.group for row in found.not_proved}
    assert dead
    assert found.shifted_together == []
    monkeypatch.setattr(versions, "EFFORT", 0)
    found = proved(proto)
    assert dead <= set(found.shifted_together)
    assert not found.not_proved


def test_the_quick_proof_makes_no_wrong_cut() -> None:
    found = proved(between("b = Relu(a)"), SETTINGS.model_copy(update={"verify": "quick"}))
    assert (found.level, found.noticed) == ("quick", 0)


def test_outputs_that_are_no_numbers_are_not_passed() -> None:
    text = HEAD.replace("head>", "head, float[1] so>") + "Sqrt(one) }"
    proto = model(text.replace("y = ", "s = Abs(l)  n = Neg(s)  one = Sub(n, so)  y = "))
    with pytest.raises(NothingToProve, match="no output of the original is a finite number"):
        proved(proto)


def test_values_inside_that_overflow_prove_nothing_and_accuse_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which order numbers are added decides where sums of huge ones become infinite."""
    options, values_inside = sessions._options, canary.values_inside

    def added_in_another_order(*args: Any, **named: Any) -> Answers:
        """As another provider may add; kernels with layouts of their own do where there are fewer channels."""
        with monkeypatch.context() as patch:
            patch.setattr(sessions, "_options", lambda setup: options(replace(setup, packed=True, optimise=True)))
            return values_inside(*args, **named)

    monkeypatch.setattr(canary, "values_inside", added_in_another_order)
    text = """(float[3,4,6,6] x) => (float y) <float[16,4,3,3] w, float[8,16,3,3] v, float[2,8,1,1] head, float lo,
        float hi> { a = Conv(x, w)  c = Conv(a, v)  e = Abs(c)  d = Clip(e, lo, hi)  y = Conv(d, head) }"""
    proto = model(text)
    sizes = {"v": np.full((8, 16, 3, 3), 3e38, np.float32), "lo": np.float32(-1), "hi": np.float32(1)}
    for tensor in proto.graph.initializer:
        if tensor.name in sizes:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(sizes[tensor.name]), tensor.name))
    found = proved(proto)
    assert found.passed
    assert [row.group for row in found.not_proved] == ["w"]


def test_a_wrong_cut_that_does_not_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other numbers of a float weight are none that a runtime refuses, and the failure is nobody's model."""
    honest = Versions.open

    def refused(versions: Versions, weights: OtherWeights) -> Ready:
        if weights:
            raise ModelError("no")
        return honest(versions, weights)

    monkeypatch.setattr(Versions, "open", refused)
    found = proved(between("b = Relu(a)"))
    assert found.noticed == 0
    assert {(row.group, row.reason) for row in found.not_proved} == {("w", canary.BLIND), ("v", canary.BLIND)}


def test_what_inside_cannot_be_exposed_is_not_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Answers:
        raise ModelError("no")

    monkeypatch.setattr(canary, "values_inside", fails)
    found = proved(with_weight(model(HEAD + "Relu(l) }"), "head", 0.0))
    assert {row.reason for row in found.not_proved} == {canary.BLIND}


CHAIN = """(float[3,4,6,6] x) => (float[3,2,4,4] y)
    <float[16,4,3,3] w, float[8,16,1,1] v, float[12,8,1,1] u, float[8,12,1,1] t, float[2,8,1,1] head> {
    a = Conv(x, w)  b = Relu(a)  c = Conv(b, v)  d = Relu(c)  e = Conv(d, u)  f = Relu(e)  g = Conv(f, t)
    h = Relu(g)  y = Conv(h, head) }"""


def opened(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Inputs of the models of which versions are run, each with a session of its own, as a proof makes them."""
    found, honest = list[set[str]](), versions.runnable

    def noted(made: ir.Model, folder: Path, provider: str) -> Runnable:
        found.append({str(value.name) for value in made.graph.inputs})
        return honest(made, folder, provider)

    monkeypatch.setattr(versions, "runnable", noted)
    return found


def test_many_wrong_cuts_are_tried_in_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions_made = opened(monkeypatch)
    found = proved(model(CHAIN))
    assert (found.noticed, found.not_proved, found.shifted_together) == (4, [], [])
    assert sessions_made == [{"x", "v", "u", "t", "head"}]


def test_a_session_for_few_wrong_cuts_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions_made = opened(monkeypatch)
    assert proved(between("b = Relu(a)")).noticed == 2
    assert sessions_made == [{"x"}] * 2


@pytest.mark.parametrize("kind", ["off", "refused"])
def test_where_weights_cannot_be_inputs_each_wrong_cut_has_its_session(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels may compute otherwise what is no constant; then that session would notice faults that are none."""
    honest = versions._asking

    def other(made: ir.Model, names: Sequence[str]) -> ir.Model:
        asking = honest(made, names)
        value = asking.graph.initializers["w"]
        assert value.const_value is not None
        array = value.const_value.numpy()
        value.const_value = ir.tensor(array + 1 if kind == "off" else array[:, 1:], name="w")
        return asking

    proto = model(CHAIN)
    expected = proved(proto)
    monkeypatch.setattr(versions, "_asking", other)
    sessions_made = opened(monkeypatch)
    assert proved(proto) == expected
    assert sessions_made == [{"x", "v", "u", "t", "head"}, *[{"x"}] * 4]
