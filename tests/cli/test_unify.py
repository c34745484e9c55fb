from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import compressor.commands
from compressor.config import UnifySettings
from compressor.config.choosing import ChoosingSettings
from compressor.errors import NothingToPrune, ProofFailed
from compressor.render.unify import render_unified
from compressor.results import ProofResult
from compressor.results.detail import UndoneRow
from compressor.results.unify import LeftRow, ResidualRow, TrainingRow, UnifiedRow, UnifyReport
from tests.cli.conftest import make_stats

ROW = UnifiedRow(
    name="conv1.weight",
    shape=[64, 64, 3, 3],
    block="4x4x1",
    weights=36_864,
    blocks=2_304,
    unified=2_000,
    pruned=300,
    free=4,
    values=1_700,
    error=0.54,
    bits=70_000.0,
    stored=9_000,
    macs=1_000_000,
    multiplications=250_000,
    additions=870_000,
)


class FakeUnification:
    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []
        self.raises: BaseException | None = None

    def unify_chosen_file(
        self, source: Any, output: Any, settings: UnifySettings, *, plan: Any, plan_out: Any, progress: Any
    ) -> UnifyReport:
        asked = {"source": source, "output": output, "settings": settings, "progress": progress}
        self.calls.append(SimpleNamespace(**asked, plan=plan, plan_out=plan_out))
        if self.raises is not None:
            raise self.raises
        proof = ProofResult(
            max_rel_err=0.0,
            max_abs_err=0.0,
            tolerance=settings.rtol,
            passed=True,
            provider="cpu",
            inputs=[{"x": [3, 3, 8, 8]}],
            masked_statistics=False,
        )
        return UnifyReport(
            input=make_stats(source),
            output=make_stats(output).model_copy(update={"bytes": 500_000}),
            layers=[ROW],
            left=[LeftRow(name="fc", weights=640, reason="it is in the last layer")],
            ideal_bytes=450_000,
            gzip_bytes=400_000,
            output_error=0.7,
            proof=proof,
            exact=True,
            seconds={"load": 0.5},
            warnings=["a [bold] name"],
        )


@pytest.fixture
def unification(monkeypatch: pytest.MonkeyPatch) -> FakeUnification:
    fake = FakeUnification()
    monkeypatch.setitem(sys.modules, "compressor.commands.choose_blocks", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(compressor.commands, "choose_blocks", fake, raising=False)
    return fake


def test_settings_and_the_default_output(run, unification, model):
    result = run("unify", model, "--block", "1x8", "--layer-block", "a*=tap", "--prune-share", "20%", "--all-layers")
    assert result.exit_code == 0, result.output
    [call] = unification.calls
    assert call.output == model.with_name("net.unified.onnx")
    expected = ChoosingSettings(block="1x8", layer_block=(("a*", "tap"),), prune_share=0.2, all_layers=True)
    assert call.settings == expected
    assert call.settings.unify_share == 0.8


def test_the_text_says_what_was_bought_and_what_not(run, unification, model):
    result = run("unify", model, "--explain", "-v")
    text = " ".join(result.stdout.split())
    for words in (
        "8.0 times smaller on disk; 400 kB after gzip; 450 kB by an ideal coder.",
        "conv1.weight 4x4x1 2,000 300 4 1,700 0.540",
        "Outputs change by 0.7 of their norm on random inputs.",
        "0.25 of the multiplications and 0.87 of the additions of these layers.",
        "so the model is smaller, not faster",
        "every weight is unpacked bit by bit and satisfies its constraint",
        "fc 640 it is in the last layer",
        "Wrote",
    ):
        assert words in text
    assert result.stderr == "Warning: a [bold] name\n"
    assert "speed" not in text


def test_names_of_weights_stay_in_one_piece_at_80_columns():
    asked = {"plan": None, "plan_out": None, "progress": None}
    report = FakeUnification().unify_chosen_file(Path("a.onnx"), Path("b.onnx"), UnifySettings(), **asked)
    name = "model.encoder.layers.11.self_attention.query_projection.weight"
    layers = [row.model_copy(update={"name": name, "label": name, "block": "values:16/out"}) for row in report.layers]
    stream = StringIO()
    render_unified(report.model_copy(update={"layers": layers}), Console(file=stream, width=80))
    assert f"{name}  values:16/out  " in stream.getvalue()


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_training_of_which_nothing_was_kept_is_not_told_as_an_end(parts: int) -> None:
    row = UndoneRow(what="training", measure="loss", on="1 sample", before=1.0, after=2.0)
    near = ResidualRow(step=1, strength=1.0, primal=0.0, dual=0.0)
    training = TrainingRow(method="ste", epochs=7, retrain_epochs=3, residuals=[near])
    asked = {"plan": None, "plan_out": None, "progress": None}
    report = FakeUnification().unify_chosen_file(Path("a.onnx"), Path("b.onnx"), UnifySettings(), **asked)
    trained = report.model_copy(update={"training": training, "undone": [row] * parts})
    stream = StringIO()
    render_unified(trained, Console(file=stream, width=200))
    ends = ["weights ended as unified ones", "weights ended as unified ones", "nothing of it was kept"]
    assert f"Trained for 10 epochs (ste), 3 of them with values shared; {ends[parts]}." in stream.getvalue()


def test_json(run, unification, model):
    document = json.loads(run("unify", model, "--json", "-", "-q").stdout)
    assert document["schema"] == "onnx-compressor.unify/1"
    assert document["layers"][0]["unified"] == 2_000
    assert document["left"] == [{"name": "fc", "label": "", "weights": 640, "reason": "it is in the last layer"}]


def test_dry_run_names_no_output(run, unification, model):
    assert run("unify", model, "--dry-run").exit_code == 0
    assert unification.calls[0].output is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--block", "five"], "--block: 'five' is not a block; write 4x4"),
        (["--layer-block", "a*"], "--layer-block: 'a*' must be written GLOB=BLOCK"),
        (["--layer-block", "a*=9"], "--layer-block: '9' is not a block"),
        (["--unify-share", "1.2"], "--unify-share must be at most 1, not 1.2"),
        (["--unify-share", "0.7", "--prune-share", "40%"], "add up to 1.1, more than all blocks"),
        (["--unify-share", "0"], "no block would be unified or pruned"),
        (["--magnitudes", "float15"], "did you mean 'float16'?"),
        (["-o", "absent/out.onnx"], "does not exist"),
        (["--epochs", "3"], "--epochs: nothing is trained; add --data, or drop it"),
        (["--resume", "--momentum", "0"], "--momentum and --resume: nothing is trained"),
        (["--data", "x.npz", "--method", "one-shot", "--epochs", "3"], "nothing is trained; choose another --method"),
    ],
)
def test_usage_errors_exit_2_and_say_what_to_do(run, unification, model, arguments, expected):
    result = run("unify", model, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert unification.calls == []


def test_the_input_is_never_the_output(run, unification, model):
    result = run("unify", model, "-o", model)
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
    assert unification.calls == []


@pytest.mark.parametrize(("error", "code"), [(NothingToPrune, 4), (ProofFailed, 5)])
def test_failures_are_one_line_and_their_exit_code(run, unification, model, error, code):
    unification.raises = error("weight 'a' is wrong")
    result = run("unify", model)
    assert (result.exit_code, result.stderr) == (code, "Error: weight 'a' is wrong\n")


def test_limits_and_plans_reach_the_run(run, unification, model, tmp_path):
    done = run("unify", model, "--max-distance", "0.3", "--ladder", "8x8,1x4", "--plan-out", tmp_path / "p.json")
    assert done.exit_code == 0
    [call] = unification.calls
    assert (call.settings.max_distance, call.settings.ladder) == (0.3, ("8x8", "1x4"))
    assert (call.plan, call.plan_out) == (None, tmp_path / "p.json")


def test_a_plan_takes_no_blocks(run, unification, model, tmp_path):
    done = run("unify", model, "--plan", tmp_path / "p.json", "--block", "1x4", "--all-layers")
    assert done.exit_code == 2
    assert "drop --block and --all-layers, or --plan" in done.stderr
    assert run("unify", model, "--plan", tmp_path / "p.json").exit_code == 0
    assert unification.calls[-1].plan == tmp_path / "p.json"
