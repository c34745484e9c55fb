"""Control flow: operators that run graphs of their own (ONNX If-25, Loop-25, Scan-25).

Their functions take the device and whether it is training, then the node's inputs, then what the graphs read from
outside; :class:`compressor.torch_ops.site.InnerGraph` says where that lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from compressor.graph.ir.control_flow import SCAN_WITHOUT_BATCH
from compressor.torch_ops.site import Function, FunctionMaker, Site, Told, positive

Tensor = torch.Tensor


def _unpacked(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else tuple(results)


def _if(site: Site) -> Function:
    yes, no = site.bodies["then_branch"], site.bodies["else_branch"]

    def run(device: torch.device, training: bool, condition: Tensor, *rest: Any) -> Any:
        body = yes if bool(condition) else no
        return _unpacked(body.run(device, training, [], (condition, *rest)))

    return run


def _loop(site: Site) -> Function:
    """The body takes the count, the condition and the state; it gives the condition, the state and rows to stack."""
    body = site.bodies["body"]
    carried = len(site.given) - 2

    def run(device: torch.device, training: bool, *operands: Any) -> Any:
        limit, go, state = operands[0], operands[1], list(operands[2 : 2 + carried])
        most = None if limit is None else int(limit)
        going = True if go is None else bool(go)
        rows: list[list[Any]] = [[] for _ in range(1 + carried, body.count)]
        count = 0
        while going and (most is None or count < most):
            # Both on the device, as bodies expect all they are given there.
            step = torch.tensor(count, dtype=torch.int64)
            inputs = [step.to(device), torch.tensor(going, device=device), *state]
            condition, *made = body.run(device, training, inputs, operands)
            going, state = bool(condition), made[:carried]
            for row, value in zip(rows, made[carried:], strict=True):
                row.append(value)
            count += 1
        # Without an iteration nobody knows the shape of a row.
        stacked = [torch.stack(row) if row else torch.zeros(0, device=device) for row in rows]
        return _unpacked([*state, *stacked])

    return run


def _scan(site: Site) -> Function:
    """Like a loop over the slices of some inputs, forwards or backwards, along any axis (Scan-9)."""
    if site.opset < SCAN_WITHOUT_BATCH:
        raise site.refuse(f"scans batches, as before operator set {SCAN_WITHOUT_BATCH}; convert the model to that")
    body, scanned = site.bodies["body"], site.get("num_scan_inputs")
    carried = len(site.given) - scanned
    made = len(site.wanted) - carried
    read_axes, read_back = site.get("scan_input_axes", [0] * scanned), site.get("scan_input_directions")
    write_axes, write_back = site.get("scan_output_axes", [0] * made), site.get("scan_output_directions")

    def run(device: torch.device, training: bool, *operands: Any) -> Any:
        state, sources = list(operands[:carried]), operands[carried : carried + scanned]
        slices = [
            list(x.flip(axis).unbind(axis) if back else x.unbind(axis))
            for x, axis, back in zip(sources, read_axes, read_back or [0] * scanned, strict=True)
        ]
        rows: list[list[Any]] = [[] for _ in range(made)]
        for items in zip(*slices, strict=True):
            results = body.run(device, training, [*state, *items], operands)
            state = results[:carried]
            for row, value in zip(rows, results[carried:], strict=True):
                row.append(value)
        stacked = []
        for row, axis, back in zip(rows, write_axes, write_back or [0] * made, strict=True):
            # What is stacked has one axis more than a row.
            whole = torch.stack(row, positive(axis, row[0].dim() + 1))
            stacked.append(whole.flip(axis) if back else whole)
        return _unpacked([*state, *stacked])

    return run


def _sequence_map(site: Site) -> Function:
    """The body on each entry of the first sequence, with entries of the others, or all of what is no sequence."""
    body, count = site.bodies["body"], len(site.given)

    def run(device: torch.device, training: bool, *operands: Any) -> Any:
        inputs = operands[:count]
        results: list[list[Any]] = [[] for _ in site.wanted]
        for k in range(len(inputs[0])):
            items = [v[k] if isinstance(v, list) else v for v in inputs]
            for found, value in zip(results, body.run(device, training, items, operands), strict=True):
                found.append(value)
        return _unpacked(results)

    return run


FUNCTIONS: Mapping[str, FunctionMaker] = MappingProxyType(
    {
        "If": Told(_if, ("device", "training")),
        "Loop": Told(_loop, ("device", "training")),
        "Scan": Told(_scan, ("device", "training")),
        "SequenceMap": Told(_sequence_map, ("device", "training")),
    }
)
