"""The proof can fail: wrong weights, wrong shapes, NaNs and files that do not load are seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.groups import group
from compressor.channels.labels import UnitArray
from compressor.channels.plan import PruningPlan, units_of
from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.core.compare import Tolerance, distance
from compressor.errors import ModelError, OutOfMemory, ProofFailed, ProviderUnavailable
from compressor.graph.disk import files, stream
from compressor.graph.form.normalise import normalise
from compressor.graph.sizes.feeds import feeds
from compressor.graph.sizes.shapes import Shapes
from compressor.operators.reference import Reference
from compressor.operators.sizes import infer
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut import analysis, apply, surgery
from compressor.pruning.cut.apply import apply_plan
from compressor.pruning.proofs import proof
from compressor.pruning.proofs.graphs.interface_match import demand_same_interface
from compressor.pruning.proofs.outputs.evidence import Evidence, demand_proof, together
from compressor.pruning.proofs.outputs.standard import Standard
from compressor.pruning.proofs.proof import MaskedReference
from compressor.pruning.proofs.runs.inputs import Inputs
from compressor.runtime.stored import Runs, Stored, run_once
from compressor.steps.prune import choose, prove_cut
from tests.models import MERGED_HEADS, between, in_memory, model, tokens
from tests.oracle import Pair, couple, pair

SETTINGS = PruneSettings(ratio=0.5, round_to=1, recover="none", scope="local")


def run_pair(proto: onnx.ModelProto | None = None) -> Pair:
    return pair(in_memory(between("b = Relu(a)") if proto is None else proto), SETTINGS)


def replace(model: ir.Model, name: str, array: np.ndarray) -> None:
    model.graph.initializers[name].const_value = ir.tensor(array, name=name)


def numbers(model: ir.Model, name: str) -> np.ndarray:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy().copy()


def confirm(
    reference: ir.Model,
    found: ir.Model,
    shapes: Shapes,
    settings: PruneSettings = SETTINGS,
    masks: Reference | None = None,
) -> Evidence:
    with TemporaryDirectory() as folder:
        one, two = (Stored.write(m, Path(folder), settings.provider) for m in (reference, found))
        evidence, _ = proof.prove(MaskedReference(reference, one, masks), two, shapes, settings)
    demand_proof(evidence)
    return evidence


def prove(found: Pair) -> Evidence:
    return confirm(found.reference, found.smaller, found.shapes)


# ---- what must fail -----------------------------------------------------------------------------------------


def test_a_right_pair_passes() -> None:
    evidence = prove(run_pair())
    assert evidence.passed
    assert evidence.max_rel_err < 1e-6
    assert evidence.inputs == [{"x": [3, 4, 6, 6]}]


@pytest.mark.parametrize("name", ["w", "bias", "v", "head"])
@pytest.mark.parametrize("position", [0, -1])
def test_one_wrong_number(name: str, position: int) -> None:
    found = run_pair()
    array = numbers(found.smaller, name)
    array.reshape(-1)[position] += 0.05 * np.abs(array).max()
    replace(found.smaller, name, array)
    with pytest.raises(ProofFailed, match=r"output 'y' .* is off by"):
        prove(found)


@pytest.mark.parametrize(("name", "axis"), [("w", 0), ("bias", 0), ("v", 0), ("v", 1), ("head", 1)])
def test_channels_of_one_weight_in_another_order(name: str, axis: int) -> None:
    found = run_pair()
    replace(found.smaller, name, np.roll(numbers(found.smaller, name), 1, axis))
    with pytest.raises(ProofFailed):
        prove(found)


def test_removing_others_than_masked() -> None:
    """Masks from one plan, removal by another."""
    one = run_pair()
    other = pair(in_memory(between("b = Relu(a)")), SETTINGS.model_copy(update={"criterion": "random"}))
    with pytest.raises(ProofFailed):
        confirm(one.reference, other.smaller, one.shapes)


def test_a_nan() -> None:
    found = run_pair()
    array = numbers(found.smaller, "v")
    array[0, 0] = np.nan
    replace(found.smaller, "v", array)
    with pytest.raises(ProofFailed, match="inf"):
        prove(found)


def test_a_model_that_does_not_load() -> None:
    found = run_pair()
    replace(found.smaller, "v", numbers(found.smaller, "v")[:, :-1])
    with pytest.raises(ProofFailed, match="a model made from the original fails"):
        prove(found)


def test_a_provider_that_is_not_there() -> None:
    settings = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "provider": "QNNExecutionProvider"})
    with pytest.raises(ProviderUnavailable, match="QNNExecutionProvider"):
        prune(in_memory(between("b = Relu(a)")), settings)


def test_a_failed_proof_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = surgery.compact
    monkeypatch.setattr(surgery, "compact", lambda array, *rest: honest(array, *rest) * np.asarray(1.01, array.dtype))
    with pytest.raises(ProofFailed) as raised:
        prune(in_memory(between("b = Relu(a)")), SETTINGS)
    assert raised.value.exit_code == 5
    assert prune(in_memory(between("b = Relu(a)")), SETTINGS.model_copy(update={"verify": "off"})).report.proof is None


def test_tolerances_are_the_users() -> None:
    found = run_pair()
    replace(found.smaller, "head", numbers(found.smaller, "head") * np.float32(1 + 3e-4))
    with pytest.raises(ProofFailed):
        prove(found)
    for looser in ({"rtol": 1e-3}, {"atol": 1.0}):
        assert confirm(found.reference, found.smaller, found.shapes, SETTINGS.model_copy(update=looser)).passed


# ---- comparison ---------------------------------------------------------------------------------------------


def f32(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


@pytest.mark.parametrize(
    ("expected", "found", "fine"),
    [
        (f32(1, 2), f32(1, 2), True),
        (f32(100, 0), f32(100, 0.009), True),
        (f32(100, 0), f32(100, 0.011), False),
        (f32(0, 0), f32(0, 0), True),
        (f32(0, 0), f32(0, 1e-3), False),
        (f32(1, 2), f32(1, 2, 3), False),
        (f32(np.nan, 2), f32(np.nan, 2), True),
        (f32(np.nan, 2), f32(1, 2), False),
        (f32(1, 2), f32(1, np.nan), False),
        (f32(np.inf, 2), f32(np.inf, 2), True),
        (f32(np.inf, 2), f32(3, 2), False),
        (f32(np.nan, np.nan), f32(np.nan, np.nan), True),
        (np.asarray([1.0, 2], np.float16), np.asarray([1.01, 2], np.float16), True),
        (np.asarray([1.0, 2], np.float16), np.asarray([1.1, 2], np.float16), False),
        (np.arange(2000), np.arange(2000), True),
        (np.arange(2000), np.where(np.arange(2000) == 7, 0, np.arange(2000)), True),
        (np.arange(200), np.where(np.arange(200) == 7, 0, np.arange(200)), False),
        (np.asarray([True, False]), np.asarray([True, True]), False),
        (np.zeros(0, np.int64), np.zeros(0, np.int64), True),
        (np.zeros(0, np.float32), np.zeros(0, np.float32), True),
    ],
)
def test_compare(expected: np.ndarray, found: np.ndarray, fine: bool) -> None:
    assert distance(expected, found, Tolerance(1e-4)).passed is fine


def test_infinities_of_opposite_sign_differ() -> None:
    assert not distance(f32(np.inf, 1), f32(-np.inf, 1), Tolerance(1e-4)).passed


def test_a_nan_is_not_an_infinity() -> None:
    assert not distance(f32(np.inf, 1), f32(np.nan, 1), Tolerance(1e-4)).passed


def test_errors_are_shares_of_the_range() -> None:
    gap = distance(f32(200, 0), f32(200, 1), Tolerance(1e-4))
    assert (gap.max_rel, gap.max_abs) == pytest.approx((0.005, 1.0))


def test_the_worst_output_is_named() -> None:
    one = Runs(["p", "q"], [{}], [[f32(1), f32(1)]])
    two = Runs(["p", "q"], [{}], [[f32(1), f32(2)]])
    evidence = Evidence.of(Standard(one, Tolerance(1e-4)), two)
    assert (evidence.passed, evidence.worst, evidence.max_rel_err) == (False, "q", 1.0)
    with pytest.raises(ProofFailed, match="'q'"):
        demand_proof(evidence)


# ---- inputs -------------------------------------------------------------------------------------------------


def test_open_sizes_are_proved_at_a_probe_and_at_a_size_of_its_own() -> None:
    proto = model(
        """(float[N,4,H,W] x) => (float y) <float[16,4,3,3] w, float[6,16,1,1] v> { a = Conv(x, w)  b = Relu(a)
        y = Conv(b, v) }"""
    )
    proof_row = prune(in_memory(proto), SETTINGS).report.proof
    assert proof_row is not None
    sizes = [run["x"] for run in proof_row.inputs]
    assert len(sizes) == 3
    assert all((len(set(column)) == 1) == (k == 1) for k, column in enumerate(zip(*sizes, strict=True)))


def merged_heads() -> tuple[ir.Model, Coupling, ir.Model, Reference]:
    """A model whose masks fit the first size only, cut; its coupling, its reference, and what was masked there."""
    source, coupling = couple(in_memory(model(MERGED_HEADS)), SETTINGS)
    plan = choose_channels(coupling, SETTINGS, 1).plan
    cut = ChannelMask(coupling, units_of(plan, coupling))
    reference, masks = surgery.mask(source, cut)
    surgery.remove(source, cut)
    return source, coupling, reference, masks


def test_a_model_that_runs_at_one_size_only() -> None:
    """Where a mask fits the first size only, the second is still run, and must run."""
    source, coupling, reference, masks = merged_heads()
    join = next(n for n in source.graph if n.outputs[0].name == "b").inputs[1]
    assert join is not None
    replace(source, str(join.name), np.asarray([coupling.shapes.inputs["x"][0], 5, 8]))
    with pytest.raises(ProofFailed):
        confirm(reference, source, coupling.shapes, masks=masks)


def test_values_that_are_compared_at_one_size_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the shapes of outputs are held against those that follow from the graph."""
    monkeypatch.setattr(prove_cut, "at_second_size", lambda *_: None)
    found = prune(in_memory(model(MERGED_HEADS)), SETTINGS).report.proof
    assert found is not None
    assert [(row.group, row.reason) for row in found.not_proved] == [("sizes", proof.SIZED)]


SQUARE = """(float[n,3,h,h] x) => (float[n,k] y) <int64[1] two = {2}, int64[1] three = {3}> {
    p = ReduceMean<axes=[2,3], keepdims=0>(x)  s = Shape(x)  a = Gather(s, two)  b = Gather(s, three)
    d = Sub(a, b)  e = Cast<to=1>(d)  y = MIDDLE }"""


@pytest.mark.parametrize(
    ("reference", "found", "told"),
    [
        ("Add(p, e)", "Add(p, e)", False),
        ("Add(p, e)", "Identity(p)", True),
        ("Add(p, e)", "Reshape(p, s)", True),  # does not run
        ("Reshape(p, s)", "Identity(p)", False),  # nobody runs that at any size
    ],
)
def test_sizes_that_one_input_calls_alike_are_made_different(
    tmp_path: Path, reference: str, found: str, told: bool
) -> None:
    plain, one, two = (
        in_memory(model(SQUARE.replace("MIDDLE", text), opset=17)) for text in ("Identity(p)", reference, found)
    )
    inputs = Inputs(plain, infer(normalise(plain)), 0)
    assert inputs.unlike is not None
    assert inputs.unlike["x"].shape == (3, 3, 96, 192)
    stored = [Stored.write(m, tmp_path, "cpu") for m in (one, two)]
    reasons = [row.reason for row in proof.unlike(*stored, inputs, SETTINGS)]
    assert reasons == [proof.UNLIKE] * told
    assert proof.unlike(*stored, inputs, SETTINGS.model_copy(update={"verify": "quick"})) == []


def test_outputs_of_another_shape_at_another_size_fail() -> None:
    source, coupling, reference, masks = merged_heads()
    batch = coupling.shapes.inputs["x"][0]
    small = source.clone()
    # As many rows as the first size has, the last one from the end: at another size the number is another.
    rows = ir.Value(name="rows", const_value=ir.tensor(np.asarray([*range(batch - 1), -1], np.int64), name="rows"))
    small.graph.register_initializer(rows)
    y = small.graph.outputs[0]
    made = ir.node("Gather", [y, rows], attributes={"axis": 0}, name="as_many")
    made.outputs[0].type, y.name, made.outputs[0].name = y.type, "y0", y.name
    small.graph.append(made)
    small.graph.outputs[0] = made.outputs[0]
    with pytest.raises(ProofFailed, match="follows from the graph"):
        confirm(reference, small, coupling.shapes, masks=masks)


def test_inputs_repeat_and_follow_the_seed() -> None:
    source, coupling = couple(in_memory(between("b = Relu(a)")), SETTINGS)
    one, two, other = (feeds(source, coupling.shapes.inputs, coupling.shapes, seed)["x"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != other).all()


def test_indices_stay_within_their_table() -> None:
    proto = model(
        """(int64[N,T] i, int32[N,T] j, bool[N,T] k) => (float y) <float[7,16] w, float[5,16] u, float[16,6] v> {
            e = Gather(w, i)  c = Cast<to=7>(j)  f = Gather(u, c)  g = Add(e, f)
            last = Constant<value_ints=[2]>()  m = Unsqueeze(k, last)  h = Where(m, g, e)  y = MatMul(h, v) }"""
    )
    source, coupling = couple(in_memory(proto), SETTINGS)
    made = feeds(source, coupling.shapes.inputs, coupling.shapes, 0)
    assert made["i"].max() == 6
    assert made["j"].max() == 4
    assert made["j"].dtype == np.int32
    assert made["k"].dtype == np.bool_
    assert prune(in_memory(proto), SETTINGS).report.proof is not None


def test_half_precision() -> None:
    proto = model(
        """(float16[3,5,8] x) => (float16 y) <float16[8,16] w, float16[16,6] v> { a = MatMul(x, w)  b = Relu(a)
        y = MatMul(b, v) }"""
    )
    found = prune(in_memory(proto), SETTINGS).report.proof
    assert found is not None
    assert found.tolerance == pytest.approx(1e-2)


# ---- the reference ------------------------------------------------------------------------------------------


def test_reference_is_the_original_with_zeros() -> None:
    """A chain without norms: masked outputs equal those with the consumers' slices set to zero by hand."""
    proto = between("b = Relu(a)")
    found = run_pair(proto)
    by_hand = in_memory(proto)
    for name, read in (("v", "b"), ("head", "z")):
        keep = found.cut.keep(found.originals[read], (1,))
        array = numbers(by_hand, name)
        array[:, ~keep] = 0
        replace(by_hand, name, array)
    inputs = [feeds(found.reference, found.shapes.inputs, found.shapes, 0)]
    one, two = (run_once(m, inputs, "cpu").outputs[0][0] for m in (found.reference, by_hand))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
    original = run_once(in_memory(proto), inputs, "cpu").outputs[0][0]
    assert np.abs(one - original).max() > 0.1


def test_layer_norm_of_the_reference_by_hand() -> None:
    """Statistics over the kept features only."""
    proto = tokens("b = LayerNormalization(a, s, p)", more="float[16] s, float[16] p")
    found = run_pair(proto)
    keep = found.cut.keep(found.originals["b"], (2,))
    inputs = feeds(found.reference, found.shapes.inputs, found.shapes, 0)
    arrays = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer}
    a = (inputs["x"] @ arrays["w"] + arrays["bias"])[..., keep]
    normal = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)
    z = (normal * arrays["s"][keep] + arrays["p"][keep]) @ arrays["v"][keep]
    columns = found.cut.keep(found.originals["z"], (2,))
    expected = z[..., columns] @ arrays["head"][columns]
    for member in (found.reference, found.smaller):
        np.testing.assert_allclose(run_once(member, [inputs], "cpu").outputs[0][0], expected, rtol=1e-4, atol=1e-5)


def test_masking_leaves_the_model_alone() -> None:
    model_, coupling = couple(in_memory(between("b = Relu(a)")), SETTINGS)
    before = ir.to_proto(model_).SerializeToString(deterministic=True)
    surgery.mask(model_, ChannelMask(coupling, group(coupling)[0].units[:4]))
    assert ir.to_proto(model_).SerializeToString(deterministic=True) == before


# ---- signatures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["name", "type", "shape", "missing"])
def test_signatures_that_differ(change: str) -> None:
    before, after = (in_memory(between("b = Relu(a)")) for _ in range(2))
    out = after.graph.outputs[0]
    if change == "name":
        out.name = "other"
    elif change == "type":
        out.type = ir.TensorType(ir.DataType.FLOAT16)
    elif change == "shape":
        out.shape = ir.Shape((3, 2, 6, 5))
    else:
        after.graph.outputs.append(after.graph.node(0).outputs[0])
    with pytest.raises(ProofFailed, match=r"inputs or outputs|'y' was"):
        demand_same_interface(before, after)


def test_what_the_original_leaves_open_nobody_binds_to() -> None:
    before, after = (in_memory(between("b = Relu(a)")) for _ in range(2))
    before.graph.outputs[0].shape = None
    demand_same_interface(before, after)


def test_signatures_that_agree() -> None:
    demand_same_interface(in_memory(between("b = Relu(a)")), in_memory(between("b = Abs(a)")))


def test_an_index_that_the_runtime_refuses_is_replaced() -> None:
    """A sum over positions cannot be followed; zeros are within every table."""
    proto = model(
        """(int64[N,5] ids) => (float y) <float[4,8] table, float[8,16] w, float[16,3] v, int64 axis = {1}> {
        c = CumSum(ids, axis)  e = Gather(table, c)  a = MatMul(e, w)  b = Relu(a)  y = MatMul(b, v) }"""
    )
    proof_row = prune(in_memory(proto), SETTINGS).report.proof
    assert proof_row is not None
    assert proof_row.passed


def test_a_size_that_nothing_fits_names_the_option() -> None:
    proto = model(
        """(int64[N,5] ids) => (float y) <float[4,8] table, float[8,16] w, float[16,3] v, int64 axis = {1},
        int64 far = {100}> {
        c = CumSum(ids, axis)  g = Add(c, far)  e = Gather(table, g)  a = MatMul(e, w)  b = Relu(a)
        y = MatMul(b, v) }"""
    )
    with pytest.raises(ModelError, match="--dim NAME=SIZE"):
        prune(in_memory(proto), SETTINGS)


# ---- the file as it was read, and as it was written ---------------------------------------------------------


def written(tmp_path: Path) -> Path:
    path = tmp_path / "in.onnx"
    onnx.save(between("b = Relu(a)"), path)
    return path


def test_reading_is_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = files.load_model

    def wrong(path: Path) -> ir.Model:
        made = honest(path)
        replace(made, "w", numbers(made, "w")[::-1].copy())
        return made

    monkeypatch.setattr(files, "load_model", wrong)
    with pytest.raises(ProofFailed, match="the prepared graph differs"):
        prune_file(written(tmp_path), tmp_path / "out.onnx", SETTINGS)


def test_a_lossless_run_is_not_compared_with_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the channels go, dead or not."""
    monkeypatch.setattr(choose, "lossless_plan", lambda coupling, *_: (half(coupling), group(coupling)))

    def half(coupling: Coupling) -> PruningPlan:
        return choose_channels(coupling, SETTINGS, 1).plan

    with pytest.raises(ProofFailed):
        prune(in_memory(between("b = Relu(a)")), PruneSettings(lossless=True))


@pytest.mark.parametrize("external_data", [False, True])
def test_the_bytes_that_are_put_in_place_are_proved(
    external_data: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte of the last weight is lost on the way to the disk: no file, and the one that was there stays."""
    honest = stream.FileLayout.write_data if external_data else stream.FileLayout.write

    def wrong(layout: stream.FileLayout, *given: Any) -> None:
        honest(layout, *given)
        file: BinaryIO = given[-1]
        file.seek(file.tell() // 2)
        file.write(b"\x55\x7f\x55\x7f")
        file.seek(0, 2)

    monkeypatch.setattr(stream.FileLayout, "write_data" if external_data else "write", wrong)
    (tmp_path / "out.onnx").write_text("old")
    settings = SETTINGS.model_copy(update={"external_data": external_data})
    with pytest.raises(ProofFailed):
        prune_file(written(tmp_path), tmp_path / "out.onnx", settings)
    assert (tmp_path / "out.onnx").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.onnx", "out.onnx"]


def test_the_written_file_may_round_as_other_kernels_do(tmp_path: Path) -> None:
    """No tolerance at all: the file is run as the proof ran it, bit by bit the same."""
    weights = "float[12,32] v, float[32] b, float[32,32] w, float[32] c, float[32,4] u"
    nodes = "h = MatMul(x, v) i = Add(h, b) j = Relu(i) k = MatMul(j, w) l = Add(k, c) y = MatMul(l, u)"
    onnx.save(model(f"(float[N,12] x) => (float y) <{weights}> {{ {nodes} }}"), tmp_path / "in.onnx")
    settings = SETTINGS.model_copy(update={"rtol": 0.0, "atol": 0.0})
    prune_file(tmp_path / "in.onnx", tmp_path / "out.onnx", settings)
    assert (tmp_path / "out.onnx").is_file()


def test_applying_a_plan_leaves_the_analysis_alone() -> None:
    found = analysis.analyse(in_memory(between("b = Relu(a)")), SETTINGS)
    before = ir.to_proto(found.model).SerializeToString(deterministic=True)
    plan = choose_channels(found.coupling, SETTINGS, 1).plan
    one, two = (ir.to_proto(apply_plan(found, plan)).SerializeToString(deterministic=True) for _ in range(2))
    assert one == two
    assert len(one) < len(before)
    assert ir.to_proto(found.model).SerializeToString(deterministic=True) == before


def test_a_plan_that_is_not_what_is_removed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every index shifted by one, on the way from the plan to the cut."""
    honest = apply.units_of

    def shifted(plan: PruningPlan, coupling: Coupling) -> UnitArray:
        moved = [dataclasses.replace(r, indices=tuple(i + 1 for i in r.indices if i < 7)) for r in plan.removals]
        return honest(PruningPlan(tuple(moved), plan.policy), coupling)

    monkeypatch.setattr(apply, "units_of", shifted)
    with pytest.raises(ProofFailed, match="that the plan removes"):
        prune(in_memory(between("b = Relu(a)")), SETTINGS)


def test_memory_that_runs_out_is_no_failed_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *_: object, **__: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")

    monkeypatch.setattr("onnxruntime.InferenceSession", Full)
    with pytest.raises(OutOfMemory) as raised:
        prune(in_memory(between("b = Relu(a)")), SETTINGS)
    assert raised.value.exit_code == 8


def test_proofs_of_several_steps_name_every_group_once() -> None:
    several = [Evidence(1e-4, shifted_together=names, noticed=1) for names in (["a", "b"], ["b", "c"])]
    found = together(several)
    assert found is not None
    assert (found.shifted_together, found.noticed) == (["a", "b", "c"], 2)
