"""One file, safe with any name, the same every time, readable by people and by screen readers."""

from __future__ import annotations

import json
import os
import random
import re
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compressor.errors import UsageError
from compressor.render.html import _environment, render_html, write_html
from compressor.render.setting_rows import asked_rows
from compressor.results import FrozenRow, GroupRow, ProofResult, Report
from compressor.results.detail import AccuracyRow, Curve, LayerRow, OutputsRow, RecoveryRow, Series, Share
from compressor.results.records import ChangedLayerRow, ScoreHistogram
from tests.render.case import HOSTILE, full, plan_of, stats
from tests.render.outline import Outline

TIME = datetime(2026, 3, 7, 9, 5, tzinfo=UTC)


def drawn(report: Report, plan: dict[str, Any] | None = None) -> str:
    return render_html(report, plan=json.dumps(plan) if plan else None, created=TIME)


def outline(report: Report, plan: dict[str, Any] | None = None) -> Outline:
    found = Outline(drawn(report, plan))
    assert found.open == []
    return found


# ---- safety -------------------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=40)
PLAIN = outline(full("layer"), plan_of(full("layer")))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_change_no_markup(name: str) -> None:
    report = full(name)
    assert outline(report, plan_of(report)).shape == PLAIN.shape


@settings(max_examples=60, deadline=None)
@example("/").via("a path that ends with its separator")
@given(names)
def test_no_name_changes_the_markup_or_hides(name: str) -> None:
    report = full(name)
    found = outline(report, plan_of(report))
    assert found.shape == PLAIN.shape
    assert all(c.isprintable() or c == "\n" for c in "".join(found.text)), "control and format characters are shown"
    attributes = [value for _, attrs in found.tags for value in attrs.values() if value]
    assert all(c.isprintable() for value in attributes for c in value)


def test_what_a_template_prints_without_a_filter_is_safe_too() -> None:
    template = _environment().from_string("{{ text }}")
    assert template.render(text="<b>\x1b\u202e") == "&lt;b&gt;\\x1b\\u202e"


def test_the_file_can_be_stored_whatever_the_names_are(tmp_path: Path) -> None:
    write_html(full("\udc80"), tmp_path / "r.html", created=TIME)
    assert "\\udc80" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs() -> None:
    report = full()
    text, found = drawn(report, plan_of(report)), outline(report, plan_of(report))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img", "iframe", "object", "embed", "base", "form"})
    assert all(not key.startswith("on") for _, attrs in found.tags for key in attrs)
    targets = [attrs[k] for _, attrs in found.tags for k in ("href", "src", "xlink:href") if k in attrs]
    assert targets
    assert all(t is not None and (t.startswith("#") or t == "data:,") for t in targets)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


# ---- what it says -------------------------------------------------------------------------------------------


def test_every_section_is_there_and_linked() -> None:
    found = outline(full(), plan_of(full()))
    ids = [a["id"] for t, a in found.tags if t == "section"]
    links = [a["href"] for t, a in found.tags if t == "a"]
    assert sorted(f"#{i}" for i in ids) == sorted(str(link) for link in links)
    expected = {
        "sizes",
        "gates",
        "warnings",
        "proof",
        "accuracy",
        "latency",
        "curves",
        "channels",
        "layers",
        "kept",
        "plan",
        "run",
    }
    assert set(ids) == expected


def test_a_report_without_extras_has_no_empty_sections() -> None:
    empty: dict[str, Any] = {
        "gates": [],
        "layers": [],
        "recovery": [],
        "accuracy": [],
        "curves": [],
        "latency": None,
    }
    found = outline(full(**empty, frozen=[], warnings=[], seconds={}, settings={"ratio": 0.5, "criterion": "l2"}))
    assert [a["id"] for t, a in found.tags if t == "section"] == ["sizes", "proof", "channels", "run"]


def test_the_numbers_are_those_of_the_report() -> None:
    words = outline(full()).words
    for text in ("1.60 MB", "400 kB", "−75%", "2.5e-07", "Removed: 224 of 448 channels (50%), in 3 of 3 groups."):
        assert text in words
    assert "Asked for: removing 50% of the channels of each group." in words
    by_loss = full(settings={"ratio": 0.5, "criterion": "l2", "scope": "loss"})
    assert "Asked for: ratio 50%; channels went where they matter least" in outline(by_loss).words
    assert "7 March 2026, 09:05" in words
    assert "95.00%" in words
    assert "between 2.20 and 2.40 times as fast" in words


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"ratio": None, "target_macs": 0.4}, "keeping 40% of the multiply-accumulates; 25.00% reached."),
        ({"ratio": None, "target_size": 1_500_000}, "a file of 1.50 MB; 400 kB reached."),
        ({"ratio": None, "lossless": True}, "removing only what no output depends on."),
        ({"ratio": None, "target_latency": "0.6x"}, "a latency of 0.6x."),
        ({"ratio": None}, "what a saved plan says."),
    ],
)
def test_what_was_asked_for(chosen: dict[str, Any], text: str) -> None:
    assert f"Asked for: {text}" in outline(full(settings={"criterion": "l2", **chosen})).words


def test_a_setting_shows_what_was_asked_and_what_became_of_it() -> None:
    found = full(
        settings={"recover": "auto", "device": "auto", "scope": "global", "layout": "auto"},
        ran={"recover": "distill", "scope": "global", "training": [{"device": "cpu", "optimiser_steps": 4}]},
    )
    rows = asked_rows(found.settings, found.ran)
    assert dict(rows) == {
        "recover": "auto (distill)",
        "device": "auto (cpu)",
        "scope": "global",
        "layout": "auto",
    }
    assert "auto (distill)" in outline(found).words


def test_an_inspection_and_a_clean_up() -> None:
    seen = outline(full(output=None, proof=None, settings={})).words
    assert "Inspection" in seen
    assert "448 channels in 3 groups can be pruned." in seen
    assert "Clean-up report" in outline(full(groups=[], settings={"provider": "cpu"})).words


def test_a_failed_or_skipped_proof_is_not_green() -> None:
    proof = full().proof
    assert proof is not None
    failed = proof.model_copy(update={"passed": False, "max_rel_err": float("inf")})
    found = outline(full(proof=failed))
    assert "✗ Failed" in found.words
    assert "The result differs from the original" in found.words
    assert "good" not in {c for _, a in found.tags for c in (a.get("class") or "").split()}
    assert "Not run" in outline(full(proof=None)).words


def test_the_proof_speaks_of_the_model_before_recovery() -> None:
    recovered = outline(full(settings={"criterion": "l2", "recover": "lstsq"})).words
    assert "Before recovery, the smaller model equals the original with the same channels masked" in recovered
    assert "recovery" not in outline(full(recovery=[], settings={"criterion": "l2", "recover": "none"})).words.lower()


def test_no_change_of_latency_is_said() -> None:
    time = full().latency
    assert time is not None
    assert "no difference was shown" in outline(full(latency=time.model_copy(update={"low": 0.97}))).words
    assert "no difference was shown" not in outline(full()).words


def test_numbers_that_are_none_are_drawn_as_such() -> None:
    nan, inf = float("nan"), float("inf")
    proof = ProofResult(
        max_rel_err=nan, max_abs_err=nan, tolerance=0, passed=False, provider="cpu", inputs=[], masked_statistics=False
    )
    curves = [
        Curve(title="t", x_label="x", y_label="y", series=[Series(name="a", points=points)])
        for points in ([], [(0.0, nan)], [(1.0, 2.0)], [(-1e308, 1e308), (1e308, -1e308), (inf, 1.0)])
    ]
    found = outline(
        full(
            proof=proof,
            curves=curves,
            layers=[LayerRow(name="n", op_type="Conv", macs_before=None, macs_after=5)],
            recovery=[RecoveryRow(name="r", error_before=inf, error_after=nan)],
        )
    )
    coordinates = [v for _, a in found.tags for k, v in a.items() if k in {"d", "x", "y", "cx", "cy", "width", "x1"}]
    assert coordinates
    assert not any(v is None or "nan" in v or "inf" in v for v in coordinates)


# ---- reading ------------------------------------------------------------------------------------------------


def test_headings_tables_and_charts_are_accessible() -> None:
    report = full()
    found = outline(report, plan_of(report))
    levels = [int(t[1]) for t, _ in found.tags if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels)), "no level is skipped"
    assert ("html", {"lang": "en"}) in found.tags
    drawings = [a for t, a in found.tags if t == "svg" and ("role" in a or "aria-hidden" in a)]
    assert len([a for a in drawings if a.get("role") == "img"]) >= 4
    assert all(a.get("aria-label") for a in drawings if a.get("role") == "img")
    assert found.count("thead") == found.count("table")


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        *((front, back, 4.5) for front in ("ink", "soft", "after") for back in ("page", "card")),
        *((tone, f"{tone}-back", 4.5) for tone in ("good", "bad", "warn")),
        *((f"line{k}", "card", 3.0) for k in range(1, 7)),
        ("after", "before", 2.0),
    ],
)
def test_contrast(theme: int, front: str, back: str, least: float) -> None:
    """WCAG 2.2, success criteria 1.4.3 (text, 4.5) and 1.4.11 (graphics, 3)."""
    blocks = re.findall(r":root \{(.*?)\}", drawn(full()), re.DOTALL)[:2]
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", blocks[theme]))
    one, two = sorted((_luminance(colours[front]), _luminance(colours[back])))
    assert (two + 0.05) / (one + 0.05) >= least


def big(count: int, name: str) -> tuple[Report, dict[str, Any]]:
    rng = random.Random(0)
    groups = [
        GroupRow(name=f"{name}{k}.weight", channels=256 << k % 4, removed=128 << k % 4, axes=["a:0"])
        for k in range(count)
    ]
    layers = [
        LayerRow(name=f"{name}{k}", op_type="Conv", weight=f"{name}{k}.weight", macs_before=10**8 + k, macs_after=10**7)
        for k in range(3 * count)
    ]
    frozen = [
        FrozenRow(value=f"{name}{k}", axis=1, node=f"{name}{k}", reason=f"r{k % 7}", channels=8)
        for k in range(5 * count)
    ]
    report = full("m", groups=groups, layers=layers, frozen=frozen)
    plan = plan_of(report)
    for entry, group in zip(plan["removals"], groups, strict=True):
        entry["indices"] = sorted(rng.sample(range(group.channels), group.removed))
    return report, plan


def test_four_hundred_groups_stay_small_and_all_are_listed() -> None:
    report, plan = big(400, "backbone.stage4.block.")
    text = drawn(report, plan)
    assert len(text.encode()) < 310_000
    words = Outline(text).words
    assert all(f"block.{k}.weight" in words for k in range(400))
    assert "340 more groups" in words
    assert "1,080 smaller layers not listed here" in words
    assert "more places in the JSON report" in words


def test_long_names_are_shown_whole_up_to_240_characters_and_break() -> None:
    long = "scope/" * 33 + "ab"
    words = outline(full(groups=[GroupRow(name=long, channels=8, removed=4, axes=[])])).words
    assert long in words
    longer = outline(full(groups=[GroupRow(name="a" * 300 + "end", channels=8, removed=4, axes=[])])).words
    assert "a" * 120 + "…" in longer
    assert "aend" in longer


def test_the_plan_lists_positions_and_marks_them_in_the_bars() -> None:
    report = full(groups=[GroupRow(name="g", channels=8, removed=4, axes=[])])
    plan = {"schema": 1, "policy": {"attention": "dims"}, "removals": [
        {"group": "g", "initializer": "w", "axes": [0], "indices": [0, 1, 2, 5]}]}  # fmt: skip
    found = outline(report, plan)
    assert "w:0 0–2, 5" in re.sub(r"\s+", " ", found.words.replace("w:00", "w:0 0"))
    assert [a["stroke-dasharray"] for t, a in found.tags if t == "line" and "pathlength" in a] == ["0 3 2 1 2 0"]
    # Four channels of two positions each, as gates of a recurrent layer have them.
    gates = full(groups=[GroupRow(name="g", channels=4, removed=2, axes=[])])
    plan["removals"][0]["shape"] = [8, 3]
    found = outline(gates, plan)
    assert [a["stroke-dasharray"] for t, a in found.tags if t == "line" and "pathlength" in a] == ["0 3 2 1 2 0"]


# ---- files --------------------------------------------------------------------------------------------------


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    report = full()
    for name in ("a", "b"):
        write_html(report, tmp_path / name, plan=json.dumps(plan_of(report)), created=TIME)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = Report.model_validate_json(report.to_json())
    assert drawn(again) == drawn(report)
    assert "<time" not in render_html(report)


def test_only_the_report_is_left_in_the_folder(tmp_path: Path) -> None:
    write_html(full(), tmp_path / "r.html")
    assert os.listdir(tmp_path) == ["r.html"]
    with pytest.raises(UsageError, match="cannot be written"):
        write_html(full(), tmp_path / "none" / "r.html")


def test_without_jinja2_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"onnx-compressor\[report\]") as caught:
        write_html(full(), tmp_path / "r.html")
    assert caught.value.exit_code == 2
    assert os.listdir(tmp_path) == []


def test_a_path_alone_is_enough() -> None:
    assert "Model in memory" in outline(full(input=stats(None, 10))).words
    assert "C:\\m\\net.onnx" in outline(full(input=stats("C:\\m\\net.onnx", 10))).words


def test_layers_that_changed_are_listed() -> None:
    rows = [
        ChangedLayerRow(
            node=f"conv<{k}>",
            became="rank 12 of 32, inputs thinned",
            macs_before=2000,
            macs_after=1000,
            params_before=200,
            params_after=100,
            lowered=not k,
        )
        for k in range(2)
    ]
    report = full()
    assert report.proof is not None
    proof = report.proof.model_copy(update={"reference": "the same graph with every changed layer whole"})
    words = outline(report.model_copy(update={"changed": rows, "proof": proof})).words
    assert "conv<0> rank 12 of 32, inputs thinned 2,000 1,000 200 100".replace(" ", "") in words.replace(" ", "")
    assert words.count("zeros stay") == 1
    assert "equals the same graph with every changed layer whole" in words
    assert "zeros stay" not in outline(report).words


def test_the_scores_name_all_channels_and_how_many_are_drawn() -> None:
    scores = ScoreHistogram(ranked_by="l2", low=0.0, high=1.0, kept=[0, 1], removed=[1, 0])
    groups = [GroupRow(name=f"g{k}", channels=576, removed=288, axes=["w:0"], scores=scores) for k in range(13)]
    words = " ".join("".join(outline(full(groups=groups)).text).split())
    assert "288 of 576 channels went; 2 drawn" in words
    assert "What stays whatever its score, at least one in each group, is not drawn." in words
    assert "1 more group" in words
    assert "1 more groups" not in words


def test_the_proof_has_one_number_that_is_allowed_and_names_what_was_noticed_together() -> None:
    proof = full().proof
    assert proof is not None
    page = drawn(full(proof=proof.model_copy(update={"tolerance": 1.1e-4, "shifted_together": ["left", "right"]})))
    assert "allowed 1.1e-04</text>" in page
    assert "1.1e-04 is allowed there: a share of each output channel's own range" in page
    assert "A wrong cut was noticed of these together, and not tried of each: left, right." in page
    assert "noticed of these together" not in drawn(full())


def test_a_tile_tells_accuracy_with_its_interval_before_the_likeness() -> None:
    row = AccuracyRow(metric="top-1", before=0.95, after=0.94, samples=1000, low=0.92, high=0.96)
    likeness = OutputsRow(samples=9, distance=Share(output="y", value=0.1, low=None, high=None))
    words = " ".join("".join(outline(full(accuracy=[row], outputs=likeness)).text).split())
    tiles = words[: words.index("Sizes MACs") if "Sizes MACs" in words else len(words)]
    assert "92.00% to 96.00%; 1,000 samples" in tiles
    assert tiles.index("92.00% to 96.00%") < tiles.index("Outputs off by")
    assert "Same largest class" not in drawn(full(outputs=None))


def test_a_headline_tells_agreement_norms_and_what_the_proof_is_of() -> None:
    shares = [Share(output="y", value=value, low=None, high=None) for value in (0.973, 0.1)]
    outputs = OutputsRow(samples=9, agreement=shares[0], distance=shares[1])
    report = full(outputs=outputs, settings={"recover": "bias"})
    facts = dict(report.headline())
    assert facts["same largest class"] == "97.3%, on 9 made-up samples"
    assert facts["outputs"] == "outputs are off by 10.0% of their norm, on 9 made-up samples"
    assert facts["proof"] == "passed before recovery, error 2.5e-07 of 1.0e-04, norms over the kept channels"
    assert report.proof is not None
    own = report.model_copy(update={"proof": report.proof.model_copy(update={"reference": "the changed layers"})})
    assert dict(own.headline())["proof"].startswith("passed, error")


def test_times_that_noise_swallows_are_left_out_and_counted() -> None:
    [first, *rest] = full().layers
    quiet = first.model_copy(update={"ms_before": 0.5, "ms_after": 0.2, "ms_noise": 0.01})
    noisy = first.model_copy(update={"ms_before": 0.5, "ms_after": 0.495, "ms_noise": 0.01})
    assert "not listed by time" not in outline(full(layers=[quiet, *rest])).words
    assert "1 layer is not listed by time" in outline(full(layers=[quiet, noisy])).words
    assert "2 layers are not listed by time" in outline(full(layers=[quiet, noisy, noisy])).words
    words = outline(full(layers=[noisy])).words
    assert "No layer is listed by time: each gained less" in words
    assert "Time, largest first" not in words
