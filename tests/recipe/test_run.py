"""Stages in a row: what is kept, what is run again, what is put in place."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from math import inf
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from compressor.commands.sensitivity import sensitivity_file
from compressor.config.recipe import STAGE_GATES
from compressor.config.sensitivity import SensitivitySettings
from compressor.errors import GateMissed, ModelError, NothingToPrune, ProofFailed, UsageError
from compressor.evaluate import timings
from compressor.recipe import limits
from compressor.recipe.run import advice
from compressor.recipe.store import Store, data_identity
from compressor.render.recipe import render_recipe
from compressor.results.recipe import RecipeReport
from compressor.results.records import GateRow
from tests.graph.disk.joined_files import DECODER, ENCODER
from tests.models import model
from tests.recipe.case import NET, QUICK_BENCH, execute, states, write

CLEAN_PRUNE = "clean:\nprune: {ratio: 0.5, round_to: 1}"
TRAINED = "prune: {ratio: 0.5}\nfinetune: {epochs: 3, batch_size: 16, device: cpu}"


def result(folder: Path) -> bytes:
    return (folder / "small.onnx").read_bytes()


def test_all_stages_hand_on_what_they_make(folder):
    unify = "unify: {block: 1x4, method: one-shot, min_weights: 16, all_layers: true}"
    outcome, told = execute(write(folder, f"prune: {{ratio: 0.5}}\n{unify}\n{QUICK_BENCH}\nverify: {{rtol: 100}}"))
    report = outcome.report
    assert outcome.error is None
    assert told == ["[1/4] prune: runs", "[2/4] unify: runs", "[3/4] bench: runs", "[4/4] verify: runs"]
    prune, packed, bench, verify = report.stages
    assert prune.model is not None
    assert prune.model.params < report.input.params
    assert packed.report is not None
    assert packed.report["input"]["params"] == prune.model.params
    assert bench.speed_up is not None
    assert bench.report is not None
    assert (bench.report["a"]["params"], bench.model) == (report.input.params, None)
    assert verify.report is not None
    assert verify.report["a"] == str(folder / "net.onnx")
    assert report.output is not None
    assert report.output.bytes == len(result(folder))
    assert result(folder) == (Path(str(packed.folder)) / "model.onnx").read_bytes()
    assert report.accuracy is not None
    assert (report.accuracy.before, report.accuracy.after) == (1.0, packed.accuracy), "labels are what the net says"
    assert RecipeReport.model_validate_json(report.to_json()) == report


def test_what_had_finished_is_kept(folder):
    path = write(folder, CLEAN_PRUNE)
    first, _ = execute(path)
    bytes_before = result(folder)
    (folder / "small.onnx").unlink()
    again, told = execute(path)
    assert (states(first), states(again)) == (["ran", "ran"], ["kept", "kept"])
    assert all("finished before, kept in" in line for line in told)
    assert result(folder) == bytes_before
    assert [row.report for row in again.report.stages] == [row.report for row in first.report.stages]


def test_a_changed_stage_is_run_with_what_follows(folder):
    path = write(folder, CLEAN_PRUNE + "\nprune-2: {ratio: 0.25, round_to: 1}")
    execute(path)
    assert states(execute(path, "prune.ratio=0.25")[0]) == ["kept", "ran", "ran"]
    assert states(execute(path)[0]) == ["kept", "kept", "kept"], "results of both settings are there"
    assert states(execute(path, "prune-2.ratio=0.5")[0]) == ["kept", "kept", "ran"]


def test_from_runs_a_stage_and_all_after_it_again(folder):
    path = write(folder, CLEAN_PRUNE + "\nprune-2: {ratio: 0.25, round_to: 1}")
    execute(path)
    assert states(execute(path, start="prune")[0]) == ["kept", "ran", "ran"]
    with pytest.raises(UsageError, match="--from prnue: the recipe has no such stage; it has clean, prune, prune-2"):
        execute(path, start="prnue")


def test_a_sensitivity_report_counts_by_its_bytes(folder):
    settings = SensitivitySettings(ratios=(0.5,), data=str(folder / "data.npz"))
    sensitivity_file(folder / "net.onnx", folder / "sens.json", settings)
    path = write(folder, "prune: {target_macs: 0.625, round_to: 1, sensitivity: sens.json}")
    assert states(execute(path)[0]) == ["ran"]
    assert states(execute(path)[0]) == ["kept"]
    report = json.loads((folder / "sens.json").read_text())
    (folder / "sens.json").write_text(json.dumps(report, indent=3))
    assert states(execute(path)[0]) == ["ran"]
    (folder / "sens.json").unlink()
    with pytest.raises(UsageError, match=r"stage 'prune': there is no data .*sens.json"):
        execute(path)


def test_what_a_result_follows_from(folder):
    path = write(folder, "prune: {ratio: 0.5}")
    execute(path)
    with np.load(folder / "data.npz") as held:
        np.savez(folder / "data.npz", x=held["x"] * 2, y=held["y"])
    assert states(execute(path)[0]) == ["ran"], "other data under the same name"
    net = onnx.load(folder / "net.onnx")
    first = net.graph.initializer[0]
    first.raw_data = (np.frombuffer(first.raw_data, np.float32) / 2).tobytes()
    onnx.save(net, str(folder / "net.onnx"))
    assert states(execute(path)[0]) == ["ran"], "another model under the same name"
    assert states(execute(path)[0]) == ["kept"]
    moved = folder / "moved"
    moved.mkdir()
    for name in ("net.onnx", "data.npz", "recipe.yaml"):
        (folder / name).rename(moved / name)
    (folder / ".onnx-compressor").rename(moved / ".onnx-compressor")
    assert states(execute(moved / "recipe.yaml")[0]) == ["kept"], "where files lie does not matter"


@pytest.mark.parametrize("damage", ["model", "record", "gone"])
def test_a_damaged_result_is_made_again(folder, damage):
    path = write(folder, CLEAN_PRUNE)
    first, _ = execute(path)
    place = Path(str(first.report.stages[0].folder))
    if damage == "model":
        (place / "model.onnx").write_bytes((place / "model.onnx").read_bytes()[:-7])
    elif damage == "record":
        (place / "finished.json").write_text("{")
    else:
        (place / "model.onnx").unlink()
    assert states(execute(path)[0]) == ["ran", "kept"], "what follows from the same bytes is the same"


def test_a_dry_run_writes_nothing(folder):
    path = write(folder, CLEAN_PRUNE)
    outcome, told = execute(path, dry_run=True)
    assert (states(outcome), told) == (["to run"] * 2, ["[1/2] clean: would run", "[2/2] prune: would run"])
    assert outcome.report.output is None
    assert not (folder / "small.onnx").exists()
    assert not (folder / ".onnx-compressor").exists()
    execute(path)
    (folder / "small.onnx").unlink()
    assert states(execute(path, "prune.ratio=0.25", dry_run=True)[0]) == ["kept", "to run"]
    assert not (folder / "small.onnx").exists()


# ---- interrupted


@contextmanager
def pressing(epoch: int) -> Iterator[object]:
    """Sends Ctrl-C while that epoch of training runs."""

    def hear(phase: str) -> None:
        if phase.startswith(f"finetune: epoch {epoch}/"):
            signal.raise_signal(signal.SIGINT)

    yield hear


def test_training_goes_on_where_ctrl_c_stopped_it(folder):
    path = write(folder, TRAINED)
    execute(path)
    whole = result(folder)
    (folder / "small.onnx").unlink()
    work = folder / "other"
    with pytest.raises(KeyboardInterrupt):
        execute(path, work=work, phases=lambda: pressing(2))
    assert not (folder / "small.onnx").exists()
    assert list(work.glob("finetune-*/checkpoint/*.safetensors"))
    epochs: list[str] = []

    @contextmanager
    def listening() -> Iterator[object]:
        yield epochs.append

    outcome, _ = execute(path, work=work, phases=listening)
    assert states(outcome) == ["kept", "ran"]
    assert any(text.startswith("finetune: epoch 3/") for text in epochs)
    assert not any(text.startswith("finetune: epoch 1/") for text in epochs)
    assert result(folder) == whole
    assert not list(work.rglob("*.safetensors")), "the checkpoint has served"


def test_a_stage_that_fails_leaves_nothing_and_is_named(folder):
    path = write(folder, "clean:\nprune: {ratio: 0.5, exclude: ['*']}")
    with pytest.raises(NothingToPrune, match=r"^stage 'prune': "):
        execute(path)
    assert not (folder / "small.onnx").exists()
    assert states(execute(path, "prune.exclude=[]")[0]) == ["kept", "ran"]


# ---- gates


def test_every_gate_has_a_remedy() -> None:
    assert set(limits.REMEDIES) == set(STAGE_GATES)


@pytest.mark.parametrize(
    ("top", "stages", "words"),
    [
        (
            "data: data.npz",
            "prune: {ratio: 0.5, max_size: 100}\nclean:",
            r"^stage 'prune': the file has .*; try to remove more \(.* see .*prune-",
        ),
        (
            "data: data.npz\ngates: {max_size: 10%}",
            "prune: {ratio: 0.5}",
            r"^the recipe: the file has .*, max_size allows .*; try to remove more \(",
        ),
        (
            "data: data.npz",
            "prune: {ratio: 0.5}\nquantize: {samples: 8, max_distance: 0.00001}",
            r"^stage 'quantize': output 'y' moves by .*max_distance allows .*; try to let stage 'quantize' change less",
        ),
        (
            "data: data.npz\ngates: {max_size: 1%}",
            "prune: {ratio: 0.5}\nquantize: {samples: 8}",
            r"^the recipe: the file has .*target_size\), or put unify in the place of stage 'quantize'; see",
        ),
        ("gates: {max_latency: 1us}", f"prune: {{ratio: 0.5}}\n{QUICK_BENCH}", r"^the recipe: a run takes .* 0.001 ms"),
    ],
)
def test_a_missed_gate_leaves_the_result_in_the_work_folder(folder, top, stages, words):
    (folder / "small.onnx").write_bytes(b"older")
    outcome, _ = execute(write(folder, stages, top=top))
    assert isinstance(outcome.error, GateMissed)
    assert re.search(words, str(outcome.error))
    assert outcome.report.failed == str(outcome.error)
    assert outcome.report.output is None
    assert result(folder) == b"older", "what was there stays"
    assert list((folder / ".onnx-compressor").glob("prune-*/model.onnx"))
    missed = [gate for row in outcome.report.stages for gate in row.gates if gate.missed] + outcome.report.gates
    assert [gate.missed != "" for gate in missed] == [True]
    assert missed[0].measured is not None
    assert missed[0].measured > missed[0].limit
    assert len(outcome.report.stages) == (1 if "max_size: 100}" in stages else len(stages.splitlines()))


def test_accuracy_counts_from_the_model_of_the_recipe(folder):
    path = write(
        folder,
        "prune: {ratio: 0.9, round_to: 1, scope: local, criterion: l1}",
        top="data: data.npz\nval_data: data.npz",
    )
    lost = execute(path)[0].report.accuracy
    assert lost is not None
    drop = lost.before - lost.after
    assert drop > 0.05, "the case must lose accuracy"
    outcome, _ = execute(path, f"gates.max_drop={drop / 2}")
    assert (states(outcome), type(outcome.error)) == (["kept"], GateMissed)
    assert outcome.report.gates[0].measured == pytest.approx(drop)
    assert "; try to let stage 'prune' change less, or train longer" in str(outcome.error)
    assert execute(path, f"gates.max_drop={drop}")[0].error is None


def test_gates_are_judged_anew_and_run_nothing_again(folder, monkeypatch):
    monkeypatch.setattr(timings, "NOISY_SPREAD", inf)  # a machine that is busy while tests run would be measured again
    monkeypatch.setattr(timings, "NOISY_INTERVAL", inf)
    path = write(folder, f"prune: {{ratio: 0.5}}\n{QUICK_BENCH}")
    execute(path)
    outcome, _ = execute(path, "bench.min_speedup=1000", "prune.max_size=1GB")
    assert (states(outcome), type(outcome.error)) == (["kept", "kept"], GateMissed)
    assert outcome.report.stages[1].report is not None
    assert outcome.report.stages[1].report["settings"]["min_speedup"] == 1000
    # Nobody but the command bench has called the models A and B.
    assert "the result is" in str(outcome.error)
    assert "times as fast as the recipe's model at batch" in str(outcome.error)


def test_a_missed_speed_behind_quantisation_names_the_integers():
    slow = GateRow(name="min_speedup", limit=2, measured=0.7, share=False, missed="too slow")
    with pytest.raises(GateMissed, match=r"time the recipe without stage 'quantize', as .*; or to remove more"):
        limits.demand_limits(None, [slow], {"stage": "the stages", **advice(["prune", "quantize"])})
    with pytest.raises(GateMissed, match="too slow; try to remove more"):
        limits.demand_limits(None, [slow], {"stage": "the stages", **advice(["prune"])})


def test_outputs_that_differ_fail_and_are_not_written(folder):
    path = write(folder, "prune: {ratio: 0.5}\nverify: {rtol: 1e-4}")
    outcome, _ = execute(path)
    assert isinstance(outcome.error, ProofFailed)
    assert outcome.report.stages[1].report is not None
    assert not (folder / "small.onnx").exists()
    assert execute(path, "verify.rtol=100")[0].error is None


# ---- what is refused before any work


@pytest.mark.parametrize(
    ("top", "stages", "message"),
    [
        ("data: nowhere.npz", "prune:", "stage 'prune': there is no data .*nowhere.npz"),
        ("gates: {max_drop: 1%}", "clean:", "gates: max_drop needs samples with labels, but no data is given"),
        ("data: bare.npz\ngates: {max_drop: 1%}", "clean:", "but no labelled samples are set aside"),
        ("gates: {min_speedup: 2}", "clean:", "min_speedup needs a stage bench after the last that makes a model"),
        ("gates: {max_latency: 1ms}", f"{QUICK_BENCH}\nclean:", "max_latency needs a stage bench after the last"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(folder, top, stages, message):
    np.savez(folder / "bare.npz", x=np.zeros((20, 4, 6, 6), np.float32))
    for dry_run in (True, False):
        with pytest.raises(UsageError, match=message):
            execute(write(folder, stages, top=top), dry_run=dry_run)
    assert not list(folder.glob(".onnx-compressor/*-*/model.onnx"))


def test_a_model_needs_a_place(folder):
    path = folder / "r.yaml"
    path.write_text("model: net.onnx\nstages: {clean: }")
    with pytest.raises(UsageError, match="stage 'clean' makes a model; say where it goes with the key output"):
        execute(path)


def test_a_missing_model_is_an_unreadable_model(folder):
    with pytest.raises(ModelError, match=r"nowhere\.onnx"):
        execute(write(folder, "clean:"), "model=nowhere.onnx")


def test_a_recipe_that_only_looks_writes_no_model(folder):
    path = folder / "r.yaml"
    path.write_text(f"model: net.onnx\ngates: {{max_latency: 10s}}\nstages:\n  verify:\n  {QUICK_BENCH}\n")
    outcome, _ = execute(path)
    assert (outcome.error, outcome.report.output) == (None, None)
    assert [gate.name for gate in outcome.report.gates] == ["max_latency"]


def test_external_data_is_put_in_place_too(folder):
    path = write(folder, "prune: {ratio: 0.5, external_data: true}")
    outcome, _ = execute(path)
    assert (folder / "small.onnx.data").is_file()
    assert outcome.report.output is not None
    both = sum((folder / name).stat().st_size for name in ("small.onnx", "small.onnx.data"))
    assert outcome.report.output.bytes == both
    (folder / "small.onnx").unlink()
    assert states(execute(path)[0]) == ["kept"]


# ---- the work folder


def test_the_work_folder_can_be_elsewhere_and_git_leaves_it_alone(folder):
    path = write(folder, "clean:")
    execute(path, work=folder / "a" / "b")
    assert (folder / "a" / "b" / ".gitignore").read_text() == "*\n"
    assert not (folder / ".onnx-compressor").exists()
    (folder / "file").write_text("")
    with pytest.raises(UsageError, match=r"the work folder .* cannot be made: .*; name another with --work"):
        execute(path, work=folder / "file")


def test_names_of_results_follow_from_content_and_version(tmp_path, monkeypatch):
    store = Store(tmp_path)
    one = store.folder("a", {"x": 1, "y": [2]})
    assert one == store.folder("a", {"y": [2], "x": 1})
    assert one != store.folder("a", {"x": 1, "y": [3]})
    monkeypatch.setattr("compressor.recipe.store.VERSION", "other")
    assert one != store.folder("a", {"x": 1, "y": [2]})


def test_what_stands_for_data(tmp_path):
    images = tmp_path / "images"
    (images / "cat").mkdir(parents=True)
    (images / "cat" / "1.png").write_bytes(b"1")
    first = data_identity(str(images))
    assert json.loads(json.dumps(first)) == data_identity(str(images))
    (images / "cat" / "2.png").write_bytes(b"1")
    assert data_identity(str(images)) != first
    assert data_identity("package.module:callable") == "package.module:callable"


@pytest.mark.parametrize(
    ("stages", "name"),
    [
        ("finetune:", "finetune"),
        ("prune: {recover: finetune}", "prune"),
        ("unify: {method: retrain}", "unify"),
    ],
)
def test_training_asks_for_torch_before_any_work(folder, monkeypatch, stages, name):
    path = write(folder, f"clean:\n{stages}")
    monkeypatch.setattr("compressor.core.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"stage '{name}' needs torch, which is not installed"):
        execute(path)
    assert not (folder / ".onnx-compressor").exists()
    execute(write(folder, "clean:\nprune:\nunify: {method: one-shot, min_weights: 16}"))


def test_what_training_made_zero_is_removed_without_loss(folder):
    sparsify = "sparsify: {epochs: 2, batch_size: 16, device: cpu, sparsity: 0.5}"
    outcome, told = execute(write(folder, f"{sparsify}\nprune: {{lossless: true}}"))
    assert outcome.error is None
    assert told == ["[1/2] sparsify: runs", "[2/2] prune: runs"]
    trained, small = outcome.report.stages
    assert trained.model is not None
    assert small.model is not None
    assert trained.model.params >= outcome.report.input.params
    assert small.model.params < 0.7 * outcome.report.input.params


def test_further_files_of_the_model_are_put_in_place_beside_it(tmp_path):
    for name, text in (("net", ENCODER), ("decoder", DECODER)):
        onnx.save(model(text), tmp_path / f"{name}.onnx")
    path = write(tmp_path, "prune: {ratio: 0.5, round_to: 1, recover: none, also: decoder.onnx}", top="")
    outcome, _ = execute(path)
    assert outcome.error is None
    assert outcome.report.output is not None
    assert outcome.report.output.also == [str(tmp_path / "decoder.pruned.onnx")]
    state = onnx.load(tmp_path / "decoder.pruned.onnx").graph.input[1]
    assert state.type.tensor_type.shape.dim[2].dim_value == 3
    assert states(execute(path)[0]) == ["kept"]
    onnx.save(model(DECODER, seed=2), tmp_path / "decoder.onnx")
    assert states(execute(path)[0]) == ["ran"], "another decoder"
    with pytest.raises(UsageError, match="put 'prune' last"):
        execute(write(tmp_path, "prune: {also: decoder.onnx}\nclean:", top=""))


def test_every_row_counts_at_the_sizes_of_the_samples_and_names_them(folder: Path) -> None:
    onnx.save(model(NET.replace("float[n,4,6,6] x", "float[n,4,h,k] x")), str(folder / "net.onnx"))
    outcome, _ = execute(write(folder, f"{CLEAN_PRUNE}\nquantize: {{mode: dynamic}}\nverify: {{rtol: 100}}"))
    assert outcome.error is None
    made = [row.model for row in outcome.report.stages if row.model is not None]
    assert [row.macs_at for row in (outcome.report.input, *made)] == [{"x": [1, 4, 6, 6]}] * 4
    assert made[0].macs == outcome.report.input.macs
    assert made[2].macs == made[1].macs < outcome.report.input.macs
    stream = StringIO()
    render_recipe(outcome.report, Console(file=stream, width=80))
    assert "MACs at x 1x4x6x6." in stream.getvalue()
