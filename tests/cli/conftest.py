"""A stand-in for the pipeline, so that these tests are about the command line alone."""

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import compressor.commands
from compressor.cli.main import compress
from compressor.results import (
    DiffReport,
    FrozenRow,
    GroupRow,
    InitializerChange,
    ModelStats,
    OperatorChange,
    ProofResult,
    Report,
)


def make_stats(path: Any, params: int = 1_000_000, macs: int = 4_000_000_000) -> ModelStats:
    return ModelStats(path=path, bytes=4 * params, params=params, macs=macs, nodes=12, opset=18)


def make_report(source: Any, output: Any, settings: Any) -> Report:
    return Report(
        input=make_stats(source),
        output=None if output is None else make_stats(output, 260_000, 1_040_000_000),
        groups=[GroupRow(name="conv1.weight", channels=64, removed=32, axes=["conv1.weight:0"])],
        frozen=[FrozenRow(value="logits", axis=1, node="fc", reason="graph output", channels=10)],
        proof=ProofResult(
            max_rel_err=4e-7,
            max_abs_err=1e-6,
            tolerance=settings.rtol,
            passed=True,
            provider=settings.provider,
            inputs=[{"x": [3, 3, 8, 8]}],
            masked_statistics=False,
        ),
        seconds={"load": 0.25, "prove": 0.5},
        warnings=["a [bold] name"],
        settings=settings.model_dump(mode="json"),
    )


class FakePipeline:
    """Records how it was called; `raises` is raised instead of returning."""

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []
        self.raises: BaseException | None = None

    def _record(self, **values: Any) -> None:
        self.calls.append(SimpleNamespace(**values))
        if values.get("progress") is not None:
            values["progress"]("loading [x]")
        if self.raises is not None:
            raise self.raises

    def prune_file(self, source, output, settings, *, plan=None, plan_out=None, progress=None) -> SimpleNamespace:
        self._record(
            source=source,
            output=output,
            settings=settings,
            plan=plan,
            plan_out=plan_out,
            progress=progress,
        )
        return SimpleNamespace(report=make_report(source, output, settings), plan=plan_out, model=None)

    @staticmethod
    def with_layers(source: Any, result: SimpleNamespace, settings: Any, *, timed: bool) -> Report:
        return result.report

    def clean_file(self, source, output, settings, progress) -> Report:
        self._record(source=source, output=output, settings=settings, progress=progress)
        return make_report(source, output, settings).model_copy(update={"groups": [], "frozen": []})

    def inspect_file(self, source, settings, progress, structures) -> Report:
        self._record(source=source, settings=settings, progress=progress, structures=structures)
        return make_report(source, None, settings).model_copy(update={"proof": None, "prunable_params": 750_000})

    def diff_files(self, a, b) -> DiffReport:
        self._record(a=a, b=b)
        return DiffReport(
            a=make_stats(a),
            b=make_stats(b, 260_000),
            same_signature=True,
            initializers=[InitializerChange(name="conv1.weight", shape_a=[64, 3], shape_b=[32, 3])],
            operators=[OperatorChange(op_type="Identity", count_a=2, count_b=0)],
        )


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    for command in ("prune_file", "prune_report", "clean", "inspect", "diff"):
        monkeypatch.setitem(sys.modules, f"compressor.commands.{command}", fake)  # type: ignore[arg-type]
        monkeypatch.setattr(compressor.commands, command, fake, raising=False)
    return fake


@pytest.fixture(autouse=True)
def no_defaults_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"not read by the stand-in")
    return path


@pytest.fixture
def run(pipeline: FakePipeline):
    """Runs ``onnx-compress`` with these arguments."""

    # Before click 8.2 the runner mixes stderr into stdout unless told not to.
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if old else CliRunner()

    def invoke(*arguments: Any, **options: Any):
        return runner.invoke(compress, [str(argument) for argument in arguments], **options)

    return invoke
