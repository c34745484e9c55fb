"""How functions are made wrong, for :mod:`benchmarks.mutant_faults`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.channels import coupling, labels, plan

Make = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        phase: the part of the program that it is in.
        name: what is wrong.
        owner: module, class or rule that holds the function.
        attribute: its name there.
        make: makes the wrong function from the right one.
    """

    phase: str
    name: str
    owner: Any
    attribute: str
    make: Make

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The program is wrong for as long."""
        honest = (
            vars(self.owner)[self.attribute] if isinstance(self.owner, type) else getattr(self.owner, self.attribute)
        )
        inner = honest.__func__ if isinstance(honest, staticmethod) else honest
        wrong: Any = self.make(inner.fget) if isinstance(inner, property) else self.make(inner)
        wrong = property(wrong) if isinstance(inner, property) else wrong
        wrong = staticmethod(wrong) if isinstance(honest, staticmethod) else wrong
        _set(self.owner, self.attribute, wrong)
        try:
            yield
        finally:
            _set(self.owner, self.attribute, honest)


def _set(owner: Any, attribute: str, value: Any) -> None:
    if isinstance(owner, type) or not hasattr(type(owner), "__dataclass_fields__"):
        setattr(owner, attribute, value)
    else:
        object.__setattr__(owner, attribute, value)


# ---- how functions are made wrong ---------------------------------------------------------------------------


def after(change: Callable[[Any], Any]) -> Make:
    """What the function returns is changed."""
    return lambda honest: lambda *a, **k: change(honest(*a, **k))


def before(change: Callable[..., Sequence[Any]]) -> Make:
    """What it is given is changed."""
    return lambda honest: lambda *a, **k: honest(*change(*a), **k)


def nothing(_: Callable[..., Any]) -> Callable[..., None]:
    """It does nothing."""
    return lambda *_, **__: None


def edited(edit: Callable[[ir.Model], None]) -> Make:
    """The model that it returns (or, where it returns none, was given) is edited."""

    def make(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*a: Any, **k: Any) -> Any:
            found = honest(*a, **k)
            model = next(m for m in (found, *a) if isinstance(m, ir.Model))
            edit(model)
            return found

        return wrong

    return make


def weights_of(model: ir.Model) -> list[ir.Value]:
    """Initializers of floats with more than one entry."""
    return [
        v
        for v in model.graph.initializers.values()
        if v.const_value is not None and v.const_value.size > 1 and v.const_value.dtype.is_floating_point()
    ]


def weight(which: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[ir.Model], None]:
    """Changes one weight."""

    def edit(model: ir.Model) -> None:
        found = weights_of(model)
        if found:
            value = found[which % len(found)]
            assert value.const_value is not None
            value.const_value = ir.tensor(
                np.ascontiguousarray(change(value.const_value.numpy().copy())), name=value.name
            )

    return edit


def one_entry(array: np.ndarray) -> np.ndarray:
    """One entry is another."""
    array.reshape(-1)[array.size // 2] += np.asarray(1.5 * np.abs(array).max(), array.dtype)
    return array


def square_transposed(array: np.ndarray) -> np.ndarray:
    """A square matrix is read by columns."""
    return np.swapaxes(array, 0, 1) if array.ndim > 1 and array.shape[0] == array.shape[1] else array


def swapped(model: ir.Model) -> None:
    """Two weights of one shape change places."""
    found = weights_of(model)
    for k, one in enumerate(found):
        for two in found[k + 1 :]:
            assert one.const_value is not None
            assert two.const_value is not None
            if one.const_value.shape == two.const_value.shape:
                tensors = [
                    ir.tensor(v.const_value.numpy(), name=n.name) for v, n in ((two, one), (one, two)) if v.const_value
                ]
                one.const_value, two.const_value = tensors
                return


def attribute(op: str | None, name: str, change: Callable[[Any], Any]) -> Callable[[ir.Model], None]:
    """An attribute of every node (of a type) is changed, or lost where ``change`` gives None."""

    def edit(model: ir.Model) -> None:
        for node in model.graph:
            old = node.attributes.get(name)
            if old is not None and op in (None, node.op_type):
                node.attributes.pop(name)
                value = change(old.value)
                if value is not None:
                    node.attributes[name] = ir.Attr(name, old.type, value)

    return edit


def inputs_swapped(*ops: str) -> Callable[[ir.Model], None]:
    """The first two inputs of these operators change places."""

    def edit(model: ir.Model) -> None:
        for node in [n for n in model.graph if n.op_type in ops]:
            one, two = node.inputs[:2]
            node.replace_input_with(0, two)
            node.replace_input_with(1, one)

    return edit


def bias_lost(model: ir.Model) -> None:
    """Convolutions and Gemms lose their bias."""
    for node in [n for n in model.graph if n.op_type in ("Conv", "Gemm", "ConvTranspose") and len(n.inputs) > 2]:
        node.resize_inputs(2)


def skipped(*ops: str) -> Callable[[ir.Model], None]:
    """These operators are taken for identities."""

    def edit(model: ir.Model) -> None:
        for node in [n for n in model.graph if n.op_type in ops]:
            if node.inputs[0] is not None and not node.outputs[0].is_graph_output():
                node.outputs[0].replace_all_uses_with(node.inputs[0])

    return edit


def alike(model: ir.Model) -> None:
    """Initializers of one shape and type are taken for equal."""
    seen: dict[tuple[object, ...], ir.Value] = {}
    for value in weights_of(model):
        assert value.const_value is not None
        first = seen.setdefault((str(value.const_value.shape), value.dtype), value)
        if first is not value:
            value.replace_all_uses_with(first)


def rolled_output(honest: Callable[..., Any]) -> Callable[..., Any]:
    """The labels of an operator's first output are off by one."""

    def wrong(node: ir.Node, found: coupling.Coupling) -> None:
        honest(node, found)
        value = node.outputs[0]
        found.label(value, [labels.Term(t.axes, np.roll(t.units, 1, -1)) for t in found.layout(value)])

    return wrong


def unlabelled(honest: Callable[..., Any]) -> Callable[..., Any]:
    """An operator's first output has no labels: nobody knows that it hangs together with the input."""

    def wrong(node: ir.Node, found: coupling.Coupling) -> None:
        honest(node, found)
        found.label(node.outputs[0], [])

    return wrong


def moved_by_one(honest: Callable[..., Any]) -> Callable[..., Any]:
    """Of every axis, the kept positions are shifted by one."""

    def wrong(self: Any, value: Any, axes: tuple[int, ...]) -> Any:
        return np.roll(honest(self, value, axes), 1, -1)

    return wrong


def on_axis(axis: int, rank: int, change: Callable[[np.ndarray], np.ndarray]) -> Make:
    """``compact`` goes wrong along one axis of weights of a rank (at least)."""

    def make(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(array: np.ndarray, cut: Any, value: Any) -> np.ndarray:
            found = honest(array, cut, value)
            if found.ndim < rank or found.shape == array.shape:
                return found
            return np.ascontiguousarray(np.swapaxes(change(np.swapaxes(found, 0, axis)), 0, axis))

        return wrong

    return make


def complement(honest: Callable[..., Any]) -> Callable[..., Any]:
    """What should go stays, where it is as much."""

    def wrong(array: np.ndarray, cut: Any, value: Any) -> np.ndarray:
        found = honest(array, cut, value)
        for axis in range(array.ndim):
            if 2 * found.shape[axis] == array.shape[axis] and array.shape[axis] > 1:
                keep = ~cut.keep(value, (axis,))
                others = honest(array, cut, value)
                wide = array
                for other in set(range(array.ndim)) - {axis}:
                    wide = np.compress(cut.keep(value, (other,)), wide, axis=other)
                made = np.compress(keep, wide, axis=axis)
                return made if made.shape == others.shape else found
        return found

    return wrong


def in_place(honest: Callable[..., Any]) -> Callable[..., Any]:
    """The weights that are cut are spoilt in memory too, those of the reference with them, were they shared."""

    def wrong(model: ir.Model, cut: Any) -> None:
        for value in weights_of(model):
            assert value.const_value is not None
            array = value.const_value.numpy()
            if array.flags.writeable:
                array *= np.asarray(1.01, array.dtype)
            else:
                value.const_value = ir.tensor(array * np.asarray(1.01, array.dtype), name=value.name)
        honest(model, cut)

    return wrong


def file_changed(change: Callable[[bytearray], bytearray]) -> Make:
    """The bytes of the model file are changed on their way to the disk."""

    def make(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(layout: Any, file: Any) -> None:
            honest(layout, file)
            end = file.tell()
            with Path(file.name).open("rb") as own:
                file.flush()
                content = change(bytearray(own.read(end)))
            file.seek(0)
            file.truncate()
            file.write(bytes(content))

        return wrong

    return make


def flipped(content: bytearray) -> bytearray:
    """A high bit of a byte near the end, where weights are."""
    content[-200 % len(content)] ^= 0x40
    return content


def entries(shift: int) -> Make:
    """Every index that a plan names is shifted."""

    def make(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(given: plan.PruningPlan, found: Any) -> Any:
            removals = tuple(
                plan.Removal(r.group, r.initializer, r.axes, tuple(max(0, i + shift) for i in r.indices))
                for r in given.removals
            )
            return honest(plan.PruningPlan(removals, given.policy), found)

        return wrong

    return make


def without(kept: slice) -> Make:
    """Only some of the indices of each entry are removed."""

    def make(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(given: plan.PruningPlan, found: Any) -> Any:
            removals = tuple(plan.Removal(r.group, r.initializer, r.axes, r.indices[kept]) for r in given.removals)
            return honest(plan.PruningPlan(removals, given.policy), found)

        return wrong

    return make
