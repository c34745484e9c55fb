"""A latency report of real runs: what it holds, which errors it gives, which gates it misses."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from compressor.commands.bench import bench, demand_speed, summary
from compressor.config.bench import BenchSettings
from compressor.errors import GateMissed, ModelError, ProviderUnavailable, UsageError
from compressor.results.bench import BenchReport, BenchRun, SpeedUpResult
from tests.models import model

NET = """
(float[n,4,H,H] x) => (float y) <float[M,4,3,3] w, float[8,M,1,1] v> {
    a = Conv<pads=[1,1,1,1]>(x, w)
    b = Relu(a)
    y = Conv(b, v)
}"""
QUICK = {"runs": 12, "seconds": 0, "warmup_runs": 1, "warmup_seconds": 0, "rounds": 3, "memory": False, "threads": 1}


def net(folder: Path, name: str, *, middle: int = 8, side: int = 6, batch: str = "n") -> Path:
    text = NET.replace("M", str(middle)).replace("H", str(side)).replace("[n,", f"[{batch},")
    onnx.save(model(text), str(folder / name))
    return folder / name


def quick(**changes: object) -> BenchSettings:
    return BenchSettings.parse({**QUICK, **changes})


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return net(tmp_path, "a.onnx")


def test_two_models_at_two_batch_sizes(tmp_path, a):
    b = net(tmp_path, "b.onnx", middle=4)
    found = bench(a, b, quick(batch="1,5"))
    assert [run.batch_size for run in found.runs] == [1, 5]
    assert [run.inputs for run in found.runs] == [{"x": [1, 4, 6, 6]}, {"x": [5, 4, 6, 6]}]
    for run in found.runs:
        assert run.b is not None
        assert run.speed_up is not None
        assert run.speed_up.value == pytest.approx(run.a.median_latency_ms / run.b.median_latency_ms)
        assert run.speed_up.low < run.speed_up.value < run.speed_up.high
        for column in (run.a, run.b):
            assert column.test_times == 12
            assert column.min_latency_ms <= column.median_latency_ms <= column.latency_90_percentile
            assert column.latency_90_percentile <= column.latency_99_percentile <= column.max_latency_ms
            assert pytest.approx((run.batch_size or 0) * 1000 / column.average_latency_ms) == column.QPS
            assert column.nodes == {"CPUExecutionProvider": 3}
            assert column.load_ms > 0
    assert found.providers == "CPUExecutionProvider"
    assert not found.io_binding
    assert found.a.bytes == a.stat().st_size
    assert found.b is not None
    assert found.b.macs < found.a.macs


def test_one_model_alone_has_no_speed_up(a):
    found = bench(a, None, quick())
    assert found.b is None
    assert found.runs[0].b is None
    assert found.runs[0].speed_up is None
    assert summary(found) is None


def test_json_has_the_keys_of_the_runtimes_own_tools(a):
    document = json.loads(bench(a, a, quick()).to_json())
    assert document["schema"] == "onnx-compressor.bench/1"
    assert {"engine", "providers", "io_binding", "threads"} <= set(document)
    run = document["runs"][0]
    assert run["batch_size"] == 1
    assert {
        "test_times",
        "latency_variance",
        "latency_90_percentile",
        "latency_95_percentile",
        "latency_99_percentile",
        "average_latency_ms",
        "QPS",
    } <= set(run["a"])


def test_memory_is_measured_where_it_is_wanted(a):
    column = bench(a, None, quick(memory=True)).runs[0].a
    assert column.peak_memory is None or 0 < column.peak_memory < 1 << 30


def test_a_profile_lists_operators_and_nodes_of_both(tmp_path, a):
    b = net(tmp_path, "b.onnx", middle=4)
    run = bench(a, b, quick(profile=True)).runs[0]
    convolutions = next(row for row in run.operators if row.op_type in ("Conv", "FusedConv"))
    assert convolutions.count_a == convolutions.count_b == 2
    assert convolutions.ms_a > 0
    assert sum(node.ms_a or 0 for node in run.nodes) == pytest.approx(sum(row.ms_a for row in run.operators))
    assert run.operators == sorted(run.operators, key=lambda row: -max(row.ms_a, row.ms_b or 0))


def test_a_fixed_batch_wins_and_another_is_refused(tmp_path, a):
    fixed = net(tmp_path, "fixed.onnx", batch="3")
    assert bench(fixed, None, quick()).runs[0].batch_size == 3
    with pytest.raises(UsageError, match="fixes its batch to 3, --batch asks for 2"):
        bench(fixed, None, quick(batch=2))
    assert bench(a, fixed, quick(batch=3)).runs[0].batch_size == 3
    with pytest.raises(UsageError, match=r"fixed.onnx fixes 'n' to 3, --batch asks for 2"):
        bench(a, fixed, quick(batch=2))


def test_the_only_size_that_both_take_is_measured_where_none_is_asked_for(tmp_path, a):
    (run,) = bench(a, net(tmp_path, "fixed.onnx", batch="3"), quick()).runs
    assert run.batch_size == 3


def test_open_sizes_are_given_or_warned_about(tmp_path):
    path = net(tmp_path, "open.onnx")
    proto = onnx.load(str(path))
    for axis, name in ((2, "height"), (3, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
        proto.graph.output[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(proto, str(path))
    found = bench(path, None, quick())
    assert any("leaves height, width open" in warning for warning in found.warnings)
    given = bench(path, None, quick(dims={"height": 10, "width": 12}, batch=2))
    assert given.runs[0].inputs == {"x": [2, 4, 10, 12]}
    assert not any("open" in warning for warning in given.warnings)


def test_a_shape_given_for_one_input_binds_the_batch_of_the_others(tmp_path):
    proto = model("(float[n,4] x, float[n,4] q) => (float y) { y = Add(x, q) }")
    onnx.save(proto, str(tmp_path / "two.onnx"))
    found = bench(tmp_path / "two.onnx", None, quick(input_shapes={"x": (7, 4)}))
    assert found.runs[0].inputs == {"x": [7, 4], "q": [7, 4]}
    assert found.runs[0].batch_size == 7


def test_memory_that_cannot_be_measured_is_a_warning(a, monkeypatch):
    def broken(*arguments: object) -> None:
        raise ModelError("no room")

    monkeypatch.setattr("compressor.evaluate.timings.footprint", broken)
    found = bench(a, None, quick(memory=True))
    assert found.runs[0].a.peak_memory is None
    assert any("memory was not measured: no room" in warning for warning in found.warnings)


def test_models_with_other_inputs_are_refused(tmp_path, a):
    with pytest.raises(UsageError, match=r"input 'x' has shape \[n, 4, 6, 6\] in .* and \[n, 4, 8, 8\] in .*b.onnx"):
        bench(a, net(tmp_path, "b.onnx", side=8), quick())


def test_a_missing_provider_and_a_missing_file_are_errors(tmp_path, a):
    with pytest.raises(ProviderUnavailable, match="available: "):
        bench(a, None, quick(provider="NoSuchExecutionProvider"))
    with pytest.raises(ModelError):
        bench(tmp_path / "none.onnx", None, quick())


# ---- gates ------------------------------------------------------------------------------------------------------


def report(a: Path, value: float, low: float, high: float) -> BenchReport:
    found = bench(a, a, quick())
    speed = SpeedUpResult(value=value, low=low, high=high, level=0.99, block=1)
    runs: list[BenchRun] = [run.model_copy(update={"speed_up": speed}) for run in found.runs]
    return found.model_copy(update={"runs": runs})


def test_a_speed_up_below_the_limit_misses_the_gate(a):
    found = report(a, 1.19, 1.1, 1.3)
    demand_speed(found, quick(min_speedup=1.19))
    with pytest.raises(GateMissed, match=r"B is 1.19 times as fast as A at batch 1 \(99% interval 1.1 to 1.3\).*1.2$"):
        demand_speed(found, quick(min_speedup=1.2))


def test_a_latency_above_the_limit_misses_the_gate(a):
    found = bench(a, None, quick())
    demand_speed(found, quick(max_latency="10s"))
    with pytest.raises(GateMissed, match="--max-latency allows 1e-06 ms"):
        demand_speed(found, quick(max_latency="0.000001ms"))


def test_a_limit_on_the_speed_up_of_one_model_is_refused(a):
    with pytest.raises(UsageError, match="needs two models"):
        bench(a, None, quick(min_speedup=1.1))


def test_the_summary_is_what_the_report_of_a_run_holds(a):
    found = summary(report(a, 1.5, 1.4, 1.6))
    assert found is not None
    assert (found.low, found.high, found.level, found.batch) == (1.4, 1.6, 0.99, 1)
    assert found.provider == "CPUExecutionProvider"
    assert found.device
