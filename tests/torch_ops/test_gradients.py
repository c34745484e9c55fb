"""Gradients against finite differences, in double precision, for every operator that has one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")

from compressor.operators.table import RULES  # noqa: E402
from compressor.torch_ops.table import FUNCTIONS  # noqa: E402
from compressor.train import GraphModule  # noqa: E402 -- after the skip
from tests.torch_ops.gradient_cases import CASES, ELSEWHERE, Case  # noqa: E402
from tests.train.case import node_model  # noqa: E402


def _module(case: Case, rng: np.random.Generator) -> tuple[GraphModule, list[torch.Tensor]]:
    inputs, constants = {}, {}
    for index, value in enumerate(case.inputs):
        name = f"x{index}"
        if isinstance(value, tuple):
            # Distinct numbers, far from each other and from kinks, so that no step crosses one.
            count = int(np.prod(value))
            spread = np.linspace(case.low, case.high, count + 2)[1:-1] + 0.013
            inputs[name] = rng.permutation(spread).reshape(value)
        else:
            inputs[name] = value
            if value is not None:
                constants[name] = value
    model = node_model(case.op, inputs, opset=case.opset, constants=constants, outputs=case.outputs, **case.attributes)
    module = GraphModule(ir.from_proto(model)).eval()
    tensors = [torch.from_numpy(inputs[name]).requires_grad_() for name in module.input_names]
    return module, tensors


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
def test_gradient(case: Case, rng: np.random.Generator) -> None:
    module, tensors = _module(case, rng)

    def floating(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = module(*given)
        return tuple(v for v in (made if isinstance(made, tuple) else (made,)) if v.is_floating_point())

    assert torch.autograd.gradcheck(floating, tensors, eps=1e-6, atol=1e-5, rtol=1e-4, nondet_tol=1e-12)


def test_every_operator_with_a_gradient_is_checked() -> None:
    wanted = {op for domain, op in FUNCTIONS if domain == "" and RULES[domain, op].differentiable}
    assert wanted == {case.op for case in CASES} | set(ELSEWHERE)
