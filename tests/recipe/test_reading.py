"""Recipes that can be read, and one sentence for those that cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor.config import BenchSettings, PruneSettings, TuneSettings
from compressor.config.choices import STAGES
from compressor.config.recipe import GATES, settings_of
from compressor.errors import UsageError
from compressor.recipe.reading import read_recipe

GOOD = """
model: a.onnx
output: b.onnx
data: train.npz
seed: 3
stages:
  prune: {target_macs: 50%, layer_ratio: {"layer4.*": 0.3}, include: [a, b]}
  finetune-2:
    amp: off
    learning_rate: 1e-3
    data: other.npz
  bench:
gates: {max_drop: 1%, max_latency: 2.5ms}
"""


def recipe(tmp_path: Path, text: str, *changes: str):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return read_recipe(path, changes)


def test_stages_get_their_settings_in_order_and_what_all_share(tmp_path):
    found = recipe(tmp_path, GOOD)
    stages = found.settings()
    assert list(stages) == ["prune", "finetune-2", "bench"]
    prune, tune, bench = stages.values()
    assert isinstance(prune, PruneSettings)
    assert (prune.target_macs, prune.ratio, prune.seed, prune.data) == (0.5, None, 3, "train.npz")
    assert prune.layer_ratio == (("layer4.*", 0.3),)
    assert isinstance(tune, TuneSettings)
    assert (tune.amp, tune.learning_rate, tune.data) == ("off", 1e-3, "other.npz"), "its own values win"
    assert isinstance(bench, BenchSettings)
    assert bench.seed == 3
    of_file, of_speed = found.limits()
    assert (of_file.max_drop, of_speed.max_latency) == (0.01, 2.5)


def test_what_stands_at_the_top_need_not_be_read_by_every_stage(tmp_path: Path) -> None:
    """Images are cropped by one stage of two, and only stages have data."""
    text = (
        "model: a.onnx\ncrop_padding: 2\nlabels: y\nstages:\n  finetune: {augment: crop, data: x.npz}\n  finetune-2: "
    )
    tuned = recipe(tmp_path, text + "{data: x.npz}").settings()["finetune-2"]
    assert isinstance(tuned, TuneSettings)
    assert (tuned.crop_padding, tuned.labels) == (2, "y")
    with pytest.raises(UsageError, match="stage 'finetune-2': crop_padding: no image is cropped"):
        recipe(tmp_path, text + "{crop_padding: 3}").settings()


def test_a_recipe_may_be_json(tmp_path):
    text = json.dumps({"model": "a.onnx", "stages": {"clean": None, "prune": {"ratio": 0.25}}})
    assert recipe(tmp_path, text).settings()["prune"].ratio == 0.25  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("output:", "outptu:", "unknown setting 'outptu'; did you mean 'output'?"),
        ("  prune:", "  prnue:", "stages: 'prnue' is not a stage; did you mean 'prune'?"),
        ("  prune:", "  prune two:", "stages: 'prune two' is not a stage"),
        ("target_macs", "target_mac", "stage 'prune': unknown setting 'target_mac'; did you mean 'target_macs'?"),
        ("50%", "150%", "stage 'prune': target_macs must be at most 1, not 1.5"),
        ("amp: off", "amp: on", "stage 'finetune-2': amp does not know 'on'"),
        ("amp: off", "resume: true", "stage 'finetune-2': a recipe chooses resume itself; leave that out"),
        ("seed: 3", "seed: x", "seed must be a whole number, not 'x'"),
        ("max_drop: 1%", "max_drop: 2", "gates: max_drop: 2 is more than accuracy can lose; write a share"),
        ("max_drop: 1%", "max_drop: 1", "gates: max_drop: 1 is all of the accuracy; write 1% or 0.01"),
        ("max_drop: 1%", "max_dorp: 1%", "gates: 'max_dorp' is not a gate; did you mean 'max_drop'?"),
        ("max_drop: 1%", "max_distance: 1%", "gates: 'max_distance' is a gate of a stage; put it in the prune stage"),
        ("gates: {max_drop: 1%, max_latency: 2.5ms}", "gates: 1", "gates: write each as NAME: LIMIT"),
        ("model: a.onnx", "model:", "the key 'model' is missing"),
        ("output: b.onnx", "output: ''", "output must"),
        ("  bench:", "  bench: fast", "stages: 'bench' must hold settings"),
        ("seed: 3", "model: b.onnx", "the YAML cannot be read in line 5: the key 'model' comes twice"),
        ("seed: 3", "seed: &a 3\ndims: *a", "in line 6: references such as *name are not read"),
        ("seed: 3", "seed: [", "the YAML cannot be read in line"),
        ("seed: 3", "? [1]\n: 3", "in line 5: a key must be text"),
        ("seed: 3", "seed: " + "[" * 60_000, "in line 5: it is nested too deeply"),
        ("seed: 3", "seed: 3\n---\nmodel: c", "the YAML cannot be read in line"),
        ("seed: 3", "seed: \x07", "the YAML cannot be read"),
        ("seed: 3", "#" + "x" * (1 << 16), "the file is larger than 64 KiB"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_that_names_the_file(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        recipe(tmp_path, GOOD.replace(old, new))
    assert str(caught.value).startswith(f"{tmp_path / 'r.yaml'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- prune", "prune", "model: a.onnx", "model: a.onnx\nstages: {}", "stages: 3"])
def test_what_is_no_recipe(tmp_path, text):
    with pytest.raises(UsageError, match=r"r\.yaml: "):
        recipe(tmp_path, text)


def test_nothing_in_the_file_is_called_or_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    call = f"!!python/object/apply:os.mkdir ['{tmp_path}/made']"
    text = f"model: $SECRET/${{SECRET}}.onnx\nlabels: {call}\nstages: {{clean: }}"
    with pytest.raises(UsageError, match="labels must be text"):
        recipe(tmp_path, text)
    assert not (tmp_path / "made").exists()
    assert recipe(tmp_path, "model: $SECRET.onnx\nstages: {clean: }").model == "$SECRET.onnx"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_files_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="the file cannot be read"):
        read_recipe(path)


def test_changes_are_as_if_the_recipe_said_so(tmp_path):
    changes = ["prune.target_macs=", "prune.ratio=0.2", "seed=5", "prune.include=[x*, y]", "gates.max_drop=3%"]
    found = recipe(tmp_path, GOOD, *changes, "bench.threads=2", "finetune-2.loss=pkg.mod:fn")
    prune, tune, bench = found.settings().values()
    assert (prune.ratio, prune.seed, prune.include) == (0.2, 5, ("x*", "y"))  # type: ignore[attr-defined]
    assert tune.loss == "pkg.mod:fn"  # type: ignore[attr-defined]
    assert bench.threads == 2  # type: ignore[attr-defined]
    assert found.limits()[0].max_drop == 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("prune", "write KEY=VALUE"),
        ("=1", "write KEY=VALUE"),
        ("prnue.ratio=1", "the recipe has no stage 'prnue'; did you mean 'prune'?"),
        ("prune.ratoi=1", "unknown setting 'ratoi'; did you mean 'ratio'?"),
        ("unify.block=1x4", "the recipe has no stage 'unify'"),
        ("colour=1", "unknown setting 'colour'"),
        ("seed=[1", "the YAML cannot be read"),
    ],
)
def test_changes_that_do_not_fit(tmp_path, change, message):
    with pytest.raises(UsageError) as caught:
        recipe(tmp_path, GOOD, change)
    assert message in str(caught.value)


def test_every_stage_can_be_run_and_every_gate_is_a_setting():
    assert all(STAGES[name].settings is settings_of(name) for name in STAGES)
    assert all(name in kind.model_fields for name, kind in GATES.items())
