"""The documented use of the Python interface, for mypy; never run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

import compressor
from compressor.results import Report

images = np.zeros((8, 3, 32, 32), np.float32)
labels = np.zeros(8, np.int64)
proto: onnx.ModelProto = onnx.load("model.onnx")
model: ir.Model = compressor.load("model.onnx")

result: compressor.PruneResult = compressor.prune("model.onnx", ratio=0.5)
compressor.prune(Path("model.onnx"), target_macs="50%", round_to=1, exclude=("head*",))
compressor.prune(proto, 0.5, data=(images, labels), val_data={"x": images, "y": labels})
compressor.prune(model, data=[images], recover="lstsq", progress=print)
compressor.prune(proto.SerializeToString(), data=lambda: images, criterion="mine")
report: Report = result.report
proved: bool = result.proved
compressor.prune(model, eval=len, val_data=images)
size: int = compressor.save(result, "small.onnx")

compressor.unify(model, block="1x8", prune_share=0.2)
compressor.save(compressor.quantize(model, mode="dynamic"), "int8.onnx")
compressor.finetune(result.model, teacher=proto, data=images, epochs=5)
compressor.save(compressor.clean(proto), Path("clean.onnx"))
compressor.inspect(proto, dims={"batch": 1})
compressor.diff(proto, result.model)
compressor.verify(proto, result.model, rtol=0.02)
compressor.bench(proto, result.model, threads=1, min_speedup=1.2)
compressor.sensitivity(model, ratios=(0.25, 0.5), jobs=2)
compressor.robustness(model, result.model, data=images)
compressor.run({"model": "model.onnx", "output": "b.onnx", "stages": {"prune": {"ratio": 0.5}}})
compressor.run("recipe.yaml", changes=["prune.ratio=0.3"], dry_run=True)

compressor.prune("model.onnx", ratoi=0.5)  # type: ignore[call-arg]
compressor.prune("model.onnx", round_to="all")  # type: ignore[arg-type]
compressor.prune(3)  # type: ignore[arg-type]
