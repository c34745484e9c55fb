"""Recovery that changes more than weights is noticed, whatever recovers."""

from __future__ import annotations

from typing import Any

import pytest

from compressor.commands.prune import prune
from compressor.config import PruneSettings
from compressor.errors import ProofFailed
from compressor.steps.recover import Recovery
from tests.models import between, in_memory


def settings(recover: str, **more: Any) -> PruneSettings:
    return PruneSettings.parse({"ratio": 0.5, "round_to": 1, "recover": recover, "samples": 64, **more})


def planted(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Recovery leaves another operator behind."""
    honest = Recovery.after

    def wrong(self: Recovery, *a: Any, **k: Any) -> None:
        honest(self, *a, **k)
        self.model = self.model.clone()
        for node in self.model.graph.all_nodes():
            if node.op_type == old:
                node.op_type = new

    monkeypatch.setattr(Recovery, "after", wrong)


@pytest.mark.parametrize("recover", ["bias", "lstsq"])
def test_another_operator(monkeypatch: pytest.MonkeyPatch, recover: str) -> None:
    planted(monkeypatch, "Relu", "Sigmoid")
    with pytest.raises(ProofFailed, match="recovery changed more than weights: with those of the cut, output 'y'"):
        prune(in_memory(between("b = Relu(a)")), settings(recover))


@pytest.mark.parametrize("recover", ["bias", "lstsq"])
@pytest.mark.parametrize("steps", [1, 2])
def test_weights_and_new_biases_pass(recover: str, steps: int) -> None:
    # The first convolution has a bias and the others none, which recovery gives them.
    found = prune(in_memory(between("b = Relu(a)")), settings(recover, steps=steps))
    assert found.report.recovery
