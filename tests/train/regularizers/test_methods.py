"""Every method of the table in the real loop: it trains, and an interrupted run goes on bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")

from compressor.config.choices import REGULARIZERS  # noqa: E402
from compressor.train import GraphModule  # noqa: E402
from compressor.train.loop.fit import fit  # noqa: E402
from compressor.train.module.intermediate_outputs import with_outputs  # noqa: E402
from compressor.train.regularizers.regularizer import Regularizer, TrainedChannels  # noqa: E402
from tests.train.regularizers.case import RESIDUAL, data, objective, settings, subject  # noqa: E402
from tests.train.training import StopAfter  # noqa: E402


def made(name: str, of: TrainedChannels) -> tuple[GraphModule, Regularizer]:
    method: Regularizer = REGULARIZERS[name].make(of)
    return GraphModule(with_outputs(of.analysis.model, method.values)), method


@pytest.mark.parametrize("name", REGULARIZERS)
def test_an_interrupted_run_goes_on_bit_by_bit(name: str, tmp_path: Path) -> None:
    of = subject(RESIDUAL)
    whole, method = made(name, of)
    fit(whole, objective(of), data(), settings(), extensions=[method])
    chosen = settings(checkpoint=tmp_path / "c")
    module, method = made(name, of)
    with pytest.raises(KeyboardInterrupt):
        fit(module, objective(of), data(), chosen, extensions=[method, StopAfter(9)])
    resumed, method = made(name, of)
    again = chosen.model_copy(update={"resume": True})
    fit(resumed, objective(of), data(), again, extensions=[method, StopAfter(-1)])
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key


@pytest.mark.parametrize("name", REGULARIZERS)
def test_it_changes_what_training_comes_to(name: str) -> None:
    of = subject(RESIDUAL)
    plain = GraphModule(of.analysis.model)
    fit(plain, objective(of), data(), settings())
    module, method = made(name, of)
    fit(module, objective(of), data(), settings(epochs=6), extensions=[method])
    energy = of.channels.energy({n: t.detach() for n, t in module.tensors().items()}, of.channels.holdings)
    assert bool(energy.isfinite().all())
    if REGULARIZERS[name].fades:
        gone = of.channels.gone if method.chosen() is None else method.chosen()
        assert torch.equal(energy == 0, gone)
    else:
        before = {n: t.detach() for n, t in plain.tensors().items()}
        assert float(energy.sum()) < float(of.channels.energy(before, of.channels.holdings).sum())


def test_a_toy_network_loses_its_useless_channels() -> None:
    """Four channels that nothing needs become small, and the four that the outputs are made of do not."""
    of = subject(RESIDUAL)
    graph = of.analysis.model.graph
    for name in ("w0", "w2", "w4", "b0", "b2"):
        value = graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        array[4:] *= 0.02
        value.const_value = ir.tensor(array, name=name)
    for name in ("dependency", "group", "iss", "envelope"):
        module, method = made(name, of)
        fit(module, objective(of), data(), settings(epochs=8), extensions=[method])
        weights = {n: t.detach() for n, t in module.tensors().items()}
        energy = of.channels.energy(weights, of.channels.of("out"))[:8]
        assert set(np.argsort(energy.numpy())[:4].tolist()) == {4, 5, 6, 7}, name
