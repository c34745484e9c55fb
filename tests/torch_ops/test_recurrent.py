"""Recurrent layers are given to torch's kernels, which look at nothing themselves."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from compressor.torch_ops.recurrent import FUNCTIONS  # noqa: E402 -- after the skip
from compressor.torch_ops.site import Site  # noqa: E402

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("sequences", "hidden"), [(32, 2), (2, 3)])
def test_a_state_of_another_size_is_an_error_and_no_crash(kind: str, sequences: int, hidden: int) -> None:
    """A state that the file holds is made for one batch; torch's kernel wrote behind its end for a larger one."""
    rows = GATES[kind] * 2
    make = next(maker for key, maker in FUNCTIONS.items() if kind in key)
    run = make(Site(kind, kind, 17, {"hidden_size": 2, "linear_before_reset": 1}, given=(True,) * 3))
    weights = torch.zeros(1, rows, 6), torch.zeros(1, rows, 2), torch.zeros(1, 2 * rows)
    states = [torch.zeros(1, 2, hidden)] * (2 if kind == "LSTM" else 1)
    with pytest.raises(ValueError, match="initial state has shape"):
        run(torch.zeros(5, sequences, 6), *weights, None, *states)
    fitting = [torch.zeros(1, 2, 2)] * (2 if kind == "LSTM" else 1)
    assert run(torch.zeros(5, 2, 6), *weights, None, *fitting)[0].shape == (5, 1, 2, 2)
