"""What coupling a node costs: steps grow as the number of its operands."""

from __future__ import annotations

from collections import Counter

import pytest

from compressor.channels import combine
from compressor.channels.coupling import Coupling, Policy
from compressor.channels.groups import blocked, group
from compressor.channels.labels import Units
from compressor.graph.form.normalise import normalise
from compressor.operators.sizes import infer
from compressor.operators.table import RULES
from tests.models import in_memory, model

SMALL, LARGE = 8, 64


def graph(parts: int, node: str, weights: str, *, out: int, made: str) -> str:
    each = range(parts)
    body = "  ".join(dict.fromkeys(made.format(k=k) for k in each))
    declared = ", ".join(weights.format(k=k) for k in each)
    names = ", ".join(f"p{k}" for k in each)
    return f"""(float[2,3,4,4] x) => (float y) <float[4,3,1,1] w, float[5,{out},1,1] v, {declared}> {{
        {body}  b = {node.format(names=names)}  y = Conv(b, v) }}"""


def convolutions(parts: int, node: str, *, out: int) -> str:
    return graph(parts, node, "float[4,3,1,1] w{k}", out=out, made="p{k} = Conv(x, w{k})")


GRAPHS = {
    "sum of convolutions": lambda n: convolutions(n, "Sum({names})", out=4),
    "sum of constants": lambda n: graph(n, "Sum(a, {names})", "float[4,1,1] p{k}", out=4, made="a = Conv(x, w)"),
    "concat": lambda n: convolutions(n, "Concat<axis=1>({names})", out=4 * n),
}


def coupled(text: str) -> Coupling:
    source = normalise(in_memory(model(text)))
    return Coupling(source.graph, infer(source), RULES, Policy()).run()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often operands are lifted, pairs are held against each other and units are united."""
    count: Counter[str] = Counter()
    for owner, name in [(combine._Combine, "_lift"), (combine._Combine, "_match_pair"), (Units, "union")]:
        real = getattr(owner, name)

        def counted(*args: object, real: object = real, name: str = name, **more: object) -> object:
            count[name] += 1
            return real(*args, **more)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, counted)
    return count


@pytest.mark.parametrize("kind", GRAPHS)
def test_steps_grow_as_operands(kind: str, steps: Counter[str]) -> None:
    coupled(GRAPHS[kind](SMALL))
    few = Counter(steps)
    steps.clear()
    coupled(GRAPHS[kind](LARGE))
    for name, number in few.items():
        assert steps[name] <= 1.1 * number * LARGE / SMALL, name


@pytest.mark.parametrize("kind", ["sum of convolutions", "sum of constants"])
def test_what_is_added_is_one_group(kind: str) -> None:
    found = group(coupled(GRAPHS[kind](LARGE)))
    assert [g.channels for g in found] == [4]
    assert len(found[0].slots) == LARGE + 1 + (kind == "sum of constants")  # and v; and w


def test_what_is_joined_stays_apart() -> None:
    found = group(coupled(GRAPHS["concat"](LARGE)))
    assert [g.channels for g in found] == [4] * LARGE


VIEWED = """(float[2,8] z) => (float y) <float[8,24] dense, int64[4] sizes = {-1, 6, 2, 2}, float[6,5,3,3] w, MORE> {
    h = MatMul(z, dense)  c = Reshape(h, sizes)  n = NODE  y = ConvTranspose(n, w) }"""


@pytest.mark.parametrize(
    ("node", "more"),
    [
        ("BatchNormalization(c, s, b, m, v)", "float[6] s, float[6] b, float[6] m, float[6] v"),
        ("Mul(c, s)", "float[6,1,1] s"),
        ("PRelu(c, s)", "float[6,1,1] s"),
    ],
)
def test_what_scales_channels_behind_a_view_follows_them(node: str, more: str) -> None:
    """Channels are known only once the convolution is met, after the scale; see ``_Combine._adopt``."""
    found = group(coupled(VIEWED.replace("NODE", node).replace("MORE", more)))
    assert [len(each.units) for each in found] == [6]


def test_a_value_that_is_empty_at_the_sizes_given_is_frozen_with_what_to_do_about_it() -> None:
    source = normalise(
        in_memory(
            model(
                """(float[1,3,H,4] x) => (float y) <float[4,3,1,1] w, float[5,4,1,1] v,
                int64[1] from = {50}, int64[1] to = {99}, int64[1] rows = {2}> {
                a = Conv(x, w)  b = Slice(a, from, to, rows)  y = Conv(b, v) }"""
            )
        )
    )
    found = Coupling(source.graph, infer(source, dims={"H": 20}), RULES, Policy()).run()
    assert any("[1, 4, 0, 4] is empty" in row.reason.reason and "--dim" in row.reason.reason for row in blocked(found))
    assert not any(
        "empty" in row.reason.reason for row in blocked(Coupling(source.graph, infer(source), RULES, Policy()).run())
    )
