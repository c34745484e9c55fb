import io
import json
import re

import pytest
from pydantic import ValidationError
from rich.console import Console

from compressor.core.formatting import count, printable, quantity, share
from compressor.render.draw import times_smaller
from compressor.render.gates import gate_cells
from compressor.render.html import render_html
from compressor.render.text import render_diff, render_inspection, render_report, show_outcome, told_settings
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
from compressor.results.detail import AccuracyRow, OutputsRow, RecoveryRow, Share, SyntheticRow
from compressor.results.records import GateRow
from compressor.version import VERSION

BEFORE = ModelStats(path="a.onnx", bytes=102_400_123, params=25_557_032, macs=4_089_184_256, nodes=122, opset=18)
AFTER = ModelStats(path="b.onnx", bytes=27_400_123, params=6_857_032, macs=1_059_184_256, nodes=122, opset=18)
PROOF = ProofResult(
    max_rel_err=4.1e-7,
    max_abs_err=1e-6,
    tolerance=1e-4,
    passed=True,
    provider="cpu",
    inputs=[{"x": [3, 3, 8, 8]}, {"x": [5, 3, 8, 8]}],
    masked_statistics=True,
)


def report(**changes) -> Report:
    values = {
        "input": BEFORE,
        "output": AFTER,
        "groups": [
            GroupRow(name=f"layer{n}.conv.weight", channels=64, removed=32 if n else 0, axes=["a:0", "b:1"])
            for n in range(3)
        ],
        "frozen": [
            FrozenRow(value="logits", axis=1, node="fc", reason="graph output", channels=1000),
            *(
                FrozenRow(value=f"attention{n}", axis=-1, node=f"softmax{n}", reason="Softmax", channels=5)
                for n in range(12)
            ),
        ],
        "proof": PROOF,
        "seconds": {"load": 0.25, "prove": 1.0},
        "settings": {"ratio": 0.5},
    }
    return Report(**{**values, **changes})


def drawn(draw, *arguments, width=80, **options) -> str:
    file = io.StringIO()
    draw(*arguments[:1], Console(file=file, width=width), **options)
    return file.getvalue()


def test_labels_that_no_metric_reads_have_one_remedy() -> None:
    missing = "Accuracy was not measured: give --val-data"
    plain = report(accuracy=[])
    assert missing in drawn(render_report, plain)
    assert missing not in drawn(render_report, plain.warned(["accuracy was not measured, as labels are float32"]))


def test_accuracy_has_its_interval() -> None:
    row = AccuracyRow(metric="top-1", before=0.99, after=0.95, samples=64, low=0.87, high=0.98)
    text = drawn(lambda found, console: show_outcome(console, found), report(accuracy=[row]))
    assert text == "Accuracy (top-1, 64 samples): original 99.00%, result 95.00% (87.0% to 98.0%).\n"


def test_json_has_the_stable_keys_in_order():
    document = json.loads(report().to_json())
    assert list(document) == [
        "schema",
        "version",
        "input",
        "output",
        "groups",
        "frozen",
        "opaque",
        "changed",
        "savings",
        "proof",
        "layers",
        "recovery",
        "undone",
        "synthetic",
        "accuracy",
        "outputs",
        "trainability",
        "curves",
        "latency",
        "prunable_params",
        "provenance",
        "gates",
        "ran",
        "seconds",
        "environment",
        "warnings",
        "settings",
    ]
    assert document["schema"] == "onnx-compressor.report/1"
    assert document["version"] == VERSION
    assert list(document["input"]) == [
        "path",
        "bytes",
        "params",
        "macs",
        "macs_at",
        "nodes",
        "opset",
        "uncounted",
        "also",
    ]
    assert list(document["groups"][0]) == ["name", "channels", "removed", "axes", "file", "scores"]
    assert list(document["frozen"][0]) == ["value", "axis", "node", "reason", "channels"]
    assert {"max_rel_err", "tolerance", "passed", "provider"} <= set(document["proof"])


def test_json_is_deterministic_and_reads_back():
    text = report().to_json()
    assert text == report().to_json()
    assert text.endswith("}\n")
    assert Report.model_validate_json(text) == report()


def test_json_stays_valid_when_the_error_is_infinite():
    proof = PROOF.model_copy(update={"max_rel_err": float("inf"), "passed": False})
    assert json.loads(report(proof=proof).to_json())["proof"]["max_rel_err"] is None


def test_json_survives_a_path_that_is_no_utf8():
    stats = BEFORE.model_validate({**BEFORE.model_dump(), "path": b"caf\xe9.onnx".decode("utf-8", "surrogateescape")})
    assert json.loads(report(input=stats).to_json())["input"]["path"] == "caf\\xe9.onnx"


def test_records_refuse_unknown_keys():
    with pytest.raises(ValidationError, match="extra"):
        GroupRow(name="a", channels=1, removed=0, axes=[], colour="red")


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0, "", "0"),
        (9999, "", "9,999"),
        (10_000, "", "10.0 k"),
        (999_499, "", "999 k"),
        (999_500, "", "1.00 M"),
        (25_557_032, "", "25.6 M"),
        (4_089_184_256, "", "4.09 G"),
        (102_400_123, "B", "102 MB"),
        (512, "B", "512 B"),
        (3e18, "", "3000 P"),
    ],
)
def test_quantity(number, unit, text):
    assert quantity(number, unit) == text


def test_words():
    assert (share(1, 4), share(1, 0)) == ("0.25", "-")
    assert (count(1, "group"), count(1200, "group")) == ("1 group", "1,200 groups")
    assert printable("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"


def test_the_table_compares_before_and_after():
    text = drawn(render_report, report())
    assert re.search(r"file size +102 MB +27\.4 MB +0\.27", text)
    assert re.search(r"parameters +25\.6 M +6\.86 M +0\.27", text)
    assert re.search(r"MACs +4\.09 G +1\.06 G +0\.26", text)
    assert re.search(r"nodes +122 +122 +1\.00", text)
    assert "Wrote b.onnx (1.2 s)" in text


def flat(text: str) -> str:
    return " ".join(text.split())


def test_sizes_at_which_macs_are_counted_stand_below_the_table():
    at = {"x": [1, 3, 224, 224], "a": [1], "b": [1], "c": [1]}
    told = Report(input=BEFORE.model_copy(update={"macs_at": at}), output=AFTER)
    assert "MACs at x 1x3x224x224, a 1, b 1 and 1 more input." in drawn(render_report, told)
    assert "MACs at" not in drawn(render_report, Report(input=BEFORE, output=AFTER))


def test_a_layer_that_is_fitted_in_every_step_is_one_layer():
    rows = [RecoveryRow(name=name, error_before=0.4, error_after=0.2) for name in ("a", "b", "a", "b", "a", "b")]
    told = report(recovery=rows, settings={"ratio": 0.5, "recover": "lstsq", "steps": 3}, ran={"fitted": "lstsq"})
    assert "Recovery (lstsq): 2 layers in 3 steps, mean error" in flat(drawn(render_report, told))
    told = report(recovery=rows[:2], settings={"ratio": 0.5, "recover": "lstsq", "steps": 1}, ran={"fitted": "lstsq"})
    assert "Recovery (lstsq): 2 layers, mean error" in flat(drawn(render_report, told))


@pytest.mark.parametrize(("kept", "text"), [(False, "Recovery (lstsq): "), (True, "Recovery (lstsq, then training): ")])
def test_a_heading_names_what_is_in_the_weights_and_not_what_was_asked_for(kept, text):
    ran = {"fitted": "lstsq", "training": [{"kept": kept}]}
    told = report(recovery=[RecoveryRow(name="a", error_before=0.4, error_after=0.2)], settings={"recover": "distill"})
    assert text in flat(drawn(render_report, told.model_copy(update={"ran": ran})))


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"source": "given", "range": ["given"], "limits": ["-2 to 2"]}, "Pixels: -2 to 2, as given."),
        ({"source": "default"}, "Pixels: [-1, 1], by default, as nothing could be read from the network; --mean"),
        (
            {"runner_up": "[0, 1]", "margin": 0.25},
            "Pixels: [-1, 1], read from the network's behaviour; next best [0, 1], 0.250 nats behind; --mean",
        ),
        (
            {"runner_up": "[0, 1]", "margin": 0.0},
            "Pixels: [-1, 1], which the network's behaviour hardly tells from [0, 1]; --mean",
        ),
        (
            {
                "range": ["mean and deviation of ImageNet", "[-1, 1]"],
                "limits": ["-2.1 to 2.6", "-1 to 1"],
                "runner_up": "[-1, 1]",
                "margin": 0.05,
            },
            "Pixels: mean and deviation of ImageNet (-2.1 to 2.6) and [-1, 1], each for half of the samples, as the "
            "network's behaviour does not tell them apart; --mean",
        ),
    ],
)
def test_the_range_of_pixels_is_said_once_and_no_surer_than_it_is(facts, text):
    row = {"kinds": {"x": "image"}, "range": ["[-1, 1]"], "limits": ["-1 to 1"], "source": "behaviour", **facts}
    told = flat(drawn(render_report, report(synthetic=SyntheticRow(**row))))
    assert text in told


def test_the_ratio_is_explained():
    text = flat(drawn(render_report, report()))
    assert "Ratio 0.5 as a share of the channels: 64 of 192 (0.33) were removed, in 2 of 3 groups;" in text
    assert "groups; MACs left 0.26." in text


def test_what_rounding_did_is_told():
    """A group of three heads cannot lose half of them."""
    sizes = {"heads": (48, 16), "w": (64, 32)}
    groups = [GroupRow(name=n, channels=c, removed=r, axes=[]) for n, (c, r) in sizes.items()]
    text = flat(drawn(render_report, report(groups=groups, settings={"ratio": 0.5, "scope": "local"})))
    assert "limits made it another share in 1 group: heads lost 16 of 48 (0.33)." in text
    for settings in ({"ratio": 0.42, "scope": "local"}, {"ratio": 0.5, "scope": "global"}):
        assert "another share" not in flat(drawn(render_report, report(groups=groups, settings=settings)))


@pytest.mark.parametrize(("include", "exclude"), [(["w", "heads"], []), ([], ["stem*"])])
def test_groups_that_were_not_to_be_pruned_were_not_rounded(include: list[str], exclude: list[str]) -> None:
    sizes = {"stem": (32, 0), "stem2": (32, 0), "heads": (1, 0), "w": (64, 32)}
    groups = [GroupRow(name=n, channels=c, removed=r, axes=[f"{n}:0"]) for n, (c, r) in sizes.items()]
    asked = {"ratio": 0.5, "scope": "local", "include": include, "exclude": exclude}
    text = flat(drawn(render_report, report(groups=groups, settings=asked)))
    assert "another share in 1 group: heads lost 0 of 1" in text


def test_a_target_is_not_called_a_ratio():
    text = flat(drawn(render_report, report(settings={"ratio": None, "target_macs": 0.3})))
    assert "Ratio" not in text
    assert "Channels: 64 of 192 (0.33) were removed" in text


def test_targets_are_told_with_what_was_reached():
    found = report(settings={"target_macs": 0.3, "target_size": 50_000})
    text = flat(drawn(render_report, found))
    told = [told for name, told in found.headline() if name == "target"]
    assert [line.partition(", ")[0] for line in told] == ["MACs of 30.00% asked for", "file of 50.0 kB asked for"]
    assert all(f"Target: {line}." in text for line in told)


def test_a_proof_that_rounding_blurs_claims_no_equality():
    loose = PROOF.model_copy(update={"tolerance": 0.51, "max_rel_err": 0.4})
    for told in (flat(drawn(render_report, report(proof=loose))), flat(render_html(report(proof=loose)))):
        assert "agrees with the original with the same channels masked within 51% of the outputs" in told
        assert "equals" not in told


def test_the_proof_is_stated():
    text = flat(drawn(render_report, report()))
    assert "Proof: equals the original with the same channels masked; error 4.1e-07, allowed 1.0e-04" in text
    assert "(ONNX Runtime cpu, 2 input sizes, norms over the kept channels)." in text
    failed = PROOF.model_copy(update={"passed": False, "masked_statistics": False})
    text = flat(drawn(render_report, report(proof=failed)))
    assert "Proof: FAILED, differs from the original with the same channels masked" in text
    assert "norms over" not in text
    assert "Proof: not run." in drawn(render_report, report(proof=None))


def test_groups_that_were_shifted_together_are_named_where_reasons_are_asked_for():
    proof = PROOF.model_copy(update={"shifted_together": [f"layer{n}" for n in range(12)]})
    assert "together" not in drawn(render_report, report(proof=proof))
    text = flat(drawn(render_report, report(proof=proof), explain=True))
    assert "noticed of these together, and not tried of each: layer0, " in text
    assert "layer9 and 2 more." in text


def test_without_an_output_nothing_was_written():
    text = drawn(render_report, report(output=AFTER.model_copy(update={"path": None})))
    assert text.startswith("a.onnx -> (not written)\n")
    assert text.endswith("Nothing was written.\n")


def test_groups_are_listed_when_verbose():
    assert "layer1.conv.weight" not in drawn(render_report, report())
    assert re.search(r"layer1\.conv\.weight +64 +32 +2\n", drawn(render_report, report(), verbose=True))


def test_what_stayed_is_one_line_unless_explained():
    text = flat(drawn(render_report, report()))
    assert "1,060 channels had to stay; --explain lists them. Main reason, for 1,000: graph output." in text
    assert "attention0" not in text


def test_explain_merges_by_reason_and_lists_the_places():
    text = drawn(render_report, report(), explain=True)
    assert text.index("1,000 channels had to stay: graph output") < text.index("60 channels had to stay: Softmax")
    assert "attention9" in text
    assert "attention11" not in text
    assert "and 2 more; -v lists them all" in text
    assert "attention11" in drawn(render_report, report(), explain=True, verbose=True)


def test_inspection_shows_groups_share_and_blockers():
    text = drawn(render_inspection, report(output=None, proof=None, prunable_params=23_000_000))
    assert "192 channels in 3 groups can be pruned; their weights hold 0.90 of the" in text
    assert re.search(r"opset +18\n", text)
    assert re.search(r"graph output +1,000 +1\n", text)
    assert re.search(r"Softmax +60 +12\n", text)
    assert "attention0" not in text
    assert "attention0" in drawn(render_inspection, report(output=None), explain=True)


def diff(**changes) -> DiffReport:
    values = {
        "a": BEFORE,
        "b": AFTER,
        "same_signature": True,
        "initializers": [
            InitializerChange(name="w0", shape_a=[64, 3], shape_b=[32, 3]),
            InitializerChange(name="w1", shape_a=[8], shape_b=[8]),
            InitializerChange(name="w2", shape_a=None, shape_b=[]),
        ],
        "operators": [OperatorChange(op_type="Identity", count_a=3, count_b=0)],
    }
    return DiffReport(**{**values, **changes})


def test_diff_lists_what_changed():
    text = drawn(render_diff, diff())
    assert re.search(r"w0 +64x3 +32x3\n", text)
    assert re.search(r"w1 +8 +other values\n", text)
    assert re.search(r"w2 +absent +scalar\n", text)
    assert re.search(r"Identity +3 +0\n", text)
    assert "Inputs and outputs: the same." in text
    assert "Inputs and outputs: DIFFERENT." in drawn(render_diff, diff(same_signature=False))
    assert "Initializers: the same." in drawn(render_diff, diff(initializers=[], operators=[]))


def test_long_diffs_are_cut_unless_verbose():
    many = [InitializerChange(name=f"w{n}", shape_a=[2], shape_b=[1]) for n in range(25)]
    assert "and 5 more; -v lists them all." in drawn(render_diff, diff(initializers=many))
    assert "w24" in drawn(render_diff, diff(initializers=many), verbose=True)


def hostile() -> Report:
    name = "/a/very/long/node/name[bold]/" * 5 + "\x1b]0;title\x07"
    return report(
        groups=[GroupRow(name=name, channels=4, removed=2, axes=[])],
        frozen=[FrozenRow(value=name, axis=None, node=name, reason=name, channels=1)],
    )


@pytest.mark.parametrize("options", [{}, {"explain": True, "verbose": True}])
@pytest.mark.parametrize("document", [report(), hostile()], ids=["usual", "hostile"])
def test_text_is_plain_ascii_within_80_columns(document, options):
    text = drawn(render_report, document, **options)
    assert text.isascii()
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_names_are_shown_whole_and_without_markup():
    text = drawn(render_report, hostile(), explain=True, width=400)
    assert "name[bold]/\\x1b]0;title\\x07" in text


def test_agreement_that_says_little_is_told_as_such():
    found = Share(output="y", value=0.998, low=None, high=None)
    row = OutputsRow(samples=512, distance=found, agreement=found, chance=0.97)
    text = " ".join(shown_outcome(row).split())
    assert "the largest class is the same in 99.8%, as 97% would by chance" in text
    assert "real samples (--data) tell more" in text
    for better in (row.model_copy(update={"chance": 0.5}), row.model_copy(update={"chance": None})):
        assert "chance" not in shown_outcome(better)


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (0.5, "outputs are off by 50.0% (40.0% to 60.0%) of their norm"),
        (5, "outputs are off by 5 (4 to 6) times their norm"),
    ],
)
def test_a_distance_of_several_norms_is_a_multiple(moved: float, said: str) -> None:
    found = Share(output="y", value=moved, low=moved * 0.8, high=moved * 1.2)
    assert said in " ".join(shown_outcome(OutputsRow(samples=512, distance=found)).split())
    gate = GateRow(name="max_distance", limit=0.01, measured=moved, of="output 'y'")
    assert gate_cells(gate)[2] == ("50.00%" if moved < 1 else "5 times")


def shown_outcome(row):
    file = io.StringIO()
    show_outcome(Console(file=file, width=80), report(outputs=row))
    return file.getvalue()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(300, 100, "3.0 times smaller"), (100, 150, "1.5 times larger"), (9, 9, "As large"), (99, 100, "As large")],
)
def test_a_file_that_grew_is_larger(before: int, after: int, said: str) -> None:
    assert times_smaller(before, after).startswith(f"{said} on disk")


def test_a_step_without_settings_shows_none():
    assert told_settings({"command": "quantize", "settings": "{}"}) == ["quantize"]
    assert told_settings({"command": "prune", "settings": '{"ratio": 0.5}'}) == ["prune", '{"ratio": 0.5}']
