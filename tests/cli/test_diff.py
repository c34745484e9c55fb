"""The command diff: what it says."""

import json


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
