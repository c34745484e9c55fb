"""A folder with a tiny classifier, data for it, and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from compressor.recipe.progress import ResolvedRecipe
from compressor.recipe.reading import read_recipe
from compressor.recipe.run import Outcome, RecipeOptions, run_recipe
from tests.models import model

NET = """
(float[n,4,6,6] x) => (float y) <float[16,4,3,3] w, float[16] b, float[16,16,3,3] u, float[3,16] v> {
    a = Conv<pads=[1,1,1,1]>(x, w, b)
    c = Relu(a)
    d = Conv<pads=[1,1,1,1]>(c, u)
    e = Relu(d)
    f = GlobalAveragePool(e)
    g = Flatten(f)
    y = Gemm<transB=1>(g, v)
}"""
QUICK_BENCH = "bench: {rounds: 1, runs: 10, seconds: 0, warmup_seconds: 0, memory: false, threads: 1}"


def fill(folder: Path) -> Path:
    """The folder, with net.onnx and data.npz, whose labels are what the net says."""
    rng = np.random.default_rng(7)
    net = model(NET)
    onnx.save(net, str(folder / "net.onnx"))
    x = rng.normal(size=(96, 4, 6, 6)).astype(np.float32)
    y = ReferenceEvaluator(net).run(None, {"x": x})[0].argmax(axis=1)
    np.savez(folder / "data.npz", x=x, y=y)
    return folder


def write(folder: Path, stages: str, *, top: str = "data: data.npz", name: str = "recipe.yaml") -> Path:
    """A recipe in that folder; ``stages`` are lines without their indent."""
    body = "".join(f"  {line}\n" for line in stages.strip().splitlines())
    path = folder / name
    path.write_text(f"model: net.onnx\noutput: small.onnx\n{top}\nstages:\n{body}")
    return path


def execute(path: Path, *changes: str, **options: Any) -> tuple[Outcome, list[str]]:
    """What came of it, and the lines that were told."""
    told: list[str] = []
    recipe = ResolvedRecipe.of(path, read_recipe(path, changes))
    return run_recipe(recipe, RecipeOptions(line=told.append, **options)), told


def states(outcome: Outcome) -> list[str]:
    return [row.state for row in outcome.report.stages]
