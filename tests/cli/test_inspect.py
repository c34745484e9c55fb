"""The command inspect: flags, and what it says."""

import json

import pytest

from compressor.config import PruneSettings


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


@pytest.mark.parametrize("command", ["inspect", "diff"])
def test_json_never_overwrites_an_input(run, pipeline, model, command):
    inputs = [model] if command == "inspect" else [model.with_name("a.onnx"), model]
    result = run(command, *inputs, "--json", model)
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
    assert pipeline.calls == []
