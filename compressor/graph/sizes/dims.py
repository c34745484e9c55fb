"""Sizes that are not numbers: polynomials over symbolic dimensions.

A :class:`Size` is a sum of products of *atoms* with whole coefficients, in canonical form, so that two sizes are
known to be equal exactly where they are written alike. An atom is a symbol (an open dimension of an input, or
something that cannot be followed) or a call of ``div``, ``mod``, ``min`` or ``max`` on sizes. What turns out not to
depend on any symbol is an ``int``: only that is static.

Division of sums is exact long division (Cox, Little, O'Shea, *Ideals, Varieties, and Algorithms*, section 2.3) in
graded lexicographic order.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from types import MappingProxyType

TERM_LIMIT = 16
"""Terms of the largest product that is multiplied out; a longer one stays a product."""
TEXT_LIMIT = 256
"""Characters of the longest size, or bound of a size, that is followed further."""
OPEN = "?"
"""First character of a symbol that stands for a size which could not be followed."""
UNKNOWN = "~"
"""First character of a symbol that stands for a number which may be negative or no whole number."""


class Misfit(Exception):  # noqa: N818 - a signal between two functions, not an error for users
    """The sizes of the inputs do not fit the graph."""


@dataclass(frozen=True)
class SizeFunction:
    """A function of sizes that is no polynomial."""

    op: str
    args: tuple[Dim, ...]

    @cached_property
    def text(self) -> str:
        """What it is called by, and ordered by."""
        return f"{self.op}({', '.join(map(str, self.args))})"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Size:
    """A sum of terms, each a sorted product of atoms with its coefficient; no coefficient is zero.

    Attributes:
        terms: product and coefficient, the leading one first.
    """

    terms: tuple[tuple[AtomProduct, int], ...]

    @cached_property
    def text(self) -> str:
        """The size written out, such as ``2*N*T + 1``; equal sizes are written alike."""
        parts = []
        for product, factor in self.terms:
            names = "*".join(str(a) for a in product)
            parts.append(str(factor) if not product else names if factor == 1 else f"{factor}*{names}")
        return " + ".join(parts)

    def __str__(self) -> str:
        return self.text

    def __hash__(self) -> int:
        # The text is kept, and hashing it does not walk the terms again.
        return hash(self.text)

    def __add__(self, other: Dim) -> Dim:
        return total((self, other))

    def __mul__(self, other: Dim) -> Dim:
        right = _terms(other)
        # Products of long sums grow with every node; one that is left as a call is still equal to itself.
        if len(self.terms) * len(right) > TERM_LIMIT:
            return _call("mul", sorted((self, other), key=str))
        terms: dict[AtomProduct, int] = {}
        for one, first in self.terms:
            for two, second in right:
                product = tuple(sorted(one + two, key=str))
                terms[product] = terms.get(product, 0) + first * second
        return _size(terms)

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + (-other)

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__


Dim = int | Size
Atom = str | SizeFunction
AtomProduct = tuple[Atom, ...]


def symbol(name: str) -> Size:
    """The size that ``name`` stands for."""
    return Size((((name,), 1),))


def _terms(size: Dim) -> tuple[tuple[AtomProduct, int], ...]:
    return size.terms if isinstance(size, Size) else ((((), size),) if size else ())


def _order(product: AtomProduct) -> tuple[int, list[str]]:
    # Highest degree first: long division relies on this order.
    return -len(product), [str(a) for a in product]


def _size(terms: Mapping[AtomProduct, int]) -> Dim:
    """In canonical form; an int where no symbol is left."""
    # A coefficient of zero would make equal sizes differ.
    left = {product: factor for product, factor in terms.items() if factor}
    if not any(left):
        return left.get((), 0)
    return Size(tuple((p, left[p]) for p in sorted(left, key=_order)))


def _call(op: str, args: Iterable[Dim]) -> Size:
    return Size((((SizeFunction(op, tuple(args)),), 1),))


def size_product(sizes: Iterable[Dim]) -> Dim:
    """Product of sizes, in canonical form; 1 of none."""
    found: Dim = 1
    for size in sizes:
        found = found * size
    return found


def total(sizes: Iterable[Dim]) -> Dim:
    """Sum of sizes, in canonical form; 0 of none."""
    terms: dict[AtomProduct, int] = {}
    for size in sizes:
        for atoms, factor in _terms(size):
            terms[atoms] = terms.get(atoms, 0) + factor
    return _size(terms)


def exact_quotient(size: Dim, by: Dim) -> Dim | None:
    """``size / by`` where that leaves no remainder whatever the symbols stand for, else None."""
    if by == 0:
        return None
    lead, factor = _terms(by)[0]
    found: dict[AtomProduct, int] = {}
    rest = size
    while rest != 0:
        top, coefficient = _terms(rest)[0]
        left = _without(top, lead)
        # None left: the leading terms do not divide, so a remainder stays.
        if left is None or coefficient % factor:
            return None
        found[left] = coefficient // factor
        # The leading terms cancel, so that the rest gets smaller in the order and the loop ends.
        rest = rest - _size({left: found[left]}) * by
    return _size(found)


def _without(product: AtomProduct, part: AtomProduct) -> AtomProduct | None:
    left = list(product)
    for atom in part:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def common_factor(size: Dim) -> int:
    """The largest number that divides ``size`` whatever its symbols stand for."""
    return gcd(*(factor for _, factor in _terms(size)))


def div(size: Dim, by: Dim) -> Dim:
    """The quotient, rounded as ONNX rounds whole numbers: towards zero."""
    exact = exact_quotient(size, by)
    if exact is not None:
        return exact
    if isinstance(size, int) and isinstance(by, int) and by:
        # Python's `//` rounds down, ONNX towards zero.
        return abs(size) // abs(by) * (1 if (size < 0) == (by < 0) else -1)
    return _call("div", (size, by))


def mod(size: Dim, by: Dim) -> Dim:
    """The remainder of a division, with the sign of ``by``."""
    if isinstance(size, int) and isinstance(by, int) and by:
        return size % by
    return 0 if exact_quotient(size, by) is not None else _call("mod", (size, by))


def minimum(*sizes: Dim) -> Dim:
    """The least of them, where one is known to be; else a call."""
    return _extreme("min", sizes, lambda one, two: nonnegative(two - one))


def maximum(*sizes: Dim) -> Dim:
    """The largest of them, where one is known to be; else a call."""
    return _extreme("max", sizes, lambda one, two: nonnegative(one - two))


def _extreme(op: str, sizes: Iterable[Dim], wins: Callable[[Dim, Dim], bool]) -> Dim:
    left: list[Dim] = []
    for size in sizes:
        if any(wins(other, size) for other in left):
            continue
        left = [*(other for other in left if not wins(size, other)), size]
    return left[0] if len(left) == 1 else _call(op, sorted(left, key=str))


def nonnegative(size: Dim) -> bool:
    """Is ``size`` zero or more, whatever sizes its symbols stand for? False where that is not known."""
    if isinstance(size, int):
        return size >= 0
    return all(factor > 0 and all(map(_counts, size_product)) for size_product, factor in size.terms)


def _counts(atom: Atom) -> bool:
    if isinstance(atom, str):
        return not atom.startswith(UNKNOWN)
    if atom.op == "mod":
        # The remainder has the sign of the divisor.
        return nonnegative(atom.args[1])
    # One argument of a maximum is enough; the others need all of theirs.
    return any(map(nonnegative, atom.args)) if atom.op == "max" else all(map(nonnegative, atom.args))


def symbols(size: Dim) -> set[str]:
    """Every symbol that ``size`` depends on."""
    found: set[str] = set()
    for product, _ in _terms(size):
        for atom in product:
            found |= {atom} if isinstance(atom, str) else set().union(*map(symbols, atom.args))
    return found


_CALLS: Mapping[str, Callable[..., Dim]] = MappingProxyType(
    {
        "div": div,
        "mod": mod,
        "min": minimum,
        "max": maximum,
        "mul": lambda *sizes: size_product(sizes),
    }
)


def substitute(size: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """``size`` with other sizes for some of its symbols."""
    found: Dim = 0
    for atoms, factor in _terms(size):
        term: Dim = factor
        for atom in atoms:
            if isinstance(atom, str):
                term = term * sizes.get(atom, symbol(atom))
            else:
                term = term * _CALLS[atom.op](*(substitute(a, sizes) for a in atom.args))
        found = found + term
    return found


def solve_symbol(one: Dim, two: Dim) -> tuple[str, Dim] | None:
    """A symbol of an input and the size that it must stand for if ``one`` and ``two`` are equal.

    A solution that no sizes make negative comes first. None where they are equal, cannot be, or no symbol occurs in
    a term of its own with a factor of one.
    """
    gap = one - two
    found: list[tuple[str, Dim]] = []
    for atoms, factor in _terms(gap):
        atom = atoms[0] if len(atoms) == 1 else None
        # A symbol in a product, or with another factor, would need a division that may leave a remainder.
        if isinstance(atom, str) and abs(factor) == 1:
            rest = (gap - _size({atoms: factor})) * -factor
            used = symbols(rest)
            if atom not in used and not any(name[0] in OPEN + UNKNOWN for name in {atom} | used):
                found.append((atom, rest))
    # False sorts first, and of equals the first found is taken, so that the choice is always the same.
    return min(found, key=lambda solution: not nonnegative(solution[1]), default=None)


_OPERATORS: Mapping[type[ast.operator], Callable[[Dim, Dim], Dim]] = MappingProxyType(
    {
        ast.Add: lambda a, b: a + b,
        ast.Sub: lambda a, b: a - b,
        ast.Mult: lambda a, b: a * b,
        ast.FloorDiv: div,
        ast.Mod: mod,
    }
)


def parse(name: str, known: Iterable[str]) -> Size | None:
    """The size that a name such as ``past + 2*length`` spells out, of names in ``known``; None for a plain name.

    Exporters name a dimension after the sum that it is. A name that only looks like arithmetic (``batch-size``) has
    parts that no dimension is called by.
    """
    # The name comes from the file: it is parsed, and never evaluated.
    try:
        found = _parsed(ast.parse(name.strip(), mode="eval").body, frozenset(known))
    except (SyntaxError, ValueError, RecursionError):
        return None
    return found if isinstance(found, Size) and found != symbol(name) else None


def _parsed(tree: ast.expr, known: frozenset[str]) -> Dim:
    match tree:
        case ast.BinOp() if type(tree.op) in _OPERATORS:
            return _OPERATORS[type(tree.op)](_parsed(tree.left, known), _parsed(tree.right, known))
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name) if name in known:
            return symbol(name)
    raise ValueError(f"{ast.dump(tree)} is no size")
