"""Sessions: what is asked for is what runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressor.errors import ModelError, ProviderUnavailable
from compressor.runtime import sessions
from compressor.runtime.sessions import CPU, CUDA, TENSORRT, Setup
from tests.models import model

TEXT = """
(float[n,4,6,6] x) => (float y) <float[8,4,3,3] w> {
    a = Conv<pads=[1,1,1,1]>(x, w)
    y = Relu(a)
}"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(model(TEXT), str(tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


def test_placement_counts_the_nodes_of_each_provider(path):
    assert sessions.placement(sessions.start_session(path, "cpu", Setup(placement=True))) == {CPU: 2}


def test_what_ends_the_process_and_changes_no_result_is_left_out(tmp_path: Path) -> None:
    """A Transpose and a MatMul in float16 end ONNX Runtime 1.31 with a segmentation fault, as it loads them."""
    text = """(float16[s,n,32] x) => (float16[n,s,5] y) <float16[32,5] w> {
        t = Transpose<perm=[1,0,2]>(x)  y = MatMul(t, w) }"""
    onnx.save(model(text), str(tmp_path / "half.onnx"))
    code = "import sys; from pathlib import Path; from compressor.runtime.sessions import Setup, start_session; "
    for setup in ("Setup()", "Setup.for_results(optimise=True)"):
        start = f"start_session(Path(sys.argv[1]), 'cpu', {setup})"
        done = subprocess.run(
            [sys.executable, "-c", code + start, str(tmp_path / "half.onnx")], timeout=60, check=False
        )
        assert done.returncode == 0


def test_placement_of_a_session_that_did_not_record_is_unknown(path):
    session = sessions.start_session(path, "cpu", sessions.Setup())
    assert sessions.placement(session) == {}
    sessions.demand_active(session, "cuda")  # unknown is no proof of absence


def test_a_provider_that_took_no_node_is_not_active(path):
    session = sessions.start_session(path, "cpu", Setup(placement=True))
    sessions.demand_active(session, "cpu")
    with pytest.raises(ProviderUnavailable, match=r"CUDAExecutionProvider is active but took no node .*CPU.* 2"):
        sessions.demand_active(session, "cuda")


def test_a_provider_that_is_not_there_is_named_with_those_that_are(path):
    with pytest.raises(ProviderUnavailable, match=r"NoSuchExecutionProvider is not available here; available: .*CPU"):
        sessions.start_session(path, "NoSuchExecutionProvider", Setup())


def test_threads_and_optimisation_reach_the_session(path):
    options = sessions.start_session(path, "cpu", Setup(threads=3, optimise=False, polite=True)).get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.graph_optimization_level.name == "ORT_DISABLE_ALL"
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


@pytest.mark.parametrize(("said", "threads"), [("2", 2), ("2,1", 2), ("", 0), ("many", 0), (None, 0)])
def test_threads_that_nobody_asks_for_are_those_of_the_environment(path, said, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    options = sessions.start_session(path, "cpu", Setup()).get_session_options()
    assert options.intra_op_num_threads == threads
    for asked in (0, 3):  # what is timed does not follow the environment
        session = sessions.start_session(path, "cpu", Setup(threads=asked))
        assert session.get_session_options().intra_op_num_threads == asked


@pytest.mark.parametrize(
    ("provider", "setup", "asked"),
    [
        (CUDA, Setup(cuda_graph=True), [(CUDA, {"enable_cuda_graph": "1"}), CPU]),
        (TENSORRT, Setup(cuda_graph=True), [(TENSORRT, {"trt_cuda_graph_enable": "1"}), CUDA, CPU]),
        (CPU, Setup(), [CPU]),
    ],
)
def test_cuda_graphs_are_an_option_of_the_provider(path, monkeypatch, provider, setup, asked):
    """What the runtime is started with, on a machine that has none of these."""
    started = []

    class Started:
        def __init__(self, path, options, providers, disabled_optimizers):
            started.append(providers)

        def get_providers(self):
            return [TENSORRT, CUDA, CPU]

    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(sessions.ort, "InferenceSession", Started)
    sessions.start_session(path, provider, setup)
    assert started == [asked]


def test_a_run_that_fails_is_one_sentence(path):
    session = sessions.start_session(path, "cpu", sessions.Setup())
    with pytest.raises(ModelError, match="the model does not run: ") as caught:
        sessions.run_session(session, {"x": np.zeros((1, 3, 6, 6), np.float32)})
    assert "\n" not in str(caught.value)


def test_sizes_that_do_not_fit_come_with_their_axis(path: Path) -> None:
    session = sessions.start_session(path, "cpu", Setup())
    with pytest.raises(ModelError, match=r"input: x .*index: 1 Got: 3 Expected: 4 index: 2 Got: 5 Expected: 6$"):
        sessions.run_session(session, {"x": np.zeros((1, 3, 5, 6), np.float32)})


def test_threads_of_a_proof_wait_without_spinning() -> None:
    entry = "session.intra_op.allow_spinning"
    assert sessions._options(sessions.Setup(waits=True)).get_session_config_entry(entry) == "0"
    with pytest.raises(RuntimeError):
        sessions._options(sessions.Setup()).get_session_config_entry(entry)


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Add node. Name:'sum' Status "
            "Message: /src/core/add.h:91 ns::Add::Add(const ns::Shape&, bool) sizes was false. 3 by 4",
            "Add node 'sum': sizes was false. 3 by 4",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from a.onnx failed:/src/a.cc:181 m::Model(int) const too new",
            "Load model from a.onnx failed: too new",
        ),
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : no more\nand a second line", "no more"),
    ],
)
def test_messages_name_the_node_and_not_the_source_of_the_runtime(said: str, left: str) -> None:
    assert sessions._sentence(RuntimeError(said)) == left


def test_an_operator_in_a_version_without_a_kernel_comes_with_the_remedy(tmp_path: Path) -> None:
    onnx.save(model("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }", opset=5), tmp_path / "old.onnx")
    with pytest.raises(ModelError, match=r"implementation for Relu.*newer operator set"):
        sessions.start_session(tmp_path / "old.onnx", "cpu", Setup())
