"""Whole runs from file to file: what is written, what is reported, what is left behind on failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from compressor.commands.prune import prune
from compressor.commands.prune_file import prune_file
from compressor.config import PruneSettings
from compressor.errors import GateMissed, RuleFault
from compressor.graph.disk import files
from compressor.pruning.cut import surgery
from compressor.results import Report
from compressor.runtime.stored import run_once
from compressor.steps.gates import demand_gates
from tests.commands.file_case import DIGITS, MODELS, SETTINGS, digits, files_in, images, run, written
from tests.models import between, in_memory
from tests.operators.case import Case
from tests.operators.every import CASES
from tests.property.idioms import IDIOMS

# ---- a good run ---------------------------------------------------------------------------------------------


class Half(NamedTuple):
    """A trained network of half its channels: the file, what is told of it, and the phases of the run."""

    output: Path
    report: Report
    phases: list[str]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Half]:
    """Each network as one run leaves it, which several tests look at."""
    made = {}
    for name in DIGITS:
        output, phases = tmp_path_factory.mktemp(name) / "small.onnx", list[str]()
        made[name] = Half(output, prune_file(digits(name), output, SETTINGS, progress=phases.append).report, phases)
    return made


@pytest.mark.parametrize("name", DIGITS)
def test_prune_a_trained_network(name: str, halves: dict[str, Half]) -> None:
    output, report, _ = halves[name]
    assert files_in(output.parent) == {"small.onnx"}
    onnx.checker.check_model(output, full_check=True)
    assert report.output is not None
    assert report.output.bytes == output.stat().st_size
    assert report.input.bytes == digits(name).stat().st_size
    assert report.output.bytes < 0.5 * report.input.bytes
    assert report.output.macs < 0.4 * report.input.macs
    assert report.proof is not None
    assert report.proof.passed
    assert len(report.proof.inputs) == 3
    assert set(report.seconds) >= {"load", "analyse", "choose", "cut", "prove", "write"}
    assert all(g.removed * 2 == g.channels for g in report.groups if g.channels % 16 == 0)


@pytest.mark.parametrize("name", DIGITS)
def test_batch_stays_symbolic(name: str, halves: dict[str, Half]) -> None:
    output = halves[name].output
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


def test_a_gate_on_how_far_outputs_move(tmp_path: Path) -> None:
    # Nothing else of such a run reads samples.
    settings = PruneSettings.parse({"ratio": 0.5, "recover": "none", "scope": "local", "max_distance": "1%"})
    report = prune_file(MODELS / "digits-mobilenet.onnx", tmp_path / "small.onnx", settings).report
    (gate,) = report.gates
    assert (gate.name, gate.of, gate.verdict) == ("max_distance", "output 'logits'", "MISSED")
    with pytest.raises(
        GateMissed,
        match=r"--max-distance allows 1\.00%; try a smaller --ratio, drop --recover none, or .* sensitivity tells",
    ):
        demand_gates(report, settings)
    assert (tmp_path / "small.onnx").is_file()


def test_a_run_without_output_writes_nothing_and_reports_the_size_that_would_be(
    tmp_path: Path, halves: dict[str, Half], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report = prune_file(digits("digits-resnet"), None, SETTINGS).report
    assert files_in(tmp_path) == set()
    dry, wet = report.output, halves["digits-resnet"].report.output
    assert dry is not None
    assert wet is not None
    assert dry.path is None
    assert dry.bytes < report.input.bytes
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


def test_external_data(tmp_path: Path, halves: dict[str, Half]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    proto = onnx.load(digits("digits-resnet"))
    onnx.save(proto, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    output = tmp_path / "small.onnx"
    prune_file(folder / "model.onnx", output, PruneSettings(ratio=0.5, external_data=True))
    assert files_in(tmp_path) == {"in", "small.onnx", "small.onnx.data"}
    np.testing.assert_array_equal(run(output, images(5)), run(halves["digits-resnet"].output, images(5)))


def test_progress_names_the_phases(halves: dict[str, Half]) -> None:
    assert list(dict.fromkeys(halves["digits-mobilenet"].phases)) == [
        "load",
        "analyse",
        "samples",
        "prove",
        "choose",
        "cut",
        "write",
    ]


# ---- determinism --------------------------------------------------------------------------------------------


def bytes_of(source: ir.Model, **settings: object) -> bytes:
    found = prune(source, PruneSettings.parse({"round_to": 1, "verify": False, **settings}))
    return ir.to_proto(found.model).SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", DIGITS)
def test_files_repeat(name: str, tmp_path: Path, halves: dict[str, Half]) -> None:
    prune_file(digits(name), tmp_path / "again.onnx", SETTINGS)
    assert (tmp_path / "again.onnx").read_bytes() == halves[name].output.read_bytes()


EVERY = [pytest.param(case, marks=[pytest.mark.slow] if k % 8 else [], id=repr(case)) for k, case in enumerate(CASES)]
"""All cases of operators; an eighth of them in the quick suite."""


@pytest.mark.parametrize("case", EVERY)
def test_cases_pass_the_whole_run(case: Case) -> None:
    """With the proof, which tests of operators do without: they hold values against an oracle of theirs."""
    found = prune(in_memory(case.build()), case.options.resolved(recover="none"))
    assert found.report.proof is not None
    assert found.report.proof.passed


@pytest.mark.parametrize("case", CASES[::8], ids=repr)
def test_cases_repeat(case: Case) -> None:
    proto = case.build()
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
