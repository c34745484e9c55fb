"""What methods say is said by the name that somebody gave, in flags of the command that it was given to."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

pytest.importorskip("torch")

from compressor.cli.options import flag
from compressor.config import PruneSettings, SparsifySettings
from compressor.config.choices import REGULARIZERS
from compressor.config.section import Section
from compressor.errors import NothingToPrune, UsageError
from compressor.train.regularizers.group_sparsity import GroupSparsity
from compressor.train.regularizers.regularizer import Flags
from compressor.train.sparsify import ALONE, BEFORE_A_CUT, regularized
from tests.models import in_memory, model
from tests.train.regularizers.case import RESIDUAL, started, subject

SHORT = """
    (float[n,3,6,6] x) => (float[n,c] y) <float[8,3,3,3] w1, float[8,4] head> {
        a = Conv<pads=[1,1,1,1]>(x, w1)  p = GlobalAveragePool(a)  f = Flatten(p)  y = MatMul(f, head)
    }"""
COMMANDS = [(BEFORE_A_CUT, PruneSettings), (ALONE, SparsifySettings)]


def demand_own(text: str, command: type[Section]) -> None:
    """Every flag that is named is one of the command, and one is named."""
    named = set(re.findall(r"--[a-z][a-z-]+", text))
    assert named
    assert named <= {flag(command, field) for field in command.model_fields}, text


@pytest.mark.parametrize(("flags", "command"), COMMANDS)
@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_graph_with_nothing_to_act_on(name: str, flags: Flags, command: type[Section]) -> None:
    of = subject(SHORT, ratio=0, name=name, flags=flags)
    of = replace(of, channels=replace(of.channels, holdings=()))
    with pytest.raises(UsageError, match=f"^{flags.method} {name} acts on") as caught:
        REGULARIZERS[name].make(of)
    demand_own(str(caught.value), command)


@pytest.mark.parametrize(("flags", "command"), COMMANDS)
def test_a_ratio_that_was_not_reached(flags: Flags, command: type[Section]) -> None:
    of = subject(RESIDUAL, flags=flags)
    penalty = GroupSparsity(of)
    started(penalty, of)
    [note] = penalty.notes
    assert flags.epochs in note
    demand_own(note, command)


def test_a_share_that_takes_no_channel() -> None:
    asked = SparsifySettings.parse({"regularizer": "iss", "sparsity": 0.01})
    with pytest.raises(NothingToPrune, match="raise --sparsity") as caught:
        regularized(in_memory(model(RESIDUAL)), asked)
    demand_own(str(caught.value), SparsifySettings)
