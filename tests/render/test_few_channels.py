"""A few channels may save much, which is told."""

from __future__ import annotations

from compressor.render.few_channels import few_save_much
from compressor.results.records import GroupRow, ModelStats, Report

STATS = ModelStats(path=None, bytes=1, params=2, macs=3, nodes=4, opset=18)


def test_few_channels_that_save_much_are_explained() -> None:
    """Those of a residual stream are read by every layer of a transformer."""
    stream = GroupRow(name="stem", channels=192, removed=112, axes=[f"w{k}:0" for k in range(46)])
    rest = GroupRow(name="mlp", channels=16_128, removed=0, axes=["v:0", "u:1"])
    half = STATS.model_copy(update={"macs": 400})
    found = Report(input=STATS.model_copy(update={"macs": 1000}), output=half, groups=[stream, rest])
    assert few_save_much(found) == "A channel of stem is a slice of 46 weights at once, so that few save much."
    even = [stream, rest.model_copy(update={"removed": 8_000})]
    assert few_save_much(found.model_copy(update={"groups": even})) == ""
    assert few_save_much(found.model_copy(update={"output": None})) == ""
