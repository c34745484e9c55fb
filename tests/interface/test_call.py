"""Models and samples of every kind go in; what comes out names no temporary file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import compressor
from compressor.errors import GateMissed, ModelError, NothingToPrune, PlanError, ProofFailed, UsageError
from tests.models import between, model


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    return between("b = Relu(a)")


def every_kind(proto: onnx.ModelProto, folder: Path) -> dict[str, Any]:
    onnx.save(proto, str(folder / "net.onnx"))
    return {
        "text": str(folder / "net.onnx"),
        "path": folder / "net.onnx",
        "bytes": proto.SerializeToString(),
        "proto": proto,
        "ir": ir.from_proto(proto),
    }


def test_every_kind_of_model_gives_the_same(proto, tmp_path) -> None:
    found = {
        kind: compressor.prune(given, ratio=0.5, round_to=1) for kind, given in every_kind(proto, tmp_path).items()
    }
    sizes = {kind: result.report.output.params for kind, result in found.items()}
    assert len(set(sizes.values())) == 1
    assert {kind for kind, result in found.items() if result.report.input.path} == {"text", "path"}
    plans = {kind: result.plan.removals for kind, result in found.items()}
    assert all(plan == plans["text"] for plan in plans.values())


@pytest.mark.parametrize("kind", ["bytes", "proto", "ir"])
def test_every_function_takes_what_is_in_memory(proto, tmp_path, kind) -> None:
    given = every_kind(proto, tmp_path)[kind]
    small = compressor.prune(given, ratio=0.5, round_to=1)
    reports = [
        compressor.inspect(given),
        compressor.clean(given).report,
        compressor.quantize(given, samples=4).report,
        compressor.diff(given, small.model),
        compressor.diff(given, small),
        compressor.verify(given, given),
        compressor.bench(given, small.model, runs=10, seconds=0, rounds=1, warmup_seconds=0, memory=False),
        compressor.sensitivity(given, ratios=(0.5,), samples=4),
    ]
    for report in reports:
        assert "/onnx-compressor-" not in report.to_json(), type(report)
        assert 10 < len(repr(report)) < 400
        assert report._repr_html_().startswith("<table>")
    assert reports[3] == reports[4], "a result stands for its model"
    assert "proof passed" in repr(small)
    assert repr(small) == f"<PruneResult: {repr(small.report).partition(': ')[2]}"


def test_saved_results_are_the_model(proto, tmp_path) -> None:
    for number, result in enumerate((compressor.prune(proto), compressor.clean(proto), compressor.load)):
        if callable(result):
            continue
        place = tmp_path / f"{number}.onnx"
        assert compressor.save(result, place) == place.stat().st_size
        assert compressor.verify(result.model, place).passed
        again = tmp_path / f"{number}.again.onnx"
        assert result.save(str(again)) == again.stat().st_size
        assert again.read_bytes() == place.read_bytes()


IMAGES = np.random.default_rng(0).normal(size=(12, 4, 6, 6)).astype(np.float32)
CLASSES = np.arange(12) % 2
HEAD = "(float[n,4,6,6] x) => (float[n,2] y) <float[16,4,3,3] w, float[2,16] v, float[2] bias>"
CLASSIFIER = f"""{HEAD} {{
    a = Conv<pads=[1,1,1,1]>(x, w)
    r = Relu(a)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    y = Gemm<transB=1>(f, v, bias)
}}"""


class Once:
    """An iterable that can be read once."""

    def __iter__(self) -> Any:
        return iter([(IMAGES[:6], CLASSES[:6]), (IMAGES[6:], CLASSES[6:])])


SAMPLES = {
    "array": IMAGES,
    "pair": (IMAGES, CLASSES),
    "mapping": {"x": IMAGES, "y": CLASSES},
    "batches": [(IMAGES[:6], CLASSES[:6]), (IMAGES[6:], CLASSES[6:])],
    "mappings": [{"x": IMAGES[:6]}, {"x": IMAGES[6:]}],
    "iterator": Once(),
    "function": lambda: (IMAGES, CLASSES),
    "function of batches": lambda: iter([IMAGES[:6], IMAGES[6:]]),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_of_every_kind_are_the_same_samples(kind) -> None:
    net = model(CLASSIFIER)
    result = compressor.prune(net, ratio=0.5, round_to=1, recover="lstsq", data=SAMPLES[kind], val_share=0)
    same = compressor.prune(net, ratio=0.5, round_to=1, recover="lstsq", data=IMAGES, val_share=0)
    assert result.plan == same.plan
    assert result.report.settings["data"] == "data (in memory)"
    assert result.report.recovery == same.report.recovery


def test_loaders_of_torch_are_samples() -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(CLASSES))
    for given in (data, torch.utils.data.DataLoader(data, batch_size=5)):
        found = compressor.sensitivity(model(CLASSIFIER), data=given, ratios=(0.5,))
        assert found.samples == 12
        assert found.accuracy is not None


def broken() -> Any:
    yield IMAGES
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "data: it gave no sample"),
        (3.5, "data: it gave float; give a pair of arrays"),
        ({"z": IMAGES}, "no array is named x"),
        ([IMAGES, IMAGES[:, :2]], r"'x' of item 1 is float32 \(2, 6, 6\)"),
        (np.array([{}], object), "'x' holds objects"),
        (broken, "data raised OSError: the disk is gone"),
    ],
)
def test_samples_that_do_not_fit_are_one_sentence(data, words) -> None:
    with pytest.raises(UsageError, match=words):
        compressor.prune(model(CLASSIFIER), data=data)


def test_what_is_no_model_is_a_sentence(proto, tmp_path) -> None:
    for given, words in ((3, "builtins.int is no model"), (b"", "file is empty"), (b"GIF89a", "not an ONNX file")):
        with pytest.raises((UsageError, ModelError), match=words) as found:
            compressor.inspect(given)
        assert "/onnx-compressor-" not in str(found.value)
    for given in (3, proto, None):
        with pytest.raises(UsageError, match="is no model; give an onnx_ir"):
            compressor.save(given, tmp_path / "x.onnx")
    away = onnx.ModelProto()
    away.CopyFrom(proto)
    away.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ModelError, match="leaves its weights in external files"):
        compressor.prune(away)


def test_a_plan_is_what_it_is_read_from(proto, tmp_path) -> None:
    plan = compressor.prune(proto, ratio=0.5, round_to=1, recover="none").plan
    assert plan is not None
    (tmp_path / "p.json").write_text(plan.to_json())
    for given in (plan, plan.to_json(), json.loads(plan.to_json()), tmp_path / "p.json", str(tmp_path / "p.json")):
        assert compressor.prune(proto, plan=given, recover="none").plan == plan
    with pytest.raises(PlanError, match="give a file that --plan-out wrote"):
        compressor.prune(proto, plan={"schema": 2})


def test_limits_are_raised_with_what_misses_them(proto) -> None:
    small = compressor.prune(proto, ratio=0.5, round_to=1)
    with pytest.raises(ProofFailed) as differ:
        compressor.verify(proto, small.model, rtol=1e-4)
    assert compressor.verify(proto, small.model).meant
    assert differ.value.result.passed is False
    assert "of model b is off" in str(differ.value)
    with pytest.raises(GateMissed) as slow:
        compressor.bench(proto, max_latency="1us", runs=10, seconds=0, rounds=1, warmup_seconds=0, memory=False)
    assert slow.value.result.runs
    assert "max_latency allows" in str(slow.value)
    with pytest.raises(
        GateMissed, match=r"^[^-]* max_distance allows 0\.00%; try exclude for layers .*: include with one"
    ):
        compressor.quantize(proto, max_distance=0.0)


def test_one_text_is_one_glob() -> None:
    found = compressor.prune(model(CLASSIFIER), ratio=0.5, round_to=1, recover="none", include="w")
    assert found.report.settings["include"] == ["w"]
    with pytest.raises(NothingToPrune):
        compressor.prune(model(CLASSIFIER), exclude="w*")


LAYERS = """(float[n,64] x) => (float[n,64] y) <float[64,64] a, float[64,64] b, float[64,64] c, float[64,64] d> {
    p = MatMul(x, a)
    q = Relu(p)
    r = MatMul(q, b)
    s = Relu(r)
    t = MatMul(s, c)
    u = Relu(t)
    y = MatMul(u, d)
}"""


def test_a_budget_of_bytes_chooses_blocks() -> None:
    found = compressor.unify(model(LAYERS), target_size="50%", samples=4, all_layers=True)
    assert found.report.output.bytes <= found.report.input.bytes / 2
    assert len({row.block for row in found.report.layers}) > 1 or found.report.layers[0].block != "4x4"


def test_training_towards_a_later_cut_is_a_keyword() -> None:
    pytest.importorskip("torch")
    asked = {"data": (IMAGES, CLASSES), "epochs": 1, "batch_size": 6, "val_share": 0, "loss": "cross-entropy"}
    result = compressor.finetune(model(CLASSIFIER), regularizer="iss", sparsity=0.5, **asked)
    plain = compressor.finetune(model(CLASSIFIER), **asked)
    sizes = [np.abs(found.model.graph.initializers["w"].const_value.numpy()).sum() for found in (result, plain)]
    assert sizes[0] < sizes[1], "channels shrink"


def test_recipes_are_files_or_mappings(proto, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(proto, "net.onnx")
    recipe = {"model": Path("net.onnx"), "output": "out.onnx", "stages": {"prune": {"ratio": 0.5, "round_to": 1}}}
    told: list[str] = []
    report = compressor.run(recipe, progress=told.append)
    assert report.output.path == "out.onnx"
    assert any("prune: runs" in line for line in told)
    assert compressor.run(recipe, dry_run=True).stages[0].state == "kept"
    with pytest.raises(GateMissed) as missed:
        compressor.run({**recipe, "gates": {"max_size": 0.1}})
    assert "missed" in repr(missed.value.result)


def test_a_misspelt_keyword_names_the_near_one(proto) -> None:
    with pytest.raises(UsageError, match="unknown setting 'roundto'; did you mean 'round_to'"):
        compressor.prune(proto, roundto=1)


def test_progress_is_told_to_a_function_printed_or_left_out(proto, capsys) -> None:
    told: list[str] = []
    compressor.inspect(proto, progress=told.append)
    assert told == ["load", "analyse"]
    compressor.inspect(proto, progress=True)
    assert capsys.readouterr().err.splitlines() == ["load", "analyse"]
    compressor.inspect(proto)
    assert capsys.readouterr() == ("", "")


def half(_: object) -> float:
    """A metric of a user's, which finds every model alike."""
    return 0.5


def test_a_function_judges(proto) -> None:
    [row] = compressor.prune(proto, ratio=0.5, recover="none", eval=half).report.accuracy
    assert (row.metric, row.before, row.after) == ("half", 0.5, 0.5)


@pytest.mark.parametrize("function", [lambda _: 0.5, [].append], ids=["lambda", "method"])
def test_a_function_without_a_name_to_import_is_told_what_to_be(proto, function) -> None:
    with pytest.raises(UsageError, match=r"package\.module:function.*called with the model"):
        compressor.prune(proto, ratio=0.5, eval=function)


def test_a_result_says_whether_it_was_proved(proto) -> None:
    results = {name: compressor.prune(proto, ratio=0.5, recover=name, samples=8) for name in ("none", "lstsq")}
    assert all(result.proved is True for result in results.values())
    assert results["none"].evidence is not None
    assert results["lstsq"].evidence is None
    assert compressor.prune(proto, ratio=0.5, recover="none", verify="off").proved is False
    assert compressor.clean(proto).proved is True
