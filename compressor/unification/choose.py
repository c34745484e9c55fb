"""Which block each layer gets: the choice that saves most bytes within a measured budget, and the plan of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from compressor.channels.plan import demand_kind, fault_of
from compressor.config import ALL, BlockShape, UnifySettings
from compressor.errors import PlanError
from compressor.pruning.budgets.allocate import Alternative, Move, final_options, line_of
from compressor.unification.layers import UnifiedLayer

BLOCKS_SCHEMA = 1
RIGHT_FILE = "give a file that unify --plan-out wrote"
REFUSALS = 4
"""Layers whose next move breaks the budget before no more are tried."""
REPLAYED_SETTINGS = ("unify_share", "prune_share", "permute", "magnitudes", "simplify")
"""Settings that a replay shares with the run that made the plan."""


@dataclass(frozen=True)
class UnifyPlan:
    """The block of each layer that is unified; every other weight is left alone.

    Attributes:
        blocks: in the notation of ``--block``, by name of the weight.
        policy: settings that a replay shares, see `REPLAYED_SETTINGS`.
    """

    blocks: Mapping[str, str]
    policy: Mapping[str, Any]

    @staticmethod
    def of(blocks: Mapping[str, str], settings: UnifySettings) -> UnifyPlan:
        """The plan with these blocks under these settings."""
        return UnifyPlan(dict(blocks), settings.model_dump(include=set(REPLAYED_SETTINGS), mode="json"))

    def applied(self, settings: UnifySettings) -> UnifySettings:
        """``settings`` that unify what the plan says and nothing else."""
        # Names may hold characters that mean something in a glob.
        chosen = tuple((escape(name), block) for name, block in self.blocks.items())
        # Everything is excluded but what is chosen by name, so that no default lets a weight in or out.
        update = {**self.policy, "layer_block": chosen, "include": (), "exclude": ("*",)}
        # Chosen and not given, so that the file does not say somebody gave them.
        return settings.resolved(**update)

    def check(self, layers: Sequence[UnifiedLayer]) -> None:
        """Raises PlanError unless these are the layers of the plan."""
        differ = {layer.name for layer in layers} ^ set(self.blocks)
        if differ:
            raise PlanError(
                f"the plan cannot be applied to this model: it does not fit weight {min(differ)!r}; give the model "
                "that it was made from"
            )

    def to_json(self) -> str:
        """The plan as JSON text, the same for the same plan."""
        document = {"schema": BLOCKS_SCHEMA, "policy": dict(self.policy), "blocks": dict(self.blocks)}
        return json.dumps(document, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> UnifyPlan:
        """Reads :meth:`to_json`; raises PlanError."""
        try:
            data = json.loads(text)
            demand_kind(data, dict, "the plan")
            if data["schema"] != BLOCKS_SCHEMA:
                raise PlanError(
                    f"the plan has schema {data['schema']!r}, this version reads {BLOCKS_SCHEMA}; {RIGHT_FILE}"
                )
            # Raises here, where the file is named, and not when the plan is applied.
            for key in ("blocks", "policy"):
                demand_kind(data[key], dict, key)
            for block in data["blocks"].values():
                BlockShape.parse(block)
            policy = UnifySettings.parse({name: data["policy"][name] for name in REPLAYED_SETTINGS})
            plan = UnifyPlan.of(data["blocks"], policy)
            # Whatever reading would drop or convert would make another run of the replay.
            if json.loads(plan.to_json()) != data:
                raise ValueError(
                    f"it holds more than schema, blocks and a policy of {', '.join(REPLAYED_SETTINGS)}, or other types"
                )
            return plan
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PlanError(f"not a plan of unification: {fault_of(error)}; {RIGHT_FILE}") from None

    @staticmethod
    def load(path: Path) -> UnifyPlan:
        """Reads a plan file; raises PlanError."""
        try:
            return UnifyPlan.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanError(f"cannot read the plan {path}: {error.strerror or error}; check the path") from None
        except UnicodeDecodeError:
            raise PlanError(f"cannot read the plan {path}: it is no text; {RIGHT_FILE}") from None


def notation(block: BlockShape) -> str:
    """A block as ``--block`` takes it."""
    if block.values:
        return f"values:{block.values}" + "/output" * (block.outputs == 1)
    sizes = (block.outputs, block.inputs) if block.matrix else (block.outputs, block.inputs, block.taps)
    return "matrix:" * block.matrix + "x".join("*" if size == ALL else str(size) for size in sizes)


@dataclass(frozen=True)
class BlockOption:
    """One layer in blocks of one shape, alone.

    Attributes:
        layer: name of the weight.
        block: in the notation of ``--block``.
        saved: bytes.
        distance: of the outputs, as a share of their norm.
    """

    layer: str
    block: str
    saved: int
    distance: float


def moves(options: Sequence[BlockOption]) -> list[Move[str]]:
    """From a layer left alone to a block, and from block to block, by rising loss for each byte saved.

    The loss is the squared distance, as that of independent changes adds up. The option of a move is an index into the
    options of its layer, in their order here.
    """
    items: dict[str, list[Alternative]] = {}
    for option in options:
        items.setdefault(option.layer, []).append(Alternative(float(option.saved), option.distance**2))
    return line_of(items)


def blocks_after(line: Sequence[Move[str]], options: Sequence[BlockOption]) -> dict[str, str]:
    """The block of each layer after these moves."""
    own: dict[str, list[str]] = {}
    for option in options:
        own.setdefault(option.layer, []).append(option.block)
    return {layer: own[layer][option] for layer, option in final_options(line).items()}


def within(line: Sequence[Move[str]], holds: Callable[[Sequence[Move[str]]], bool]) -> list[Move[str]]:
    """The moves that are made while a budget holds.

    As many from the start of the line as hold, found by bisection; from there one by one, passing over the layers whose
    move breaks the budget, until that has happened to `REFUSALS` layers.

    Args:
        line: all moves, those of one layer in their order; making none always holds.
        holds: whether the budget holds after these moves, as measured.
    """
    low, high = 0, len(line) + 1
    while high - low > 1:
        middle = len(line) if high > len(line) else (low + high) // 2  # perhaps all of them hold
        if holds(line[:middle]):
            low = middle
        else:
            high = middle
    # The move that broke the budget is known to; its layer is out from the start.
    made, refused = list(line[:low]), {move.item for move in line[low : low + 1]}
    for move in line[low + 1 :]:
        if len(refused) >= REFUSALS:
            break
        # Later moves of a layer start from the one that was refused.
        if move.item in refused:
            continue
        if holds([*made, move]):
            made.append(move)
        else:
            refused.add(move.item)
    return made
