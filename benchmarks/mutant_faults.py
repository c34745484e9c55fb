"""Faults for :mod:`benchmarks.proof_mutants`: each replaces one function of the program by one that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.channels import channel_mask, coupling, labels, plan
from compressor.graph import clean, files, normalise, shapes, stream, unfuse
from compressor.operators import repair
from compressor.operators.table import RULES
from compressor.pruning import analysis, apply, surgery

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
        honest = vars(self.owner)[self.attribute] if isinstance(self.owner, type) else getattr(self.owner, self.attribute)
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
            value.const_value = ir.tensor(np.ascontiguousarray(change(value.const_value.numpy().copy())), name=value.name)

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
                tensors = [ir.tensor(v.const_value.numpy(), name=n.name) for v, n in ((two, one), (one, two)) if v.const_value]
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

    def wrong(model: ir.Model, cut: Any, rules: Any) -> None:
        for value in weights_of(model):
            assert value.const_value is not None
            array = value.const_value.numpy()
            if array.flags.writeable:
                array *= np.asarray(1.01, array.dtype)
            else:
                value.const_value = ir.tensor(array * np.asarray(1.01, array.dtype), name=value.name)
        honest(model, cut, rules)

    return wrong


def file_changed(change: Callable[[bytearray], bytearray]) -> Make:
    """The bytes of the model file are changed on their way to the disk."""

    def make(honest: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(layout: Any, file: Any) -> None:
            honest(layout, file)
            end = file.tell()
            with open(file.name, "rb") as own:
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
                plan.Removal(r.group, r.initializer, r.axes, tuple(max(0, i + shift) for i in r.indices)) for r in given.removals
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


# ---- the faults ---------------------------------------------------------------------------------------------


def _reading() -> list[Fault]:
    edits: dict[str, Callable[[ir.Model], None]] = {
        "one entry of the first weight": weight(0, one_entry),
        "one entry of the last weight": weight(-1, one_entry),
        "a weight upside down": weight(0, lambda a: a[::-1]),
        "the last weight upside down": weight(-1, lambda a: a[::-1]),
        "square weights by columns": lambda m: [weight(k, square_transposed)(m) for k in range(len(weights_of(m)))] and None,
        "two weights of one shape change places": swapped,
        "a weight in half precision": weight(0, lambda a: a.astype(np.float16).astype(a.dtype)),
        "padding is lost": attribute(None, "pads", lambda _: None),
        "perm is lost": attribute("Transpose", "perm", lambda _: None),
        "alpha is lost": attribute(None, "alpha", lambda _: None),
        "epsilon ten times as large": attribute(None, "epsilon", lambda e: 10 * e),
        "transB is lost": attribute("Gemm", "transB", lambda _: None),
        "biases are lost": bias_lost,
        "operands of Sub and Div change places": inputs_swapped("Sub", "Div"),
    }
    return [Fault("reading", name, files, "load", edited(edit)) for name, edit in edits.items()]


def _preparing() -> list[Fault]:
    normal: dict[str, Callable[[ir.Model], None]] = {
        "a weight is doubled": weight(1, lambda a: 2 * a),
        "axes of Softmax and Concat": attribute("Softmax", "axis", lambda _: 1),
        "operands of Concat change places": inputs_swapped("Concat"),
        "initializers of one shape are one": alike,
        "groups are lost": attribute("Conv", "group", lambda _: None),
        "gates are taken for identities": skipped("Sigmoid", "Softmax"),
    }
    simple: dict[str, Callable[[ir.Model], None]] = {
        "activations are taken for identities": skipped("Relu", "LeakyRelu", "Tanh"),
        "a weight is rounded": weight(0, lambda a: np.round(a, 2)),
        "initializers of one shape are one": alike,
        "strides are lost": attribute(None, "strides", lambda _: None),
        "Transpose is taken for an identity": skipped("Transpose"),
        "Dropout and what follows it": skipped("Dropout", "Relu"),
    }
    found = [Fault("normalising", name, analysis, "normalise", edited(edit)) for name, edit in normal.items()]
    found += [
        Fault("normalising", "copies of shared constants are zero", normalise, "_copied", _zero_copy),
        Fault("normalising", "fused: mean without its square", unfuse, "_normalised", _unnormalised),
        Fault("normalising", "fused: GELU is a ReLU", unfuse, "_gelu", lambda _: lambda parts, x: parts.add("Relu", [x])),
        Fault("normalising", "fused: scale and bias are lost", unfuse, "_scaled", lambda _: lambda parts, x, *_a: x),
    ]
    found += [Fault("folding", name, clean, "simplify", edited(edit)) for name, edit in simple.items()]
    return [
        *found,
        Fault("folding", "constants are one too large", shapes, "evaluate", after(lambda r: r and [a + 1 for a in r])),
        Fault("folding", "constants are a little too large", shapes, "evaluate", after(lambda r: r and [a * a.dtype.type(1.01) if a.dtype.kind == "f" else a for a in r])),
        Fault("folding", "every size is static", shapes.Shapes, "_find_static", _all_static),
        Fault("folding", "every dimension is static", shapes.Shapes, "dynamic", after(lambda r: [False] * len(r))),
        Fault("folding", "equal by shape alone", clean, "tidy", edited(alike)),
        Fault("folding", "a weight is rounded in the end", clean, "tidy", edited(weight(-1, lambda a: np.round(a, 2)))),
    ]  # fmt: skip


def _zero_copy(honest: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(value: ir.Value, tensor: Any, name: str) -> ir.Value:
        return honest(value, ir.tensor(0 * tensor.numpy(), name=name), name)  # type: ignore[no-any-return]

    return wrong


def _unnormalised(honest: Callable[..., Any]) -> Callable[..., Any]:
    return lambda parts, x, axis, epsilon: honest(parts, x, axis, 100 * epsilon)


def _all_static(_: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(self: Any, graph: ir.Graph) -> None:
        self._static.update({v: self._first.data[v] for n in graph for v in n.outputs if v in self._first.data})

    return wrong


def _coupling() -> list[Fault]:
    rolled = ("Concat", "Split", "Slice", "Transpose", "Reshape", "Gather", "Relu", "Conv", "Pad", "MatMul", "Squeeze")
    bare = ("Conv", "MatMul", "Add", "BatchNormalization", "Mul", "Relu", "Concat", "Reshape", "LayerNormalization", "LSTM")
    found = [Fault("coupling", f"labels behind {op} are off by one", RULES["", op], "couple", rolled_output) for op in rolled]
    found += [Fault("coupling", f"no labels behind {op}", RULES["", op], "couple", unlabelled) for op in bare]
    return [
        *found,
        Fault("coupling", "nothing is frozen", labels.Units, "freeze", lambda _: lambda *_a: False),
        Fault("coupling", "nothing merges along axes", labels.Units, "merge_along", lambda _: lambda *_a: False),
        Fault("coupling", "rows need not be as long as each other", channel_mask.Cut, "check", nothing),
    ]


def _cutting() -> list[Fault]:
    def ruin(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[-1:] = 0
        return array

    changes: dict[str, Make] = {
        "rows are off by one": on_axis(0, 1, lambda a: np.roll(a, 1, 0)),
        "columns are off by one": on_axis(1, 2, lambda a: np.roll(a, 1, 0)),
        "biases are off by one": lambda h: lambda a, *r: np.roll(h(a, *r), 1) if a.ndim == 1 else h(a, *r),
        "rows come in reverse": on_axis(0, 2, lambda a: a[::-1]),
        "columns come in reverse": on_axis(1, 2, lambda a: a[::-1]),
        "the last row is zero": on_axis(0, 1, ruin),
        "the last column is zero": on_axis(1, 2, ruin),
        "weights in half precision": after(lambda a: a.astype(np.float16).astype(a.dtype) if a.dtype.kind == "f" else a),
        "weights a little too large": after(lambda a: a * np.asarray(1.001, a.dtype) if a.dtype.kind == "f" else a),
        "what should go stays": complement,
        "the first two rows change places": on_axis(0, 1, lambda a: a[[1, 0, *range(2, len(a))]] if len(a) > 1 else a),
    }
    found = [Fault("cutting", name, surgery, "compact", make) for name, make in changes.items()]
    return [
        *found,
        Fault("cutting", "weights are spoilt in memory", surgery, "remove", in_place),
        Fault("cutting", "kept positions are off by one", channel_mask.Cut, "keep", moved_by_one),
        Fault("cutting", "masks are off by one", channel_mask.Cut, "mask", after(lambda m: m if m is None else np.roll(m, 1, max(range(m.ndim), key=lambda a: m.shape[a])))),
        Fault("cutting", "kernels of the reference are not zeroed", surgery, "_is_kernel", after(lambda _: False)),
    ]  # fmt: skip


def _repairing() -> list[Fault]:
    ops = ("Conv", "Reshape", "Slice", "Split", "Gather", "Pad", "LSTM", "GRU", "DequantizeLinear")
    found = [Fault("repairing", f"{op} is not repaired", RULES["", op], "repair", nothing) for op in ops]
    return [
        *found,
        Fault("repairing", "a Slice starts one later", repair.Repairer, "slice_axis", before(lambda s, n, a, p: (s, n, a, p - p.min()))),
        Fault("repairing", "a Slice in the other direction", repair.Repairer, "slice_axis", before(lambda s, n, a, p: (s, n, a, p[::-1]))),
        Fault("repairing", "new positions are off by one", repair.Repairer, "renumber", after(lambda p: np.maximum(p - 1, 0))),
        Fault("repairing", "positions in reverse", repair.Repairer, "follow", after(lambda p: p[::-1])),
        Fault("repairing", "settings in reverse", repair.Repairer, "set_input", before(lambda s, n, i, a: (s, n, i, np.ascontiguousarray(a[::-1])))),
        Fault("repairing", "sizes read at run time stay", repair.Repairer, "rescale", nothing),
        Fault("repairing", "sizes as they were", repair.Repairer, "after", lambda _: lambda self, v: self.before(v)),
    ]  # fmt: skip


def _replaying() -> list[Fault]:
    return [
        Fault("plan replay", "every index plus one", apply, "units_of", entries(1)),
        Fault("plan replay", "every index minus one", apply, "units_of", entries(-1)),
        Fault("plan replay", "the last index is lost", apply, "units_of", without(slice(None, -1))),
        Fault("plan replay", "the first index is lost", apply, "units_of", without(slice(1, None))),
        Fault("plan replay", "only the first group", apply, "units_of", before(lambda p, c: (plan.PruningPlan(p.removals[:1], p.policy), c))),
        Fault("plan replay", "every index plus one where it is read", plan, "_removal", after(_shifted_entry)),
    ]  # fmt: skip


def _shifted_entry(found: plan.Removal) -> plan.Removal:
    return plan.Removal(found.group, found.initializer, found.axes, tuple(max(0, i - 1) for i in found.indices))


def _writing() -> list[Fault]:
    bytes_of: dict[str, Callable[[bytearray], bytearray]] = {
        "a bit near the end": flipped,
        "the end is lost": lambda content: content[: len(content) * 9 // 10],
        "the last kilobyte is zero": lambda content: content[:-1024] + bytes(min(1024, len(content))),
        "bytes in the middle change places": lambda c: c[: len(c) // 2] + c[len(c) // 2 + 4 :] + c[len(c) // 2 : len(c) // 2 + 4],
        "a float is another": lambda c: bytearray(bytes(c).replace(bytes(c[-104:-100]), np.float32(3.5).tobytes(), 1)),
    }
    found = [Fault("writing", name, stream.Layout, "write", file_changed(change)) for name, change in bytes_of.items()]
    models: dict[str, Callable[[ir.Model], None]] = {
        "two weights of one shape change places": swapped,
        "padding is lost": attribute(None, "pads", lambda _: None),
        "alpha is lost": attribute(None, "alpha", lambda _: None),
        "a weight in half precision": weight(0, lambda a: a.astype(np.float16).astype(a.dtype)),
    }
    for name, edit in models.items():
        found.append(Fault("writing", name, files, "save", before(_edited_copy(edit))))
    return found


def _edited_copy(edit: Callable[[ir.Model], None]) -> Callable[..., Sequence[Any]]:
    def change(model: ir.Model, *rest: Any) -> Sequence[Any]:
        copy = model.clone()
        edit(copy)
        return copy, *rest

    return change


FAULTS = [*_reading(), *_preparing(), *_coupling(), *_cutting(), *_repairing(), *_replaying(), *_writing()]
