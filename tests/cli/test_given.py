"""What the user gives and cannot be: sizes, places, plans and providers. Nothing is stubbed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from compressor.cli.main import compress
from compressor.core import machine
from compressor.graph.sizes import room
from compressor.runtime import sessions
from tests.models import model

NET = """(float[n,4,6,6] x, float[n,4,6,6] z) => (float[n,8,6,6] y)
<float[16,4,3,3] w, float[16] bias, float[8,16,1,1] v> {
    s = Add(x, z)
    a = Conv<pads=[1,1,1,1]>(s, w, bias)
    b = Relu(a)
    y = Conv(b, v)
}"""
SUBCOMMANDS = {
    "prune": ("prune", "net.onnx", "-o", "out.onnx", "--recover", "none"),
    "clean": ("clean", "net.onnx", "-o", "out.onnx"),
    "inspect": ("inspect", "net.onnx"),
    "bench": ("bench", "net.onnx", "--runs", "10", "--seconds", "0", "--rounds", "1"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(model(NET), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(compress, [*arguments, "-q"])


def refused(code: int, *arguments: str) -> str:
    """The one line of stderr of a run that ends with this exit code and writes nothing."""
    found = run(*arguments)
    assert found.exit_code == code, found.output
    (line,) = found.stderr.splitlines()
    assert line.startswith("Error: ")
    assert not Path("out.onnx").exists()
    return line


@pytest.mark.parametrize("name", SUBCOMMANDS)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--dim", "nn=2"), "no symbolic dimension 'nn'; did you mean 'n'? (its inputs have: n)"),
        (("--input-shape", "xx:1,4,6,6"), "no input 'xx'; did you mean 'x'? (its inputs: x, z)"),
        (("--input-shape", "x:1,4,6"), "input 'x' has 4 dimensions, the shape given has 3"),
        (("--input-shape", "x:1,5,6,6"), "input 'x' fixes dimension 1 to 4, the shape given says 5"),
        (("--dim", "n=2", "--input-shape", "x:3,4,6,6"), "--dim n=2 makes the dimension 'n' 2, and --input-shape x:3"),
        (("--input-shape", "x:3,4,6,6", "--input-shape", "z:2,4,6,6"), "give it one size"),
    ],
)
def test_sizes_that_cannot_be_are_wrong_usage(name: str, given: tuple[str, ...], words: str) -> None:
    assert words in refused(2, *SUBCOMMANDS[name], *given)


@pytest.mark.parametrize("name", [name for name in SUBCOMMANDS if name != "inspect"])
def test_a_run_that_cannot_fit_into_memory_is_not_begun(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The convolution reads 400 and writes 16 * 36 numbers of four bytes for each sample."""
    monkeypatch.setattr(room, "free_memory", lambda: 1_000_000)
    line = refused(8, *SUBCOMMANDS[name], "--dim", "n=10000")
    assert "a run with x [10000, 4, 6, 6], z [10000, 4, 6, 6] needs at least" in line
    assert "1.00 MB are free; give smaller sizes with --dim or --input-shape" in line
    assert run(*SUBCOMMANDS[name], "--dim", "n=2").exit_code == 0


def test_sizes_beyond_all_memory_are_no_fault_of_the_model() -> None:
    assert "10000000000" in refused(8, *SUBCOMMANDS["prune"], "--dim", "n=10000000000")


def test_what_looks_at_shapes_alone_needs_no_memory() -> None:
    assert run(*SUBCOMMANDS["inspect"], "--dim", "n=100000").exit_code == 0


def test_free_memory_is_known_or_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.free_memory() is None or machine.free_memory() > 0
    texts = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  5 kB\n", "/sys/fs/cgroup/memory.max": "4000\n"}
    monkeypatch.setattr(machine, "_text", lambda path: texts.get(path, "1500"))
    assert machine.free_memory() == 2500
    texts["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine.free_memory() == 5120


@pytest.mark.parametrize("flag", ["-o", "--json", "--plan-out", "--report"])
def test_a_place_that_cannot_be_written_is_found_before_any_work(flag: str, folder: Path) -> None:
    place = Path("/proc/x") if Path("/proc/self").exists() else folder / "no" / "x"
    Path("net.onnx").write_bytes(b"not even a model")
    assert str(place) in refused(2, "prune", "net.onnx", flag, str(place))
    assert [path.name for path in folder.iterdir()] == ["net.onnx"]


def test_a_device_can_be_written_to() -> None:
    if Path("/dev/null").exists():
        assert run("inspect", "net.onnx", "--json", "/dev/null").exit_code == 0


def test_a_model_that_is_given_for_a_plan_is_said_to_be_one(folder: Path) -> None:
    plan = "and a plan is a JSON object in a file; give one that --plan-out wrote"
    (folder / "readable.onnx").write_text("ir_version: 8")
    (folder / "words.txt").write_text("ratio 0.5")
    for name in ("net.onnx", "readable.onnx"):
        assert f"{name} is a model, {plan}" in refused(2, "prune", "net.onnx", "--plan", name)
    assert f"words.txt is something else, {plan}" in refused(2, "prune", "net.onnx", "--plan", "words.txt")


def test_a_file_that_is_small_enough_says_so() -> None:
    line = refused(4, *SUBCOMMANDS["prune"], "--target-size", "10MB")
    assert "B already, and --target-size allows 10.0 MB; give a smaller size" in line


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_provider_that_is_missing_comes_with_a_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    line = refused(7, *SUBCOMMANDS["prune"], "--provider", name)
    assert "install onnxruntime-gpu where there is such a device, or say --provider cpu" in line


def test_a_provider_that_does_not_start_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    if "CUDAExecutionProvider" not in sessions.ort.get_available_providers():
        pytest.skip("ONNX Runtime is built without CUDA")
    if sessions.device_name("cuda") is not None:
        pytest.skip("there is a device")
    assert "or say --provider cpu" in refused(7, *SUBCOMMANDS["prune"], "--provider", "cuda")
    assert capfd.readouterr() == ("", "")


def test_macs_are_those_of_one_sample_whatever_the_sizes(folder: Path) -> None:
    found = []
    for given in ((), ("--dim", "n=5"), ("--input-shape", "x:7,4,6,6", "--input-shape", "z:7,4,6,6")):
        assert run("inspect", "net.onnx", "--json", "r.json", *given).exit_code == 0
        found.append(json.loads((folder / "r.json").read_text())["input"]["macs"])
    assert found == [36 * (16 * 36 + 8 * 16)] * 3


@pytest.mark.filterwarnings("default")
def test_numbers_that_overflow_are_noted_by_nobody(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    proto = model(NET)
    for tensor in proto.graph.initializer:
        with np.errstate(over="ignore"):
            numbers = np.nan_to_num(onnx.numpy_helper.to_array(tensor) * np.float32(3e38))
        tensor.CopyFrom(onnx.numpy_helper.from_array(numbers, tensor.name))
    onnx.save(proto, folder / "large.onnx")
    found = run("prune", "large.onnx", "-o", "out.onnx")
    assert found.exit_code in (0, 3, 4, 5), found.output
    assert "RuntimeWarning" not in found.stderr + capfd.readouterr().err
