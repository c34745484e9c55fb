import json

import pytest

from compressor.config import CleanSettings, PruneSettings


def test_clean_passes_its_settings(run, pipeline, model):
    result = run("clean", model, "--no-verify", "--dim", "n=4", "--seed", "5")
    assert result.exit_code == 0, result.output
    [call] = pipeline.calls
    assert call.settings == CleanSettings(verify=False, dims={"n": 4}, seed=5)
    assert call.output == model.with_name("net.clean.onnx")
    assert "Proof: equals the original;" in result.stdout


def test_clean_has_no_pruning_flag(run, model):
    result = run("clean", model, "--ratio", "0.5")
    assert result.exit_code == 2
    assert "--ratio" in result.stderr


def test_inspect_shows_groups_and_blockers_and_writes_nothing(run, pipeline, model):
    result = run("inspect", model, "--attention", "dims")
    assert result.exit_code == 0, result.output
    assert pipeline.calls[0].settings == PruneSettings(attention="dims")
    assert "conv1.weight" in result.stdout
    assert "64 channels in 1 group can be pruned; their weights hold 0.75" in result.stdout
    assert "graph output" in result.stdout
    assert "Wrote" not in result.stdout
    assert list(model.parent.iterdir()) == [model]


def test_inspect_json(run, model):
    document = json.loads(run("inspect", model, "--json", "-", "-q").stdout)
    assert document["output"] is None
    assert document["frozen"][0]["reason"] == "graph output"


def test_diff_names_what_differs(run, pipeline, model):
    other = model.with_name("small.onnx")
    result = run("diff", model, other)
    assert result.exit_code == 0, result.output
    assert (pipeline.calls[0].a, pipeline.calls[0].b) == (model, other)
    for word in ("Inputs and outputs: the same.", "Identity", "conv1.weight", "64x3", "32x3"):
        assert word in result.stdout


def test_diff_json(run, model):
    document = json.loads(run("diff", model, model, "-q", "--json", "-").stdout)
    assert document["schema"] == "onnx-compressor.diff/1"
    assert document["initializers"] == [{"name": "conv1.weight", "shape_a": [64, 3], "shape_b": [32, 3]}]


@pytest.mark.parametrize("command", ["inspect", "diff"])
def test_json_never_overwrites_an_input(run, pipeline, model, command):
    inputs = [model] if command == "inspect" else [model.with_name("a.onnx"), model]
    result = run(command, *inputs, "--json", model)
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
    assert pipeline.calls == []


def test_unknown_command_is_suggested(run):
    result = run("prnue", "x.onnx")
    assert result.exit_code == 2
    assert "Did you mean 'prune'?" in result.stderr


@pytest.mark.parametrize("words", [("--no-verify", "--verify", "full"), ("--verify", "quick", "--no-verify")])
def test_a_proof_that_is_asked_for_and_left_out_is_a_contradiction(run, pipeline, model, words):
    result = run("clean", model, *words)
    assert result.exit_code == 2
    assert "--no-verify contradict each other" in result.stderr
    assert run("clean", model, "--no-verify", "--verify", "off").exit_code == 0
    assert run("clean", model, "--no-verify", env={"ONNX_COMPRESSOR_CLEAN_VERIFY": "off"}).exit_code == 0


def test_a_path_that_lacks_its_suffix_is_answered_with_the_file(run, model):
    result = run("clean", model.with_suffix(""))
    assert result.exit_code == 3
    assert f"did you mean {model}?" in result.stderr.replace("\n", "")
