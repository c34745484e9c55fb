"""Recurrent layers: exact where the units that stay can say it all, never worse, and left alone with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compressor.operators.facts import GateProduct
from compressor.reconstruct import ReconstructOptions, recurrent, run
from compressor.reconstruct.recurrent_layers import RecurrentPair
from tests.models import model, weight
from tests.reconstruct.case import FEW, Arrays, Pruned, noise, pruned
from tests.reconstruct.test_run import Harmful

TIGHT = replace(FEW, dampings=(1e-9,))
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
HIDDEN = 8


def layer(op: str, *, more: str = "", given: str = "", attributes: str = "", directions: int = 1) -> onnx.ModelProto:
    """A layer on x, float[N,7,5], of whose hidden units the second half gives what the first gives, and weighs less."""
    rows = HIDDEN * GATES[op]
    proto = model(
        f"""(float[N,7,5] x, int32[N] lengths, float[N,4] s) => (float y)
        <float[{directions},{rows},5] w, float[{directions},{rows},{HIDDEN}] r, float[{HIDDEN * directions},6] v,
         float[4,{HIDDEN}] u, int64[1] zero = {{0}}, int64[3] flat = {{0,0,-1}}{more}> {{
        a = Transpose<perm=[1,0,2]>(x)  m = MatMul(s, u)  h0 = Unsqueeze(m, zero)
        all, last = {op}<hidden_size={HIDDEN}{attributes}>(a, w, r{given})
        tr = Transpose<perm=[0,2,1,3]>(all)  f = Reshape(tr, flat)  y = MatMul(f, v) }}""",
        checked=False,
    )
    half = HIDDEN // 2
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if tensor.name in ("w", "r", "b", "p"):
            # The gates of a unit are one beside the other here: [directions, gates, hidden, ...].
            gates = array.reshape(directions, -1, HIDDEN, *array.shape[2:])
            gates[:, :, half:] = gates[:, :, :half]
        if tensor.name == "u":
            array[:, half:] = array[:, :half]
        if tensor.name == "r":
            array[:, :, half:] *= 0.1
        if tensor.name == "v":
            array.reshape(directions, HIDDEN, -1)[:, half:] *= 0.1
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


def bias(op: str, directions: int = 1) -> str:
    return f", float[{directions},{2 * HIDDEN * GATES[op]}] b"


BOTH = ', direction="bidirectional"'
CASES = {
    **{op: layer(op) for op in GATES},
    **{f"{op} with bias": layer(op, more=bias(op), given=", b") for op in GATES},
    **{
        f"{op} both ways": layer(op, more=bias(op, 2), given=", b", attributes=BOTH, directions=2) for op in GATES
    },
    "LSTM backwards": layer("LSTM", attributes=', direction="reverse"'),
    "LSTM with lengths": layer("LSTM", given=", , lengths"),
    "LSTM both ways with lengths": layer("LSTM", given=", , lengths", attributes=BOTH, directions=2),
    "RNN with a first state": layer("RNN", given=", , , h0"),
    "LSTM backwards with lengths and states": layer(
        "LSTM", given=", , lengths, h0, h0", attributes=', direction="reverse"'
    ),
    "LSTM with peepholes": layer("LSTM", more=f", float[1,{3 * HIDDEN}] p", given=", , , , , p"),
    "LSTM with a limit": layer("LSTM", attributes=", clip=0.7"),
    "GRU whose reset comes late": layer("GRU", more=bias("GRU"), given=", b", attributes=", linear_before_reset=1"),
}  # fmt: skip


def samples(count: int = 96, seed: int = 0) -> dict[str, np.ndarray]:
    lengths = np.random.default_rng(seed).integers(0, 8, count).astype(np.int32)
    return {"x": noise(count, 7, 5, seed=seed), "lengths": lengths, "s": noise(count, 4, seed=seed + 1)}


@pytest.mark.parametrize("case", CASES)
def test_units_that_repeat_others_are_made_up_for(case: str) -> None:
    found = pruned(CASES[case])
    test = samples(8, seed=5)
    read = {v.name for v in found.model.graph.inputs}
    feeds = {name: array for name, array in test.items() if name in read}
    before = found.error(**feeds)
    result = found.recover("lstsq", Arrays(**samples()), TIGHT)
    assert weight(found.model, "r").shape[2] == HIDDEN // 2
    assert not result.skipped
    assert before > 1e-2
    assert found.error(**feeds) < 1e-4


def test_batches_without_a_step_are_passed_over() -> None:
    found = pruned(CASES["LSTM with lengths"])
    given = samples()
    assert not given["lengths"].all()
    result = found.recover("lstsq", Arrays(**given), replace(TIGHT, batch_size=1))
    assert found.error(**given) < 1e-4
    assert not result.skipped
    none = found.recover("lstsq", Arrays(**{**given, "lengths": np.zeros(96, np.int32)}))
    assert none.skipped == {"LSTM_3": "no step of its sequences is left to fit or to judge"}


def test_hidden_states_that_nobody_reads_are_looked_at() -> None:
    proto = model("""(float[N,7,5] x) => (float y)
        <float[1,32,5] w, float[1,32,8] r, float[8,6] v, int64[1] zero = {0}> {
        a = Transpose<perm=[1,0,2]>(x)  all, last = LSTM<hidden_size=8>(a, w, r)
        q = Squeeze(last, zero)  y = MatMul(q, v) }""")
    next(n for n in proto.graph.node if n.op_type == "LSTM").output[0] = ""
    found = pruned(proto)
    x = noise(64, 7, 5, seed=3)
    before = found.error(x=x)
    result = found.recover("lstsq", Arrays(x=noise(128, 7, 5)))
    assert [one.changed for one in result.layers] == [True, True]
    assert found.error(x=x) < before
    assert next(n for n in found.model.graph if n.op_type == "LSTM").outputs[0].name in ("", None)


@pytest.mark.parametrize("method", ["bias", "lstsq"])
@pytest.mark.parametrize("targets", ["symmetric", "asymmetric"])
def test_layers_on_layers_come_nearer(method: str, targets: str) -> None:
    found = pruned(model(STACK))
    x = noise(64, 7, 6, seed=3)
    before = found.error(x=x)
    result = found.recover(method, Arrays(x=noise(128, 7, 6)), replace(FEW, targets=targets))
    recurrent_layers = [one for one in result.layers if one.node.startswith(("GRU", "LSTM"))]
    assert len(recurrent_layers) == 2
    # Biases alone say little here.
    assert all(one.after < one.before if method == "lstsq" else one.after <= one.before for one in recurrent_layers)
    assert method == "bias" or found.error(x=x) < before


STACK = """(float[N,7,6] x) => (float y)
    <float[6,12] e, float[1,36,12] w, float[1,36,12] r, float[1,32,12] w2, float[1,32,8] r2, float[8,6] v,
     int64[1] one = {1}> {
    c = MatMul(x, e)  a = Transpose<perm=[1,0,2]>(c)  all = GRU<hidden_size=12>(a, w, r)  q = Squeeze(all, one)
    al2 = LSTM<hidden_size=8>(q, w2, r2)  s = Squeeze(al2, one)  y = MatMul(s, v) }"""


def test_later_rounds_see_what_the_smaller_layer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    after = []
    for rounds in (1, 3):
        monkeypatch.setattr(recurrent, "GATE_FITS", rounds)
        after.append(pruned(model(STACK)).recover("lstsq", Arrays(x=noise(128, 7, 6))).layers)
    first, last = ({one.node: one.after for one in layers} for layers in after)
    assert all(last[node] < first[node] for node in first if node.startswith("GRU"))


@pytest.mark.parametrize("late", [0, 1])
def test_what_the_reset_multiplies_is_looked_at(late: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates as if the reset multiplied nothing fit worse."""
    after = []
    for _ in range(2):
        text = STACK.replace("GRU<hidden_size=12", f"GRU<hidden_size=12,linear_before_reset={late}")
        result = pruned(model(text)).recover("lstsq", Arrays(x=noise(512, 7, 6)))
        after += [one.after for one in result.layers if one.node.startswith("GRU")]
        monkeypatch.setattr(RecurrentPair, "products", (GateProduct((0, 1, 2)),))
    assert after[0] < after[1]


def test_never_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.RECOVERIES, "find", lambda _: Harmful)
    found = pruned(model(STACK))
    before = {n: weight(found.model, n).copy() for n in found.model.graph.initializers}
    result = found.recover("harm", Arrays(x=noise(64, 7, 6)))
    assert all(np.array_equal(weight(found.model, n), array) for n, array in before.items())
    assert {one.reason for one in result.layers} == {"nothing tried is better on the held-out rows"}


def test_one_batch_fits_and_judges() -> None:
    found = pruned(model(STACK))
    result = found.recover("lstsq", Arrays(x=noise(60, 7, 6)), ReconstructOptions(batch_size=64))
    assert all(one.after <= one.before for one in result.layers)


def test_a_weight_that_is_computed_is_left_alone() -> None:
    text = STACK.replace("(q, w2, r2)", "(q, w2, r2, p)").replace("al2 =", "p = Sin(b)  al2 =")
    found = pruned(model(text.replace("float[8,6] v,", "float[8,6] v, float[1,64] b,")), include=("e",), simplify=False)
    assert _reason(found) == "its weights are computed"


def test_a_weight_that_is_read_elsewhere_is_left_alone() -> None:
    text = STACK.replace("float y)", "float y, float z)").replace(
        "y = MatMul", "k = ReduceMean(x)  z = Mul(k, b)  y = MatMul"
    )
    found = pruned(model(text.replace("float[8,6] v,", "float[8,6] v, float[1,32,8] b,")), include=("e",))
    reader = next(n for n in found.model.graph if n.op_type == "Mul")
    # By hand, as small weights are unshared.
    reader.replace_input_with(1, found.model.graph.initializers["r2"])
    assert _reason(found) == f"node {reader.name!r} reads its weight too"


def _reason(found: Pruned) -> str:
    result = found.recover("lstsq", Arrays(x=noise(64, 7, 6)))
    (reason,) = [why for node, why in result.skipped.items() if node.startswith("LSTM")]
    return reason
