"""A small model, cut and repaired from random data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.plan import PruningPlan, Removal, units_of
from compressor.config import PruneSettings
from compressor.data import Batch
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut import surgery
from compressor.pruning.cut.analysis import analyse
from compressor.reconstruct import ReconstructOptions, RecoveryResult, recover

Array = NDArray[Any]
FEW = ReconstructOptions(batch_size=8)


class Arrays:
    """Samples by input name, in memory; the first axis counts them."""

    def __init__(self, **arrays: Array) -> None:
        self._arrays = arrays

    @property
    def labelled(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def take(self, indices: NDArray[np.int64]) -> Batch:
        return Batch({name: array[indices] for name, array in self._arrays.items()})


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@dataclass
class Pruned:
    """A model after surgery, beside the dense one."""

    model: ir.Model
    dense: ir.Model
    cut: ChannelMask

    def recover(self, method: str, data: Any, options: ReconstructOptions = FEW) -> RecoveryResult:
        return recover(self.model, self.dense, self.cut, method, data, options)

    def error(self, **feeds: Array) -> float:
        """Largest difference between the outputs of the two, as a share of the dense range."""
        pairs = zip(outputs(self.dense, feeds), outputs(self.model, feeds), strict=True)
        return max(float(np.abs(a - b).max() / np.ptp(a)) for a, b in pairs)


def pruned(proto: onnx.ModelProto, removal: Removal | None = None, **settings: Any) -> Pruned:
    """The model after analysis, choice (unless ``removal`` says what goes) and surgery."""
    chosen = PruneSettings.parse({"ratio": 0.5, "round_to": 1, "verify": False, **settings})
    found = analyse(ir.from_proto(proto), chosen)
    dense = found.model.clone()
    plan = PruningPlan((removal,)) if removal else choose_channels(found.coupling, chosen, 1).plan
    cut = ChannelMask(found.coupling, units_of(plan, found.coupling))
    cut.check()
    left = cut.on(dense.graph)
    surgery.remove(found.model, cut)
    return Pruned(found.model, dense, left)


def outputs(model: ir.Model | onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    """The outputs of ONNX Runtime on one thread, without optimisations."""
    proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, feeds)]


HEAD = """
    (float[n,6,4,4] x) => (float[n,3] y) <float[8,6,1,1] w, float[8,3] head, float[3] bias> {
        a = Conv(x, w)  r = Relu(a)  p = GlobalAveragePool(r)  f = Flatten(p)  m = MatMul(f, head)  s = Add(m, bias)
        y = Softmax<axis=1>(s)
    }"""


def images(count: int = 600, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 6, 4, 4)).astype(np.float32) * 3
