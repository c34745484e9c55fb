"""What is made of a file before anything is removed gives what the file gives: weights, nodes, branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.commands.clean import clean_file
from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import CleanSettings, PruneSettings, RunSettings
from compressor.errors import ProofFailed
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes import data_rules
from compressor.pruning.cut import analysis
from compressor.pruning.proofs import preparation
from compressor.pruning.proofs.preparation import prove_with_functions
from tests.models import between, in_memory, model
from tests.pruning.proofs.test_proof import numbers, replace

BARE = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": "none"})
BRANCHES = """(float[n,8] x, bool c) => (float[n,2] y) <float[8,16] w, float[16,8] v, float[8,2] head> {
    a = MatMul(x, w)  b = Relu(a)  d = MatMul(b, v)
    f = If(c) <then_branch = one () => (float[n,8] p) { p = Relu(d) },
               else_branch = two () => (float[n,8] q) { q = Neg(d) }>
    y = MatMul(f, head) }"""


def written(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "net.onnx"
    onnx.save(proto, path)
    return path


def wrongly_normalised(monkeypatch: pytest.MonkeyPatch, edit: Callable[[ir.Model], None]) -> None:
    honest = analysis.normalise

    def wrong(source: ir.Model) -> ir.Model:
        made = honest(source)
        edit(made)
        return made

    monkeypatch.setattr(analysis, "normalise", wrong)


def becomes(old: str, new: str) -> Callable[[ir.Model], None]:
    def edit(made: ir.Model) -> None:
        for node in made.graph.all_nodes():
            if node.op_type == old:
                node.op_type = new

    return edit


def run(path: Path, command: str) -> None:
    out = path.with_name("out.onnx")
    if command == "clean":
        clean_file(path, out, CleanSettings())
    else:
        prune_file(path, out, PruneSettings(lossless=True) if command == "lossless" else BARE)


COMMANDS = pytest.mark.parametrize("command", ["prune", "lossless", "clean"])


@COMMANDS
def test_another_operator(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, between("b = Relu(a)"))
    wrongly_normalised(monkeypatch, becomes("Relu", "Sigmoid"))
    with pytest.raises(ProofFailed):
        run(path, command)
    assert not path.with_name("out.onnx").exists()


PADDED = """(float[n,3,t] x) => (float[n,2,r] y)
    <int64[1] two = {2}, int64[1] least = {6}, int64[5] none = {0,0,0,0,0}, float[8,3,1] w, float[2,8,1] v> {
    s = Shape(x)  l = Gather(s, two)  k = Max(l, least)  p = Sub(k, l)  pads = Concat<axis=0>(none, p)
    q = Pad(x, pads)  a = Conv(q, w)  b = Relu(a)  y = Conv(b, v) }"""


@pytest.mark.parametrize("command", ["prune", "clean"])
def test_a_bound_that_only_small_sizes_meet(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals of fewer than six steps are padded."""
    path = written(tmp_path, model(PADDED))
    run(path, command)
    wrong = {**data_rules._ELEMENTWISE, "Max": lambda one, _: one}
    monkeypatch.setattr(data_rules, "_ELEMENTWISE", wrong)
    with pytest.raises(ProofFailed):
        run(path, command)


NORMED = """(float[n,6,8] x) => (float[n,6,2] y) <float[8] s, float[8,16] w, float[16,2] head> {
    a = SimplifiedLayerNormalization<axis=-1%s>(x, s)  b = MatMul(a, w)  c = Relu(b)  y = MatMul(c, head) }"""


@pytest.mark.parametrize("command", ["prune", "clean"])
@pytest.mark.parametrize("stated", [",epsilon=1e-5", ""])
def test_an_epsilon_that_large_numbers_hide(
    command: str, stated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, model(NORMED % stated, checked=False))
    run(path, command)

    def forgotten(made: ir.Model) -> None:
        for value in made.graph.initializers.values():
            if value.const_value is not None and np.allclose(value.const_value.numpy(), 1e-5, atol=0):
                value.const_value = ir.tensor(np.zeros_like(value.const_value.numpy()), name=value.name)

    wrongly_normalised(monkeypatch, forgotten)
    with pytest.raises(ProofFailed, match="differs from the file that was read"):
        run(path, command)


@COMMANDS
def test_a_weight_that_no_input_shows(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One last bit of one weight."""
    path = written(tmp_path, between("b = Relu(a)"))
    wrongly_normalised(monkeypatch, lambda made: replace(made, "v", np.nextafter(numbers(made, "v"), np.float32(9))))
    with pytest.raises(ProofFailed, match="weight 'v' is not what the file holds"):
        run(path, command)


@COMMANDS
@pytest.mark.parametrize("old", ["Relu", "Neg"])
@pytest.mark.parametrize("named", [False, True])
def test_either_branch(command: str, old: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs take one branch, the proof both, whether the file names its nodes or not."""
    proto = model(BRANCHES)
    if named:
        for number, node in enumerate(proto.graph.node):
            node.name = f"own_{number}"
    path = written(tmp_path, proto)

    def edit(made: ir.Model) -> None:
        for node in made.graph.all_nodes():
            if node.op_type == old and node.graph is not made.graph:
                node.op_type = "Abs"

    if command != "lossless":  # there is nothing that it could remove
        run(path, command)
    wrongly_normalised(monkeypatch, edit)
    with pytest.raises(ProofFailed):
        run(path, command)


@pytest.mark.parametrize("command", ["clean", "prune"])
@pytest.mark.parametrize(("size", "told"), [("h", ["sizes"]), ("w", [])])
def test_what_holds_for_sizes_called_alike_is_not_claimed_of_others(
    tmp_path: Path, command: str, size: str, told: list[str]
) -> None:
    """By ONNX the difference of the two is zero, and ONNX Runtime computes it."""
    proto = model(
        f"""(float[n,3,h,{size}] x) => (float[n,4] y)
        <float[3,8] w, float[8,4] v, int64[1] two = {{2}}, int64[1] three = {{3}}> {{
        p = ReduceMean<axes=[2,3], keepdims=0>(x)  a = MatMul(p, w)  r = Relu(a)  m = MatMul(r, v)
        s = Shape(x)  b = Gather(s, two)  c = Gather(s, three)  d = Sub(b, c)  e = Cast<to=1>(d)  y = Add(m, e) }}""",
        opset=17,
    )
    path, out = written(tmp_path, proto), tmp_path / "out.onnx"
    report = clean_file(path, out, CleanSettings()) if command == "clean" else prune_file(path, out, BARE).report
    assert report.proof is not None
    assert [row.group for row in report.proof.not_proved] == told


def test_weights_that_are_sizes_and_fit_no_longer_once_moved_hide_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model with moved weights did not run, which was taken for a file that ONNX Runtime refuses."""
    text = """(float[N,4,6,6] x) => (float[N,3,6,6] y) <float[12,4,1,1] w, float[12] b, float[4] factors = {1,1,1,1},
        float[3,12,1,1] v> { a = Conv(x, w, b)  z = Resize<mode="nearest">(a, , factors)  y = Conv(z, v) }"""
    honest = analysis.normalise

    def wrong(given: ir.Model) -> ir.Model:
        made = honest(given)
        first = next(node for node in made.graph if node.op_type == "Conv")
        first.append(part := ir.node("Relu", first.outputs, name="another"))
        first.outputs[0].replace_all_uses_with(part.outputs[0])
        part.replace_input_with(0, first.outputs[0])
        return made

    monkeypatch.setattr(preparation, "demand_prepared_wiring", lambda *_: None)  # runs alone are asked here
    monkeypatch.setattr(analysis, "normalise", wrong)
    with pytest.raises(ProofFailed, match="differs from the file"):
        prune(in_memory(model(text)), PruneSettings(ratio=0.5, round_to=1, recover="none"))


BOUNDED = """<ir_version: 10, opset_import: ["" : 18, "my" : 1]>
g (float[n,6] x) => (float[n,3] y) <float[6,3] w = {1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2,1,0}> {
  b = my.bounded(x)  y = MatMul(b, w) }
<domain: "my", opset_import: ["" : 18]> bounded (x) => (y) {
  low = Constant<value = float {-90.0}>()  high = Constant<value = float {90.0}>()  y = Clip(x, low, high) }
"""


def test_functions_that_are_put_back_keep_bounds_that_no_input_reaches() -> None:
    kept = ir.from_proto(onnx.parser.parse_model(BOUNDED))
    plain = normalise(kept.clone())
    assert prove_with_functions(plain, kept, RunSettings()) == []
    other = ir.from_proto(onnx.parser.parse_model(BOUNDED.replace("x, low, high", "x, low")))
    with pytest.raises(ProofFailed, match="reads"):
        prove_with_functions(plain, other, RunSettings())
