"""Reports to draw in tests: a full one, and names that want to break out."""

from __future__ import annotations

from typing import Any

from compressor.results import FrozenRow, GroupRow, ModelStats, ProofResult, Report
from compressor.results.detail import (
    AccuracyRow,
    Curve,
    Environment,
    LatencyResult,
    LayerRow,
    RecoveryRow,
    Series,
)
from compressor.results.records import GateRow

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)",
    "\u202egnp.exe\u2066",
    "a\x00b\x1b[31mc\r\n\x85",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#0;",
    "\udc80\ufffe",
    "-->]]><!--",
    "שלום/مرحبا",
    "n" * 5000,
)


def stats(path: str | None, size: int) -> ModelStats:
    return ModelStats(path=path, bytes=4 * size, params=size, macs=10 * size, nodes=12, opset=18)


def full(name: str = "layer", **changes: Any) -> Report:
    """A report with every section; ``name`` stands wherever a model, a file or a library names something."""
    values: dict[str, Any] = {
        "input": stats(f"models/{name}.onnx", 400_000),
        "output": stats(f"{name}.pruned.onnx", 100_000),
        "groups": [
            GroupRow(name=f"{name}{k}", channels=64 << k, removed=32 << k, axes=[f"{name}:0"]) for k in range(3)
        ],
        "frozen": [
            FrozenRow(value=name, axis=None if k else 1, node=name, reason=f"is {name}", channels=5) for k in range(2)
        ],
        "proof": ProofResult(
            max_rel_err=2.5e-7,
            max_abs_err=1e-6,
            tolerance=1e-4,
            passed=True,
            provider=name,
            inputs=[{name: [3, 8, 8]}, {name: []}],
            masked_statistics=True,
        ),
        "gates": [GateRow(name="max_size", limit=0.5, measured=0.25, of=name)],
        "layers": [
            LayerRow(
                name=f"{name}{k}",
                op_type=name,
                weight=f"{name}.w",
                macs_before=4096 * k,
                macs_after=1024 * k,
                ms_before=0.5,
                ms_noise=0.01,
                ms_after=0.2,
            )
            for k in range(4)
        ],
        "recovery": [RecoveryRow(name=name, error_before=0.3, error_after=0.1)],
        "accuracy": [AccuracyRow(metric=name, before=0.95, pruned=0.81, after=0.94, samples=1000)],
        "curves": [
            Curve(
                title=name,
                x_label=name,
                y_label=name,
                note=name,
                series=[Series(name=name, points=[(0, 0.9), (1, 0.5)])],
            )
        ],
        "latency": LatencyResult(before_ms=4.2, after_ms=1.8, low=2.2, high=2.4, provider=name, device=name, batch=1),
        "seconds": {f".{name}": 0.25, "prove": 1.0},
        "warnings": [name],
        "settings": {"criterion": name, "ratio": 0.5, f".{name}": [name]},
        "environment": Environment(python=name, system=name, device=name, cores=2, packages={name: name}),
    }
    return Report(**{**values, **changes})


def plan_of(report: Report) -> dict[str, Any]:
    """A plan document that removes every other channel of each group."""
    removals = [
        {"group": g.name, "initializer": g.name, "axes": [0], "indices": list(range(0, 2 * g.removed, 2))}
        for g in report.groups
        if g.removed
    ]
    return {"schema": 1, "policy": {"attention": "heads"}, "removals": removals}
