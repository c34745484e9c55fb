"""Decay to zero: at the end of training the masked model is the smaller one."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")

from compressor import errors  # noqa: E402 -- after the skip
from compressor.channels.channel_mask import ChannelMask  # noqa: E402
from compressor.channels.plan import units_of  # noqa: E402
from compressor.config import PruneSettings  # noqa: E402
from compressor.errors import UnsupportedOperator  # noqa: E402
from compressor.pruning.budgets.select import choose_channels  # noqa: E402
from compressor.pruning.cut import surgery  # noqa: E402
from compressor.pruning.cut.analysis import Analysis, analyse  # noqa: E402
from compressor.torch_ops.tensors import to_torch  # noqa: E402
from compressor.train import GraphModule  # noqa: E402
from compressor.train.regularizers.decay import Decay, decay, is_exact  # noqa: E402
from tests.models import in_memory, model, weight  # noqa: E402
from tests.property.graphs import random_inputs, random_model  # noqa: E402
from tests.train.case import Array, Feed, in_runtime, worst  # noqa: E402

STEPS = 4


def cut_of(source: ir.Model, ratio: float = 0.5) -> tuple[Analysis, ChannelMask]:
    settings = PruneSettings(ratio=ratio, round_to=1)
    analysis = analyse(source, settings)
    cut = ChannelMask(
        analysis.coupling, units_of(choose_channels(analysis.coupling, settings, 1).plan, analysis.coupling)
    )
    cut.check()
    return analysis, cut


def train(module: GraphModule, extension: Decay, feeds: Feed, steps: int = STEPS) -> None:
    """Steps of momentum on any loss."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-2)
    extension.start(module, optimiser, steps)
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        outputs = module(**{k: to_torch(v) for k, v in feeds.items()})
        every = [y for y in (outputs if isinstance(outputs, tuple) else (outputs,)) if y.requires_grad]
        if every:
            torch.stack([(y - 0.1).square().mean() for y in every]).sum().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
        extension.after_step(module, step)


def adopt(into: ir.Model, tuned: ir.Model) -> None:
    """Trained weights into the analysed model, whose values the cut knows."""
    for name, value in tuned.graph.initializers.items():
        into.graph.initializers[name].const_value = value.const_value


NET = """
    (float[n,3,8,8] x) => (float[n,c] y)
    <float[8,3,3,3] w1, float[8] b1, float[8] s1, float[8] beta, float[8] mean, float[8] s2, float[8,8,3,3] w2,
     float[8] b2, float[1,8,1,1] s3, float[8,5] head, float[5] b3> {
        a = Conv<pads=[1,1,1,1]>(x, w1, b1)
        n1 = BatchNormalization(a, s1, beta, mean, s2)
        r = Relu(n1)
        b = Conv<pads=[1,1,1,1]>(r, w2, b2)
        c = Add(b, n1)
        d = Div(c, s3)
        s = Relu(d)
        p = GlobalAveragePool(s)
        f = Flatten(p)
        y = Gemm(f, head, b3)
    }"""


def test_masked_is_removed_at_the_end(rng: np.random.Generator) -> None:
    found, cut = cut_of(in_memory(model(NET)))
    module, extension = GraphModule(found.model), decay(cut, found.model)
    assert is_exact(cut, found.model)
    assert extension.keeps_last
    assert set(extension.names) == {"w1", "b1", "s1", "beta", "w2", "b2", "head"}, "s3 divides, statistics divide"
    feeds = {"x": rng.normal(size=(4, 3, 8, 8)).astype(np.float32)}
    before = run(found.model, feeds)
    train(module, extension, feeds)
    tuned = module.write_back(found.model)
    kept = cut.mask(found.model.graph.initializers["w1"])
    assert kept is not None
    new = weight(tuned, "w1")
    assert not new[~np.broadcast_to(kept, new.shape)].any()
    assert new[np.broadcast_to(kept, new.shape)].all()
    assert not np.array_equal(new, weight(found.model, "w1"))
    after = run(tuned, feeds)
    assert worst(after, before) > 1e-3
    adopt(found.model, tuned)
    surgery.remove(found.model, cut)
    assert weight(found.model, "w1").shape == (4, 3, 3, 3)
    assert worst(run(found.model, feeds), after) < 1e-6


def run(source: ir.Model, feeds: Feed) -> list[Array]:
    return in_runtime(ir.to_proto(source), feeds)


def test_shrinks_in_equal_parts_and_stays_at_zero() -> None:
    module = torch.nn.Linear(2, 3)
    start = module.weight.detach().clone()
    gone = torch.tensor([[True], [False], [True]])
    extension = Decay({"weight": gone, "elsewhere": gone}, share=0.5)
    extension.start(module, torch.optim.SGD(module.parameters()), 10)
    for step in range(1, 11):
        if step > 6:
            with torch.no_grad():
                module.weight.add_(1)
        extension.after_step(module, step)
        if step <= 6:
            torch.testing.assert_close(module.weight[0].detach(), start[0] * max(0, 5 - step) / 5)
    assert not module.weight[[0, 2]].any()
    torch.testing.assert_close(module.weight[1].detach(), start[1] + 4)


def test_resumed_in_the_middle(rng: np.random.Generator) -> None:
    start = torch.from_numpy(rng.normal(size=(3, 2)).astype(np.float32))
    found = []
    for parts in ((range(1, 8),), (range(1, 4), range(4, 8))):
        module = torch.nn.Linear(2, 3)
        module.weight.data.copy_(start)
        for steps in parts:
            extension = Decay({"weight": torch.tensor([[True], [False], [True]])})
            extension.start(module, torch.optim.SGD(module.parameters()), 8)
            extension.load_state_dict(extension.state_dict())
            for step in steps:
                extension.after_step(module, step)
        found.append(module.weight.detach().clone())
    assert torch.equal(*found)
    torch.testing.assert_close(found[0][0], start[0] / 8)


@cache
def check(seed: int) -> bool:
    """One random graph; was anything removed, and exactly?"""
    rng = np.random.default_rng(seed)
    proto = random_model(rng)
    try:
        found, cut = cut_of(in_memory(proto))
        module = GraphModule(found.model)
    except (errors.NotPossible, UnsupportedOperator):
        return False
    extension = decay(cut, found.model)
    if not is_exact(cut, found.model):
        return False
    feeds = random_inputs(proto, rng)
    train(module, extension, feeds)
    tuned = module.write_back(found.model)
    expected = run(tuned, feeds)
    adopt(found.model, tuned)
    surgery.remove(found.model, cut)
    assert worst(run(found.model, feeds), expected) < 1e-6
    return True


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed: int) -> None:
    check(seed)


def test_many_random_graphs_are_exact() -> None:
    """The property would hold of cuts that are never exact."""
    assert sum(check(seed) for seed in range(30)) >= 4
