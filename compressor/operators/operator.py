"""What one operator is: its record, and what follows from it.

A record states facts. What the toolchain does with a node follows from them: how channels flow, multiply-accumulates,
attributes that follow a cut, what the masked reference zeroes, how constants pass. Records that cannot say something
in facts hold a function for it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from compressor.channels.combine import combine
from compressor.channels.coupling import Coupling, Unexplained
from compressor.channels.operands import Space
from compressor.graph.ir.movement import MOVEMENT, Movement
from compressor.graph.ir.nodes import optional_input
from compressor.graph.sizes.contrib import Follows, Like
from compressor.operators import derived, neighbours, work
from compressor.operators.facts import NONE, GateProduct, Grid, Host, Neutral, Normalises
from compressor.operators.signature import (
    Call,
    NamedAxes,
    Shape,
    Text,
    Window,
    axis_names,
    name_axes,
    slide,
    solve_sizes,
)

if TYPE_CHECKING:
    from compressor.operators.constants import Constants
    from compressor.operators.reference import Reference
    from compressor.operators.repair import Repairer

LabelRule = Callable[[ir.Node, Coupling], None]
Around = Callable[[ir.Node, Coupling, Callable[[], None]], None]
InputNumbers = Collection[int]
"""Inputs of a node by number."""


@dataclass(frozen=True)
class Operator:
    """Everything the toolchain knows about an operator.

    An operator has a ``signature``, or a function over ``labels``, or neither: then it is frozen, and the record
    holds what else is known of it.

    Attributes:
        name: the operator.
        domain: empty for ONNX itself.
        signature: its operands and outputs in named axes, see :mod:`compressor.operators.signature`; or a function
            that writes it for a node, and declines a form of the operator by raising Unexplained.
        whole: its channels stay; the signature says what it costs, and nothing else.
        labels: how labels flow where data is moved, picked or joined: sets the layouts of the outputs.
        around: what couples before or after the signature does, as experts share the hidden units that go.
        over: axes of the first input that statistics run over; ``--keep-norm-axes`` leaves them alone.
        sizes: size of a name, or of the axis ``(a b)``, that no axis of its own shows: an attribute or a number. The
            attribute follows a cut by itself.
        window: stars of a kernel that slides.
        neighbours: axes of the first input along which a result depends on what lies beside its position, where zeros
            add nothing; the output is as long there. See :mod:`compressor.operators.neighbours`.
        heads: ``--attention`` decides what becomes of a joint axis of which the output sees only a part.
        factors: inputs that are multiplied with each other and summed over what the output does not have.
        factor: attribute that the product is multiplied by, ``alpha`` of Gemm.
        work: multiply-accumulates as products of axes, ``b t s d + b t s e``; empty: what ``factors`` say.
        repaired: rewrites shape inputs, and attributes that ``sizes`` does not name; it runs before those.
        masked: edits a node of the masked reference so that removed positions do not count; None: what ``factors``,
            ``grid`` and ``neutral`` say.
        constants: what a node holds where its inputs are constant, and what it sums over; None: what ``pointwise``,
            ``keeps_zero``, ``factors`` and ``moves`` say. See :mod:`compressor.operators.propagate`.
        pointwise: it acts on each position by itself, so that a function of constants is a constant.
        keeps_zero: a channel of zeros stays one, and what becomes of others is not known.
        neutral: what leaves a reduction as it is.
        grid: input that holds integers for real numbers, as of QLinearConv -> inputs of their scale and zero.
        scales: further inputs that hold scales of numbers on a grid, or of packed ones.
        packed: input of bytes that hold several numbers each -> attribute that says of how many bits; 4 without one.
        bias: the input that is added to the product, or to what is normalised.
        bias_factor: attribute that the bias is multiplied by, ``beta`` of Gemm.
        addends: inputs that are added as they are.
        subtracted: inputs that are taken off, the second of Sub.
        scale: inputs that only multiply, so that zero there gives zero.
        statistics: running mean and variance.
        settings: further inputs that say how to compute; they are not trained.
        states: inputs that hold a state from before the first step.
        products: the gates of a node that goes through time, by what they are linear in.
        tables: input of indices -> input that holds the table they pick from, along attribute ``axis`` or else axis 0.
        by_position: tables with a row for each position of a sequence, which bound its length, as in RotaryEmbedding.
        shapes: which operator of ONNX's makes the same shapes, or how they follow, where ONNX's inference does not know
            the operator, as of ONNX Runtime's own; without it a run tells them.
        host: inputs that a function reads as Python numbers: shapes, axes, counts.
        on_host: does shape arithmetic on the host use it?
        differentiable: has its result a gradient?
        arithmetic: is it element-wise arithmetic, of which exporters make formulas?
        activation: does it bend every number by itself?
        normalises: does it undo scale and shift of each channel, or of all together?
        probabilities: are its results probabilities, as those of Softmax?
        synflow: in the linear network of SynFlow it is bypassed; a gate, bypassed unless it multiplies a signal; or a
            cap, bypassed where an operand is a constant.
        sequence: its result is no tensor.
        encodes: makes integers of real numbers, real numbers of integers, or integers of others on a grid of its own.
        bits: it reads the bits of its operand, which therefore keeps its type: BitCast.
        one_number: its result holds one number everywhere, attribute ``value`` or else 0 of float32: ConstantOfShape.
        clamps: numbers within limits stay as they are, as in Clip.
        resamples: interpolates along axes, which stay, as Resize does.
        spectral: is it a Fourier transform?
        spreads: it makes a tensor of one number, if that is all that it reads, as Expand does.
        overwrites: it writes entries of one input over those of another, as ScatterND does; where an attribute
            ``reduction`` says so they are added up instead.
        kernelless: why :mod:`compressor.torch_ops` has no function for it, so that no graph with it trains; empty: it
            has one.
    """

    name: str
    domain: str = ""
    _: KW_ONLY
    # how channels flow
    signature: Text = ""
    whole: bool = False
    labels: LabelRule | None = None
    around: Around | None = None
    over: Callable[[Call], Sequence[int]] | None = None
    sizes: Mapping[str, str | int] = field(default_factory=dict)
    window: Window | None = None
    neighbours: Callable[[Call], Sequence[int]] | None = None
    heads: bool = False
    # products and sums
    factors: tuple[int, ...] | range = NONE
    factor: str = ""
    work: Text = ""
    repaired: Callable[[ir.Node, Repairer], None] | None = None
    masked: Callable[[ir.Node, Reference], None] | None = None
    constants: Callable[[ir.Node, Constants], None] | None = None
    pointwise: bool = False
    keeps_zero: bool = False
    neutral: Neutral | None = None
    grid: Mapping[int, Grid] = field(default_factory=dict)
    scales: InputNumbers = NONE
    packed: Mapping[int, str] = field(default_factory=dict)
    # what inputs are
    bias: int | None = None
    bias_factor: str = ""
    addends: InputNumbers = NONE
    subtracted: InputNumbers = NONE
    scale: InputNumbers = NONE
    statistics: tuple[int, ...] = NONE
    settings: InputNumbers = NONE
    states: InputNumbers = NONE
    products: Callable[[ir.Node], Sequence[GateProduct]] | None = None
    tables: Mapping[int, int] = field(default_factory=dict)
    by_position: InputNumbers = NONE
    shapes: Like | Follows | None = None
    host: InputNumbers = NONE
    # what it is
    on_host: Host = Host.NEVER
    differentiable: bool = True
    arithmetic: bool = False
    activation: bool = False
    normalises: Normalises | None = None
    probabilities: bool = False
    synflow: Literal["keep", "bypass", "gate", "cap"] = "keep"
    sequence: bool = False
    encodes: Literal["integers", "reals", "grid"] | None = None
    bits: bool = False
    one_number: bool = False
    clamps: bool = False
    resamples: bool = False
    spectral: bool = False
    spreads: bool = False
    overwrites: bool = False
    kernelless: str = ""

    # ---- facts that follow --------------------------------------------------------------------------------------

    @property
    def coupled(self) -> bool:
        """Is it known how channels flow through it?"""
        return self.labels is not None or (self.signature != "" and not self.whole)

    @property
    def movement(self) -> Movement | None:
        """How its outputs are made of entries of its inputs."""
        return MOVEMENT.get(self.name) if not self.domain else None

    @property
    def moves(self) -> bool:
        """Are all entries of its outputs entries of its first input, as they are?"""
        return self.movement not in (None, Movement.JOINS, Movement.TYPE, Movement.ZEROS)

    @property
    def hands_on(self) -> bool:
        """Are all entries of its outputs entries of its inputs, maybe of another type, or constants?"""
        return self.movement is not None

    @property
    def rearranges(self) -> bool:
        """Are all entries of its outputs entries of its inputs, maybe of another type, and none of them constants?"""
        return self.movement not in (None, Movement.ZEROS)

    @property
    def multiplies(self) -> bool:
        """Is it a sum of products, in which a zero weight makes a channel vanish?"""
        return self.work != "" or len(self.factors) > 1

    @property
    def linear(self) -> bool:
        """Is it a sum of products of real numbers, linear in each operand?"""
        return len(self.factors) > 1 and not self.grid

    @property
    def recurrent(self) -> bool:
        """Does it go through time by itself, with weights for the input and for its own state?"""
        return bool(self.states) and self.multiplies

    @property
    def has_kernel(self) -> bool:
        """Is it one of ONNX's own layers: an activation times a kernel or matrix, its second input?"""
        return self.linear and self.factors == (0, 1) and not self.domain

    def may_be_zero(self, index: int) -> bool:
        """Does a zero in this input, beside those that are multiplied and summed, do no harm?"""
        return index == self.bias or any(index in of for of in (self.addends, self.subtracted, self.scale))

    def affine(self, index: int) -> bool:
        """Is each number of the result ``factor * x + summand`` of one of this input, where the others are constant?"""
        summed = any(index in of for of in (self.addends, self.subtracted, self.scale))
        return summed or (bool(self.statistics) and index == 0)

    def shifts(self, index: int) -> bool:
        """Does this input shift the result?"""
        mean = self.statistics[:1]
        return index == self.bias or any(index in of for of in (self.addends, self.subtracted, mean))

    def is_setting(self, index: int) -> bool:
        """Does this input say how to compute, so that no gradient goes there?"""
        return any(index in of for of in (self.settings, self.host, self.statistics))

    # ---- reading a node -------------------------------------------------------------------------------------------

    def text(self, call: Call) -> str:
        """The signature as it is for a node; raises Unexplained to decline."""
        return self.signature if isinstance(self.signature, str) else self.signature(call)

    def named(self, call: Call) -> NamedAxes:
        """The axes of a node by name, with their sizes.

        Raises:
            Unexplained: the form is declined, or shapes do not fit the signature.
        """
        found = name_axes(self.text(call), call)
        solve_sizes(found, *self.given(call.node))
        if self.window is not None:
            slide(found, self.window, call)
        return found

    def given(self, node: ir.Node) -> tuple[list[tuple[tuple[str, ...], int]], list[tuple[tuple[str, ...], int]]]:
        """Names of axes with their sizes, in two lists.

        The first holds what attributes and the record say; the second, size 1 for attributes that are left out.
        """
        stated, rest = [], []
        for key, source in self.sizes.items():
            group = axis_names(key)
            if isinstance(source, int):
                stated.append((group, source))
            elif size := node.attributes.get_int(source, 0):
                stated.append((group, size))
            else:
                rest.append((group, 1))
        return stated, rest

    # ---- what follows for a node ----------------------------------------------------------------------------------

    def couple(self, node: ir.Node, coupling: Coupling) -> None:
        """Lets labels flow through ``node``: sets the layouts of its outputs."""
        # Before labels flow, so that every rule finds such axes merged or frozen already.
        if self.over is not None and coupling.policy.keep_norm_axes:
            value = node.inputs[0]
            if value is None:
                raise Unexplained("input 0 is missing")
            text = f"{self.name} normalises along it, and --keep-norm-axes asks to leave such axes alone"
            coupling.restrict(node, value, self.over(Call.of(node, coupling)), text)
        if self.labels is not None:
            self.labels(node, coupling)
        elif self.around is not None:
            self.around(node, coupling, lambda: self._combine(node, coupling))
        else:
            self._combine(node, coupling)

    def _combine(self, node: ir.Node, coupling: Coupling) -> None:
        found = self.named(Call.of(node, coupling))
        # Closed world: what the signature does not name may not lose anything.
        for index, value in enumerate(node.inputs):
            if value is not None and index not in found.operands:
                coupling.freeze(node, value, None, f"is an input of {node.op_type} without a signature")
        # Names of size 1 are broadcast and have nothing to lose.
        sizes = {name: size for name, size in found.sizes.items() if size > 1}
        in_order = neighbours.carry_places(node, coupling, found, self._beside(node, coupling))
        space = Space(sizes, frozenset(found.fixed), self.heads and coupling.policy.heads, in_order)
        combine(node, coupling, found.operand_values(node), found.output_values(node), space)

    def _beside(self, node: ir.Node, coupling: Coupling) -> Sequence[int]:
        """Axes of the first input along which ``node`` looks at what lies beside each position."""
        return () if self.neighbours is None else self.neighbours(Call.of(node, coupling))

    def macs(self, node: ir.Node, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int:
        """Multiply-accumulates of one run, from the shapes of inputs and outputs; 0 where it does not multiply."""
        if not self.multiplies:
            return 0
        call = Call(node, tuple(inputs), tuple(outputs))
        try:
            text = self.text(call)
            products = self.work if isinstance(self.work, str) else self.work(call)
        # A form that is declined has no axes to count by; coupling says why it is.
        except Unexplained:
            return 0
        if not products and len(inputs) < 2:
            return 0  # an Einsum of one operand adds up, and multiplies nothing
        return work.operator_macs(text, products, self.factors, inputs, outputs)

    def repair(self, node: ir.Node, repairer: Repairer) -> None:
        """Rewrites attributes and shape inputs once channels are gone."""
        if self.repaired is not None:
            self.repaired(node, repairer)
        # Read before anything is written: some axes are named by an attribute.
        beside = self._beside(node, repairer.coupling)
        if self.sizes:
            derived.repair_sizes(self, node, repairer)
        neighbours.fill_gaps(node, beside, repairer)

    def mask(self, node: ir.Node, reference: Reference) -> None:
        """Edits a node of the masked reference where it sums or compares removed positions."""
        if self.neighbours is None or not neighbours.mask_beside(
            node, self._beside(reference.source_of(node), reference.cut.coupling), reference
        ):
            derived.mask_node(self, node, reference)

    def learn(self, node: ir.Node, constants: Constants) -> None:
        """Notes in ``constants`` what the outputs of ``node`` hold where its inputs are constant, and what it reads."""
        if self.neighbours is None or not neighbours.learn_beside(
            node, self._beside(node, constants.coupling), constants
        ):
            derived.learn(self, node, constants)


Rules = Mapping[tuple[str, str], Operator]
"""(domain, operator) -> record."""


def required(node: ir.Node, index: int) -> ir.Value:
    """Input ``index`` of ``node``; raises Unexplained where it is left out."""
    value = optional_input(node, index)
    if value is None:
        raise Unexplained(f"input {index} is missing")
    return value


def attribute_axis(node: ir.Node, rank: int, default: int) -> int:
    """The attribute ``axis``, which may be negative, as a non-negative number."""
    axis = node.attributes.get_int("axis", default)
    return axis + rank if axis < 0 else axis
