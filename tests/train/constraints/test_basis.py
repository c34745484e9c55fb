"""Coefficients and basis are trained together: zeros stay, scale is kept, and what is written is what was trained."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from compressor.train.constraints.basis import BasisTraining
from compressor.train.constraints.support import zeros_stay
from compressor.train.module.graph_module import GraphModule
from compressor.train.module.scalable_layers import layer_of
from tests.models import in_memory, model
from tests.reconstruct.case import noise, outputs

TEXT = """(float[N,4,6,6] x) => (float[N,8,4,4] y)
<float[8,4,9] c, float[9,9] f, int64[4] s = {8, 4, 3, 3}> {
    m = MatMul(c, f)
    w = Reshape(m, s)
    y = Conv(x, w)
}"""


def _net() -> ir.Model:
    source = in_memory(model(TEXT))
    array = noise(8, 4, 9) * (np.random.default_rng(1).random((8, 4, 9)) < 0.4)
    source.graph.initializers["c"].const_value = ir.tensor(array.astype(np.float32), name="c")
    return source


def test_both_are_trained_and_written_as_trained() -> None:
    source = _net()
    module = GraphModule(source)
    before = {name: t.detach().clone() for name, t in module.named_parameters()}
    assert set(before) == {"c", "f"}
    optimiser = torch.optim.SGD([{"params": list(module.parameters()), "weight_decay": 0.1}], lr=0.01)
    extensions = [zeros_stay(["c"]), BasisTraining({"c": "f"})]
    for extension in extensions:
        extension.start(module, optimiser, 3)
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}
    own = dict(module.named_parameters())
    assert rates[id(own["c"])] == (0.01, 0.1)
    assert rates[id(own["f"])] == (0.001, 0.0)
    x = torch.from_numpy(noise(2, 4, 6, 6))
    for step in range(3):
        optimiser.zero_grad()
        module(x).square().mean().backward()
        for extension in extensions:
            extension.after_backward(module)
        optimiser.step()
        for extension in extensions:
            extension.after_step(module, step + 1)
    product = (own["c"] @ own["f"]).detach()
    for extension in extensions:
        extension.after_epoch(module, 1)
    np.testing.assert_allclose(own["f"].detach().norm(dim=1), 1, rtol=1e-6)
    np.testing.assert_allclose((own["c"] @ own["f"]).detach(), product, atol=1e-6)
    assert (own["c"][before["c"] == 0] == 0).all()
    assert not torch.equal(own["f"], before["f"])
    written = module.write_back(source)
    (got,) = outputs(written, {"x": x.numpy()})
    np.testing.assert_allclose(got, module(x).detach(), atol=1e-6 * float(np.abs(got).max()))


def test_normalisation_can_be_put_behind_such_a_layer() -> None:
    source = _net()
    (conv,) = [node for node in source.graph if node.op_type == "Conv"]
    layer = layer_of(conv, source.graph)
    assert layer.weight.name == "c"
    assert layer.filters.shape == (8, 36)
