"""Whole runs from file to file: what is written, what is reported, what is left behind on failure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from compressor.commands.clean import clean_file
from compressor.commands.diff import diff_files
from compressor.commands.inspect import inspect_file
from compressor.commands.prune import prune, prune_file
from compressor.config import CleanSettings, PruneSettings, RunSettings
from compressor.errors import (
    CompressorError,
    ModelError,
    NothingToProve,
    NothingToPrune,
    PlanError,
    ProofFailed,
    RuleFault,
    UsageError,
)
from compressor.graph import files
from compressor.pruning import surgery
from compressor.runtime.stored import run_once
from tests.graph.joined_files import DECODER, ENCODER
from tests.models import between, in_memory, model
from tests.operators.every import CASES
from tests.property.idioms import IDIOMS

MODELS = Path(__file__).parents[2] / "models"
DIGITS = ("digits-resnet", "digits-mobilenet")
SETTINGS = PruneSettings(ratio=0.5)


def digits(name: str) -> Path:
    return MODELS / f"{name}.onnx"


def run(path: Path, images: NDArray[np.generic]) -> NDArray[np.generic]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def images(count: int) -> NDArray[np.generic]:
    with np.load(MODELS / "digits-test.npz") as data:
        return data["x"][:count]


def written(folder: Path, proto: onnx.ModelProto, name: str = "in.onnx") -> Path:
    onnx.save(proto, folder / name)
    return folder / name


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- a good run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIGITS)
def test_prune_a_trained_network(name: str, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    report = prune_file(digits(name), output, SETTINGS).report
    assert files_in(tmp_path) == {"small.onnx"}
    onnx.checker.check_model(output, full_check=True)
    assert report.output is not None
    assert report.output.bytes == output.stat().st_size
    assert report.input.bytes == digits(name).stat().st_size
    assert report.output.bytes < 0.5 * report.input.bytes
    assert report.output.macs < 0.4 * report.input.macs
    assert report.proof is not None
    assert report.proof.passed
    assert len(report.proof.inputs) == 2
    assert set(report.seconds) >= {"load", "analyse", "choose", "cut", "prove", "write"}
    assert all(g.removed * 2 == g.channels for g in report.groups if g.channels % 16 == 0)


@pytest.mark.parametrize("name", DIGITS)
def test_batch_stays_symbolic(name: str, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    prune_file(digits(name), output, SETTINGS)
    before, after = onnx.load(digits(name)).graph, onnx.load(output).graph
    for old, new in ((before.input, after.input), (before.output, after.output)):
        assert [(v.name, v.type) for v in old] == [(v.name, v.type) for v in new]
    assert after.input[0].type.tensor_type.shape.dim[0].dim_param
    many = images(7)
    together = run(output, many)
    assert together.shape == (7, 10)
    assert run(output, many[:1]).shape == (1, 10)
    np.testing.assert_allclose(
        np.concatenate([run(output, many[k : k + 1]) for k in range(7)]), together, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", DIGITS)
def test_a_trained_network_without_its_weakest_tenth_still_reads_digits(name: str, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    prune_file(digits(name), output, PruneSettings(ratio=0.1, round_to=1, criterion="product"))
    with np.load(MODELS / "digits-test.npz") as data:
        assert (run(output, data["x"]).argmax(1) == data["y"]).mean() > 0.8


SYMBOLIC = [*[n for n in IDIOMS if n.startswith("network.")][::2], "tokens.attention_bmm"]


@pytest.mark.parametrize("name", SYMBOLIC)
def test_symbolic_batches_of_other_networks(name: str) -> None:
    """One and seven at a time, neither of which any run of the proof has seen."""
    source = in_memory(IDIOMS[name]())
    found = prune(source, PruneSettings(ratio=0.4, round_to=1, verify=False)).model
    for batch in (1, 7):
        sizes = {str(v.name): [d if isinstance(d, int) else batch for d in v.shape or ()] for v in source.graph.inputs}
        one, two = (run_once(m, [feeds_of(source, sizes)], "cpu").outputs[0] for m in (source, found))
        assert [a.shape for a in one] == [a.shape for a in two]


@pytest.mark.parametrize("name", ["shufflenet", "gpt", "tagger"])
def test_a_result_can_be_pruned_again(name: str) -> None:
    found = in_memory(IDIOMS[f"network.{name}"]())
    for seed in range(3):
        settings = PruneSettings(ratio=0.25, round_to=1, criterion="random", seed=seed)
        found = prune(found, settings).model
        onnx.checker.check_model(ir.to_proto(found))


def test_a_run_without_output_writes_nothing(tmp_path: Path) -> None:
    report = prune_file(digits("digits-resnet"), None, SETTINGS).report
    assert files_in(tmp_path) == set()
    assert report.output is not None
    assert report.output.path is None
    assert report.output.bytes < report.input.bytes


def test_dry_run_reports_the_size_that_would_be_written(tmp_path: Path) -> None:
    dry = prune_file(digits("digits-resnet"), None, SETTINGS).report.output
    wet = prune_file(digits("digits-resnet"), tmp_path / "small.onnx", SETTINGS).report.output
    assert dry is not None
    assert wet is not None
    assert dry.bytes == pytest.approx(wet.bytes, rel=0.01)
    assert dry.model_copy(update={"path": wet.path, "bytes": wet.bytes}) == wet


def test_plan_out_and_replay(tmp_path: Path) -> None:
    one, two, plan = (tmp_path / name for name in ("one.onnx", "two.onnx", "plan.json"))
    prune_file(digits("digits-mobilenet"), one, PruneSettings(ratio=0.3, criterion="random", seed=5), plan_out=plan)
    prune_file(digits("digits-mobilenet"), two, SETTINGS, plan=plan)
    chosen, replayed = (files.load_model(path) for path in (one, two))
    chosen.metadata_props.clear()  # how they came about differs
    replayed.metadata_props.clear()
    assert ir.to_proto(chosen).SerializeToString() == ir.to_proto(replayed).SerializeToString()
    assert json.loads(plan.read_text())["schema"] == 1


def test_external_data(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    proto = onnx.load(digits("digits-resnet"))
    onnx.save(proto, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    output = tmp_path / "small.onnx"
    prune_file(folder / "model.onnx", output, PruneSettings(ratio=0.5, external_data=True))
    assert files_in(tmp_path) == {"in", "small.onnx", "small.onnx.data"}
    plain = tmp_path / "plain.onnx"
    prune_file(digits("digits-resnet"), plain, SETTINGS)
    np.testing.assert_array_equal(run(output, images(5)), run(plain, images(5)))


def test_progress_names_the_phases(tmp_path: Path) -> None:
    phases: list[str] = []
    prune_file(digits("digits-mobilenet"), tmp_path / "small.onnx", SETTINGS, progress=phases.append)
    assert list(dict.fromkeys(phases)) == ["load", "analyse", "samples", "prove", "choose", "cut", "write"]


# ---- determinism --------------------------------------------------------------------------------------------


def bytes_of(source: ir.Model, **settings: object) -> bytes:
    found = prune(source, PruneSettings.parse({"round_to": 1, "verify": False, **settings}))
    return ir.to_proto(found.model).SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", DIGITS)
def test_files_repeat(name: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    for output in (one, two):
        prune_file(digits(name), output, SETTINGS)
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("case", CASES[::8], ids=repr)
def test_cases_repeat(case: object) -> None:
    proto = case.build()  # type: ignore[attr-defined]
    assert bytes_of(in_memory(proto), ratio=0.5) == bytes_of(in_memory(proto), ratio=0.5)


@pytest.mark.parametrize("criterion", ["l1", "product", "fpgm", "lamp", "random"])
def test_criteria_repeat(criterion: str) -> None:
    proto = IDIOMS["network.shufflenet"]()
    runs = {bytes_of(in_memory(proto), ratio=0.5, criterion=criterion, scope="global") for _ in range(2)}
    assert len(runs) == 1


RATIO_ZERO = [name for name in IDIOMS if name.startswith("network.")][::3]


@pytest.mark.parametrize("name", RATIO_ZERO)
def test_ratio_zero_changes_no_output(name: str) -> None:
    source = in_memory(IDIOMS[name]())
    found = prune(source, PruneSettings(ratio=0.0))
    assert not found.plan.removals
    assert all(g.removed == 0 for g in found.report.groups)
    shapes = found.report.proof
    assert shapes is not None
    inputs = [feeds_of(source, sizes) for sizes in shapes.inputs]
    one, two = (run_once(m, inputs, "cpu").outputs for m in (source, found.model))
    for a, b in zip(one, two, strict=True):
        for expected, actual in zip(a, b, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def feeds_of(source: ir.Model, sizes: dict[str, list[int]]) -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    made: dict[str, NDArray[np.generic]] = {}
    for value in source.graph.inputs:
        if str(value.name) in sizes and value.dtype is not None:
            kind, shape = value.dtype.numpy(), sizes[str(value.name)]
            made[str(value.name)] = (
                rng.standard_normal(shape) if kind.kind == "f" else rng.integers(0, 2, shape)
            ).astype(kind)
    return made


# ---- failures -----------------------------------------------------------------------------------------------


def broken(folder: Path) -> Path:
    path = folder / "in.onnx"
    path.write_bytes(b"\x08\x07garbage")
    return path


def frozen(folder: Path) -> Path:
    return written(folder, model("(float[3,8] x) => (float y) <float[8,4] w> { y = MatMul(x, w) }"))


def good(folder: Path) -> Path:
    return written(folder, between("b = Relu(a)"))


FAILURES: dict[str, tuple[Callable[[Path], Path], dict[str, object], type[CompressorError], int]] = {
    "not a model": (broken, {}, ModelError, 3),
    "missing": (lambda folder: folder / "nobody.onnx", {}, ModelError, 3),
    "nothing to prune": (frozen, {}, NothingToPrune, 4),
    "nothing under these settings": (good, {"round_to": 16, "exclude": ("v",)}, NothingToPrune, 4),
    "out of reach": (good, {"target_macs": 0.001}, NothingToPrune, 4),
    "globs leave nothing": (good, {"include": ("nobody",)}, UsageError, 2),
    "unknown input": (good, {"input_shapes": {"nobody": (1,)}}, UsageError, 2),
    "unknown dimension": (good, {"dims": {"nobody": 1}}, UsageError, 2),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_leaves_no_file(name: str, tmp_path: Path) -> None:
    make, settings, error, code = FAILURES[name]
    source = make(tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(error) as raised:
        prune_file(source, tmp_path / "out.onnx", PruneSettings.parse(settings), plan_out=tmp_path / "plan.json")
    assert raised.value.exit_code == code
    assert files_in(tmp_path) == before
    assert len(str(raised.value).splitlines()) == 1


def test_a_plan_of_changed_layers_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("compressor.steps.prune.settled.analyse")
    with pytest.raises(PlanError, match="a plan holds channels alone; leave --plan-out out"):
        prune_file(good(tmp_path), None, PruneSettings(structure="lowrank"), plan_out=tmp_path / "plan.json")


def test_failed_proof_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = surgery.compact
    monkeypatch.setattr(surgery, "compact", lambda array, *rest: honest(array, *rest) * np.asarray(1.01, array.dtype))
    source = good(tmp_path)
    with pytest.raises(ProofFailed):
        prune_file(source, tmp_path / "out.onnx", SETTINGS, plan_out=tmp_path / "plan.json")
    assert files_in(tmp_path) == {"in.onnx"}


def test_failure_keeps_an_earlier_output(tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_bytes(b"precious")
    with pytest.raises(NothingToPrune):
        prune_file(frozen(tmp_path), tmp_path / "out.onnx", SETTINGS)
    assert (tmp_path / "out.onnx").read_bytes() == b"precious"


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source = good(tmp_path)
    before = source.read_bytes()
    for output in (source, tmp_path / "." / "in.onnx"):
        with pytest.raises(UsageError):
            prune_file(source, output, SETTINGS)
    assert source.read_bytes() == before
    assert files_in(tmp_path) == {"in.onnx"}


def test_a_plan_that_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    source, plan = good(tmp_path), tmp_path / "plan.json"
    plan.write_text(
        '{"schema": 1, "policy": {}, "removals": [{"group": "q", "initializer": "q", "axes": [0], "indices": [1]}]}'
    )
    with pytest.raises(PlanError):
        prune_file(source, tmp_path / "out.onnx", SETTINGS, plan=plan)
    assert files_in(tmp_path) == {"in.onnx", "plan.json"}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        prune_file(good(tmp_path), tmp_path / "nowhere" / "out.onnx", SETTINGS)
    assert files_in(tmp_path) == {"in.onnx"}


# ---- clean, inspect, diff -----------------------------------------------------------------------------------


def test_clean(tmp_path: Path) -> None:
    source = written(tmp_path, between("c = Identity(a)  b = Relu(c)  dead = Neg(a)"))
    report = clean_file(source, tmp_path / "out.onnx", CleanSettings())
    assert files_in(tmp_path) == {"in.onnx", "out.onnx"}
    assert report.output is not None
    assert (report.input.nodes, report.output.nodes) == (6, 4)
    assert report.input.params == report.output.params
    assert report.proof is not None
    assert report.proof.passed
    assert not report.proof.masked_statistics
    x = np.random.default_rng(0).standard_normal((3, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "out.onnx", x), run(source, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DIGITS)
def test_clean_a_trained_network(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    clean_file(digits(name), output, CleanSettings())
    np.testing.assert_allclose(run(output, images(5)), run(digits(name), images(5)), rtol=1e-4, atol=1e-4)


def test_clean_without_output_writes_nothing(tmp_path: Path) -> None:
    source = good(tmp_path)
    report = clean_file(source, None, CleanSettings())
    assert files_in(tmp_path) == {"in.onnx"}
    assert report.output is not None
    assert report.output.path is None


def test_inspect_changes_nothing(tmp_path: Path) -> None:
    source = good(tmp_path)
    before = source.read_bytes()
    report = inspect_file(source, RunSettings())
    assert source.read_bytes() == before
    assert files_in(tmp_path) == {"in.onnx"}
    assert {g.name: (g.channels, g.removed, g.axes) for g in report.groups} == {
        "w": (16, 0, ["w:0", "v:1", "bias:0"]),
        "v": (8, 0, ["v:0", "head:1"]),
    }
    assert [(row.value, row.axis, row.channels) for row in report.frozen] == [("head", 0, 2)]
    assert report.output is None
    assert report.prunable_params == report.input.params == 16 * 4 * 9 + 16 + 8 * 16 + 2 * 8


def test_inspect_where_nothing_can_go(tmp_path: Path) -> None:
    report = inspect_file(frozen(tmp_path), RunSettings())
    assert report.groups == []
    assert [row.reason for row in report.frozen] != []


def test_diff(tmp_path: Path) -> None:
    source, output = good(tmp_path), tmp_path / "out.onnx"
    prune_file(source, output, PruneSettings(ratio=0.5, round_to=1, exclude=("v",)))
    report = diff_files(source, output)
    assert report.same_signature
    assert report.operators == []
    assert {c.name: (c.shape_a, c.shape_b) for c in report.initializers} == {
        "w": ([16, 4, 3, 3], [8, 4, 3, 3]),
        "bias": ([16], [8]),
        "v": ([8, 16, 1, 1], [8, 8, 1, 1]),
    }
    assert report.a.params > report.b.params


def test_diff_of_operators_and_signatures(tmp_path: Path) -> None:
    one = written(tmp_path, between("b = Relu(a)"), "one.onnx")
    two = written(tmp_path, between("c = Relu(a)  b = Relu(c)  d = Neg(b)"), "two.onnx")
    report = diff_files(one, two)
    assert {c.op_type: (c.count_a, c.count_b) for c in report.operators} == {"Relu": (1, 2), "Neg": (0, 1)}
    assert report.initializers == []
    other = onnx.load(one)
    other.graph.output[0].name = "other"
    other.graph.node[-1].output[0] = "other"
    assert not diff_files(one, written(tmp_path, other, "three.onnx")).same_signature


def test_diff_of_a_file_with_itself(tmp_path: Path) -> None:
    source = good(tmp_path)
    report = diff_files(source, source)
    assert report.same_signature
    assert (report.initializers, report.operators) == ([], [])
    assert report.a == report.b


def test_files_of_one_model_are_pruned_as_one(tmp_path: Path) -> None:
    encoder = written(tmp_path, model(ENCODER, seed=1), "encoder.onnx")
    decoder = written(tmp_path, model(DECODER), "decoder.onnx")
    settings = PruneSettings(ratio=0.5, round_to=1, also=(f"{decoder}:state=state",))
    result = prune_file(encoder, tmp_path / "small.onnx", settings)
    output = result.report.output
    assert output is not None
    assert output.also == [str(tmp_path / "decoder.pruned.onnx")]
    small = [onnx.load(path) for path in (tmp_path / "small.onnx", *output.also)]
    assert [[d.dim_param or d.dim_value for d in m.graph.input[-1].type.tensor_type.shape.dim] for m in small] == [
        ["B", "T", 4],
        ["B", "S", 3],
    ]
    assert small[0].graph.output[0].type.tensor_type.shape.dim[2].dim_value == 3
    sizes = sum((tmp_path / name).stat().st_size for name in ("small.onnx", "decoder.pruned.onnx"))
    assert output.bytes == sizes
    plan = tmp_path / "plan.json"
    assert result.plan is not None
    plan.write_text(result.plan.to_json())
    again = prune_file(encoder, tmp_path / "again.onnx", PruneSettings(also=settings.also), plan=plan)
    assert again.report.output is not None
    assert again.report.output.params == output.params
    assert {row.file for row in again.report.groups} == {"encoder.onnx"}, "its output is handed over"
    with pytest.raises(PlanError, match=r"for 2 files, encoder.onnx and decoder.onnx.*--also"):
        prune_file(encoder, tmp_path / "again.onnx", PruneSettings(), plan=plan)
    result.save(tmp_path / "saved.onnx")
    assert (tmp_path / "saved.onnx").read_bytes() == (tmp_path / "small.onnx").read_bytes()
    assert [str(m.graph.outputs[0].name) for m in result.models] == ["state", "y"]


def test_a_file_that_gives_back_what_it_is_handed_keeps_its_channels(tmp_path: Path) -> None:
    encoder = written(tmp_path, model(ENCODER, seed=1), "encoder.onnx")
    echo = DECODER.replace("=> (", "=> (float[B,S,6] state, ")
    decoder = written(tmp_path, model(echo), "decoder.onnx")
    report = prune_file(encoder, tmp_path / "small.onnx", PruneSettings(round_to=1, also=(str(decoder),))).report
    assert report.proof is not None
    assert report.proof.passed
    small = onnx.load(tmp_path / "decoder.pruned.onnx")
    assert [value.name for value in small.graph.output] == ["state", "y"]
    assert small.graph.output[0].type == small.graph.input[-1].type


def test_files_of_one_model_are_all_written_or_none(tmp_path: Path) -> None:
    encoder = written(tmp_path, model(ENCODER, seed=1), "encoder.onnx")
    decoder = written(tmp_path, model(DECODER), "decoder.onnx")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "decoder.pruned.onnx").mkdir()
    with pytest.raises(UsageError, match="is not a regular file"):
        prune_file(encoder, tmp_path / "out" / "small.onnx", PruneSettings(also=(str(decoder),)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["decoder.pruned.onnx"]


def test_sequences_cannot_be_made_up(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> g (seq(float[n,4]) x) => (float[k,4] y) {
        c = ConcatFromSequence<axis=0>(x)  d = Identity(c)  y = Relu(d) }"""
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(NothingToProve, match=r"input 'x' is no tensor.*--no-verify"):
        clean_file(path, output, CleanSettings())
    assert not output.exists()
    clean_file(path, output, CleanSettings(verify=False))
    assert len(onnx.load(output).graph.node) == 2


def test_a_file_that_no_runtime_takes_is_no_fault_of_ours(tmp_path: Path) -> None:
    """ONNX lets an axis beyond all others pass; ONNX Runtime does not, which shows in the smaller model first."""
    proto = model("(float[n,8] x) => (float[n,3] y) <float[8,16] w, float[16] s, float[16,3] v> { "
                  "a = MatMul(x, w)  b = LayerNormalization(a, s)  y = MatMul(b, v) }")  # fmt: skip
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("axis", 2**40))
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(proto, path)
    with pytest.raises(ModelError, match=r"does not run before anything is removed.*LayerNormalization_1"):
        prune_file(path, output, PruneSettings(round_to=1))
    assert not output.exists()


def test_a_share_of_the_parameters_is_at_most_all_of_them(tmp_path: Path) -> None:
    """Constants that nodes share have copies in the analysed graph."""
    path = tmp_path / "in.onnx"
    text = """(float[n,8] x) => (float[n,16] y) <float[8,16] w, float[16] s, float[16,16] v> {
        a = MatMul(x, w)  b = Mul(a, s)  c = Add(b, s)  d = Mul(c, s)  e = Add(d, s)  y = MatMul(e, v) }"""
    onnx.save(model(text), path)
    report = inspect_file(path, PruneSettings())
    assert report.prunable_params == report.input.params


def test_left_out_inputs_at_the_end_do_not_end_the_process(tmp_path: Path) -> None:
    """ONNX Runtime dies of an Add and a LayerNormalization whose bias is an empty name."""
    proto = model("(float[n,t,8] x) => (float[n,t,8] y) <float[8] w, float[8] s> { a = Add(x, w)  "
                  "y = LayerNormalization(a, s) }")  # fmt: skip
    proto.graph.node[1].input.append("")
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(proto, path)
    assert clean_file(path, output, CleanSettings()).proof is not None
    assert [len(node.input) for node in onnx.load(output).graph.node] == [2, 2]


def test_nodes_that_read_what_comes_later_are_refused_in_a_sentence() -> None:
    proto = between("b = Relu(a)")
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    with pytest.raises(ModelError, match="not in topological order"):
        prune(in_memory(proto), SETTINGS)


def test_a_file_is_read_once_whatever_rule_is_distrusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, tries, read = surgery.mask, list[ir.Model](), list[str | Path]()

    def faulty(source: ir.Model, *rest: object, **more: object) -> object:
        tries.append(source)
        if len(tries) == 1:
            raise RuleFault(str(next(n.name for n in source.graph if n.op_type == "Relu")), "told to fail")
        return honest(source, *rest, **more)  # type: ignore[arg-type]

    load = files.load_model
    monkeypatch.setattr(surgery, "mask", faulty)
    monkeypatch.setattr(files, "load_model", lambda path: (read.append(path), load(path))[1])
    path = written(tmp_path, between("b = Relu(a)"))
    prune(path, PruneSettings(ratio=0.5, round_to=1, recover="none"))
    assert (len(tries), read) == (2, [path])
