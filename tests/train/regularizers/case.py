"""A small network with a residual stream, and what regularizers act on in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from compressor.channels.groups import group
from compressor.config import PruneSettings, TuneSettings
from compressor.pruning.budgets.select import choose_channels
from compressor.pruning.cut.analysis import analyse
from compressor.pruning.cut.apply import cut_of
from compressor.train import GraphModule
from compressor.train.loop.objective import Objective
from compressor.train.loop.split import Splits
from compressor.train.regularizers.coupled_channels import couple
from compressor.train.regularizers.regularizer import ChosenRegularizer, Flags, Penalty, Regularizer, TrainedChannels
from compressor.train.sparsify import BEFORE_A_CUT
from tests.models import in_memory, model
from tests.train.training import Memory

torch.set_num_threads(1)

CHAIN = """
    (float[n,3,6,6] x) => (float[n,c] y)
    <float[8,3,3,3] w1, float[8] s1, float[8] beta1, float[8] mean1, float[8] svar1, float[8,8,3,3] w2, float[8] b2,
     float[8,4] head> {
        a = Conv<pads=[1,1,1,1]>(x, w1)  n = BatchNormalization(a, s1, beta1, mean1, svar1)  r = Relu(n)
        b = Conv<pads=[1,1,1,1]>(r, w2, b2)  s = Relu(b)
        p = GlobalAveragePool(s)  f = Flatten(p)  y = MatMul(f, head)
    }"""
"""Two layers; the first is normalised."""

RESIDUAL = """
    (float[n,3,6,6] x) => (float[n,c] y)
    <float[8,3,3,3] w0, float[8] b0, float[8,8,3,3] w1, float[8,8,3,3] w2, float[8] b2, float[8,8,3,3] w3,
     float[8,8,3,3] w4, float[8,4] head> {
        h = Conv<pads=[1,1,1,1]>(x, w0, b0)  h0 = Relu(h)
        a1 = Conv<pads=[1,1,1,1]>(h0, w1)  r1 = Relu(a1)  d1 = Conv<pads=[1,1,1,1]>(r1, w2, b2)  h1 = Add(d1, h0)
        a2 = Conv<pads=[1,1,1,1]>(h1, w3)  r2 = Relu(a2)  d2 = Conv<pads=[1,1,1,1]>(r2, w4)  h2 = Add(h1, d2)
        p = GlobalAveragePool(h2)  f = Flatten(p)  y = MatMul(f, head)
    }"""
"""Two blocks of a residual stream."""


def subject(
    source: ir.Model | str,
    ratio: float = 0.5,
    strength: float | None = None,
    name: str = "decay",
    flags: Flags = BEFORE_A_CUT,
) -> TrainedChannels:
    """What would be cut at this ratio."""
    read = in_memory(model(source)) if isinstance(source, str) else source
    settings = PruneSettings(ratio=ratio, round_to=1)
    analysis = analyse(read, settings)
    choice = choose_channels(analysis.coupling, settings, 1)
    cut = cut_of(choice.plan, analysis)
    groups = group(analysis.coupling)
    asked = ChosenRegularizer(name, flags, strength)
    gone = {g.name: ~cut.keeps_units(g.units) for g in groups}
    return TrainedChannels(analysis, couple(analysis.coupling, groups, gone, analysis.model), cut, asked)


def images(count: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(count, 3, 6, 6)).astype(np.float32))


def started(regularizer: Regularizer, of: TrainedChannels, steps: int = 10, rate: float = 0.1) -> GraphModule:
    """The module before its first step, with gradients of zero."""
    module = GraphModule(of.analysis.model)
    parameters = [p for p in module.parameters() if p.requires_grad]
    regularizer.start(module, torch.optim.SGD(parameters, lr=rate), steps)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    if isinstance(regularizer, Penalty):
        regularizer.calibrate(module, lambda: (module(images(8, 0)).square().mean(), {}))
    return module


def data() -> Splits:
    return Splits(Memory({"x": images(40, 0).numpy()}), Memory({"x": images(16, 1).numpy()}))


def objective(of: TrainedChannels) -> Objective:
    """Imitates another network."""
    teacher = GraphModule(of.analysis.model)
    generator = torch.Generator().manual_seed(1)
    for tensor in teacher.tensors().values():
        tensor.data.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return Objective([(1.0, lambda ours, _, taught: (ours[0] - taught[0]).square().mean())], teacher=teacher)


def settings(**given: Any) -> TuneSettings:
    return TuneSettings.parse({"batch_size": 8, "epochs": 3, "learning_rate": 0.05, "device": "cpu", **given})
