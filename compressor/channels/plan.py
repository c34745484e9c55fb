"""A pruning plan: what goes, by the names in the file. Pure data; saved, compared and replayed.

A plan file may come from anywhere, so it is read as strictly as a model: it holds numbers and names, and of settings
those that decide what hangs together, nothing that switches off a check or names code or files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from compressor.channels.channel_mask import ChannelMask
from compressor.channels.coupling import Coupling
from compressor.channels.groups import ChannelGroup
from compressor.channels.labels import UnitArray
from compressor.channels.residual import by_name
from compressor.core.formatting import other_schema
from compressor.errors import PlanError, tool_fault

_Labels = dict[tuple[str, tuple[int, ...]], UnitArray]
"""By weight and axes; int64[positions]."""
PLAN_SCHEMA = 1
LISTED = 32
"""Positions that an error lists at most."""
POLICY: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {
        "attention": lambda value: value in ("heads", "dims"),
        "keep_norm_axes": lambda value: isinstance(value, bool),
        "simplify": lambda value: isinstance(value, bool),
        "cache_heads": lambda value: isinstance(value, bool),
        "depth": lambda value: isinstance(value, bool),
        "free_outputs": lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value),
    }
)
"""Settings that decide what hangs together, which a replay takes from the plan -> is a value one of theirs?"""


@dataclass(frozen=True)
class Removal:
    """What one group loses.

    Attributes:
        group: the group's name.
        initializer: a weight that holds the group.
        axes: its axes; several where units vary from row to row.
        indices: flat positions along ``axes`` (row-major) that go.
        shape: of the weight where the plan was made; empty where the plan does not say.
    """

    group: str
    initializer: str
    axes: tuple[int, ...]
    indices: tuple[int, ...]
    shape: tuple[int, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """As the plan's JSON has it."""
        known = {"shape": list(self.shape)} if self.shape else {}
        lists = {"axes": list(self.axes), "indices": list(self.indices)}
        return {"group": self.group, "initializer": self.initializer, **lists, **known}


@dataclass(frozen=True)
class PruningPlan:
    """What goes, and the settings that a replay has to share.

    Attributes:
        removals: an entry for each group that loses something; several where its units were paired by their scores.
        policy: settings of the coupling, see `POLICY`.
        blocks: residual blocks that go, by the names of their sums.
        files: names of the files that the model was joined from; empty for a model of one file.

    Raises:
        PlanError: the policy holds anything else.
    """

    removals: tuple[Removal, ...]
    policy: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.policy.items():
            if name not in POLICY:
                raise PlanError(f"the plan's policy holds {name!r}; it may hold {', '.join(POLICY)} and nothing else")
            if not POLICY[name](value):
                raise PlanError(f"the plan's policy gives {name!r} a value that it cannot have: {value!r}")

    def to_json(self) -> str:
        """The plan as JSON text, the same for the same plan."""
        entries = [removal.facts for removal in self.removals]
        document = {"schema": PLAN_SCHEMA, "policy": dict(self.policy), "digest": self.digest(), "removals": entries}
        if self.blocks:
            document["blocks"] = list(self.blocks)
        if self.files:
            document["files"] = list(self.files)
        return json.dumps(document, indent=1) + "\n"

    def digest(self) -> str:
        """Stands for what goes: SHA-256 of the removals and the policy, so that a plan that was changed is noticed."""
        entries = [list(removal.facts.values()) for removal in self.removals]
        more = [list(names) for names in (self.blocks, self.files) if names]
        text = json.dumps([entries, dict(self.policy), *more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @staticmethod
    def from_json(text: str) -> PruningPlan:
        """Reads :meth:`to_json`; a plan without a digest, as other programs may write it, is one too.

        Raises:
            PlanError: not a plan, a plan of another schema, or one that was changed after it was written.
        """
        try:
            data = json.loads(text, object_pairs_hook=_once)
            demand_kind(data, dict, "the plan")
            # Exactly int: True would pass for 1.
            if type(data["schema"]) is not int or data["schema"] != PLAN_SCHEMA:
                raise PlanError(
                    f"{other_schema(data['schema'], 'plan', PLAN_SCHEMA)}; give a file that --plan-out wrote"
                )
            _demand_keys(data, {"schema", "policy", "removals"}, {"digest", "blocks", "files"})
            names = [_names(data.get(key, []), key) for key in ("blocks", "files")]
            demand_kind(data["removals"], list, "removals")
            demand_kind(data["policy"], dict, "policy")
            plan = PruningPlan(tuple(map(_removal, data["removals"])), dict(data["policy"]), *names)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise PlanError(f"not a pruning plan: {fault_of(error)}; give a file that --plan-out wrote") from None
        # The digest is of what was read and not of the text, so that other spacing or order of keys does no harm.
        if data.get("digest", plan.digest()) != plan.digest():
            raise PlanError("the plan was changed after it was written: its digest differs; write it again")
        return plan

    @staticmethod
    def load(path: str | Path) -> PruningPlan:
        """Reads a plan file; raises PlanError."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise PlanError(f"cannot read the plan {path}: {error.strerror or error}; check the path") from None
        except UnicodeDecodeError:
            text = "\0"  # refused below as no JSON
        if not text.lstrip().startswith("{"):
            what = "a model" if Path(path).suffix == ".onnx" else "something else"
            raise PlanError(f"{path} is {what}, and a plan is a JSON object in a file; give one that --plan-out wrote")
        return PruningPlan.from_json(text)

    @staticmethod
    def of(given: PruningPlan | str | os.PathLike[str] | Mapping[str, Any]) -> PruningPlan:
        """A plan, its JSON as text or as a dict, or the path of a file that holds it; raises PlanError."""
        if isinstance(given, PruningPlan):
            return given
        if isinstance(given, Mapping):
            return PruningPlan.from_json(json.dumps(given))
        text = os.fspath(given)
        return PruningPlan.from_json(text) if text.lstrip().startswith("{") else PruningPlan.load(text)


def fault_of(error: Exception) -> str:
    """What is wrong with a plan's JSON, in words, where reading it raised ``error``."""
    if isinstance(error, KeyError):
        return f"the key {error} is missing"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error}"
    # In its words, the remedy would be a setting of Python.
    return "it holds a number of thousands of digits" if "set_int_max_str_digits" in str(error) else str(error)


def demand_kind(found: object, kind: type[dict[str, Any]] | type[list[Any]], what: str) -> None:
    """Raises TypeError, in words for a user, unless ``what`` of a plan's JSON is of that ``kind``."""
    if not isinstance(found, kind):
        raise TypeError(f"{what} must be {'a list' if kind is list else 'an object'}, not {found!r}")


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object none of whose keys comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _demand_keys(found: Mapping[str, Any], needed: set[str], allowed: set[str]) -> None:
    for name in found:
        if name not in needed | allowed:
            raise ValueError(f"unknown key {name!r}")
    for name in needed - found.keys():
        raise KeyError(name)


def _removal(entry: Mapping[str, Any]) -> Removal:
    demand_kind(entry, dict, "each of removals")
    _demand_keys(entry, {"group", "initializer", "axes", "indices"}, {"shape"})
    for name in ("group", "initializer"):
        if not isinstance(entry[name], str):
            raise TypeError(f"{name} must be text, not {entry[name]!r}")
    lists = []
    for name in ("axes", "indices"):
        numbers = entry[name]
        # Exactly int: True would pass for position 1.
        wrong = [n for n in numbers if type(n) is not int or n < 0] if isinstance(numbers, list) else [numbers]
        if wrong or len(set(numbers)) < len(numbers):
            what = repr(wrong[0]) if wrong else "one that comes twice"
            raise TypeError(f"{name} must be whole numbers from 0 on, each once, not {what}")
        lists.append(tuple(numbers))
    shape = entry.get("shape", [])
    if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
        raise TypeError(f"shape must be sizes, not {shape!r}")
    axes, indices = lists
    return Removal(entry["group"], entry["initializer"], axes, indices, tuple(shape))


def _names(found: object, key: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
        raise TypeError(f"{key} must be names, each once, not {found!r}")
    return tuple(found)


def plan_of(
    coupling: Coupling,
    groups: list[ChannelGroup],
    removed: Mapping[str, UnitArray],
    policy: Mapping[str, Any],
) -> PruningPlan:
    """The plan in which group ``name`` loses the units ``removed[name]``.

    Positions are those of the term as it was first labelled, which does not depend on scores, so that a replay
    finds the same one. Weights that go with a residual block lose nothing beside.
    """
    removals = []
    # A block goes as one unit of a group of its own, and is named in the plan instead of its channels.
    chosen = {unit for group in groups if group.blocks for unit in removed.get(group.name, ())}
    blocks = [block for block in coupling.blocks if block.unit in chosen]
    inside = {value for block in blocks for value in block.weights}
    for group in groups:
        units = removed.get(group.name)
        if units is None or not len(units) or all(slot.value in inside for slot in group.slots):
            continue
        removals += _removals(coupling, group, units)
    return PruningPlan(tuple(removals), policy, tuple(sorted(block.name for block in blocks)))


def _removals(coupling: Coupling, group: ChannelGroup, units: UnitArray) -> list[Removal]:
    """What of which weights a plan has to name for ``units`` to go: mostly of one.

    Units that were paired by their scores are not paired in a replay, so each of a pair has to stand in a weight that
    is named. A constant that is padded onto an axis stands in the weights of its readers alone.
    """
    found: list[Removal] = []
    named = np.zeros(0, np.int64)
    for slot in group.slots if coupling.units.paired else group.slots[:1]:
        # Positions have to be found again by a replay, and in the term as it was first given nothing has merged yet.
        given = coupling.deferred_labels[slot.value].terms
        holders = [(term, np.isin(coupling.units.find(term.units), units)) for term in given]
        # A weight may hold the group on several axes; the plainest term needs the fewest positions.
        term, goes = min((h for h in holders if h[1].any()), key=lambda h: len(h[0].axes))
        here = coupling.units.find_unpaired(term.units[goes])
        if np.isin(here, named).all() and found:
            continue
        named = np.union1d(named, here)
        shape = coupling.shapes(slot.value) or ()
        indices = tuple(np.flatnonzero(goes).tolist())
        found.append(Removal(group.name, str(slot.value.name), term.axes, indices, shape))
    return found


def names_all(plan: PruningPlan, cut: ChannelMask) -> bool:
    """Does a replay of the plan, in which nothing is paired by scores, remove what ``cut`` does?

    Not where something goes that stands in no weight and follows from none that does.
    """
    return not _unnamed(plan, cut, np.arange(len(cut.coupling.units))).size


def _unnamed(plan: PruningPlan, cut: ChannelMask, units: UnitArray) -> UnitArray:
    """Those of ``units`` that go, as they stood before any were paired by scores, and that no position names."""
    find, labels = cut.coupling.units.find_unpaired, _labels_named(plan, cut.coupling)
    return np.setdiff1d(find(units[~cut.keeps_units(units)]), find(_units_named(plan, labels, cut.coupling)))


def units_of(plan: PruningPlan, coupling: Coupling) -> UnitArray:
    """The units that ``plan`` removes from this coupling.

    Raises:
        PlanError: the model has no such weight, axis or position, or it is frozen; or others go with those that the
            plan names.
    """
    try:
        labels = _labels_named(plan, coupling)
        units = np.unique(coupling.units.find(_units_named(plan, labels, coupling)))
    except PlanError as error:
        raise PlanError(
            f"the plan was made for another model: {error}; replay it on the file that it was made from"
        ) from None
    _demand_all_named(plan, labels, coupling)
    return units


def _demand_all_named(plan: PruningPlan, labels: _Labels, coupling: Coupling) -> None:
    """Raises PlanError where along the axes of a removal others go with its positions that the plan does not name."""
    named: dict[tuple[str, tuple[int, ...]], set[int]] = {}
    for removal in plan.removals:
        named.setdefault((removal.initializer, removal.axes), set()).update(removal.indices)
    for (weight, axes), indices in named.items():
        # As a replay finds them, in which nothing is paired by scores.
        flat = coupling.units.find_unpaired(labels[weight, axes])
        go = np.flatnonzero(np.isin(flat, flat[sorted(indices)])).tolist()
        missing = next((place for place in go if place not in indices), None)
        if missing is None:
            continue
        together = np.flatnonzero(flat == flat[missing]).tolist()
        here = [r for r in plan.removals if (r.initializer, r.axes) == (weight, axes)]
        group = next(r.group for r in here if not set(together).isdisjoint(r.indices))
        told = ", ".join(map(str, together[:LISTED])) + (" ..." if len(together) > LISTED else "")
        raise PlanError(
            f"group {group!r}: {len(together)} positions along {list(axes)} of {weight!r} go together ({told}), and "
            f"the plan names {len(indices.intersection(together))} of them; name all or none"
        )


def _labels_named(plan: PruningPlan, coupling: Coupling) -> _Labels:
    """Labels along every axis that the plan names, as they stood before anything merged."""
    values, found = coupling.graph.initializers, _Labels()
    for removal in plan.removals:
        value = values.get(removal.initializer)
        if value is None:
            raise PlanError(f"this one has no {removal.initializer!r}")
        shape = coupling.shapes(value)
        if removal.shape and shape is not None and tuple(shape) != removal.shape:
            raise PlanError(f"{removal.initializer!r} had shape {list(removal.shape)}, and has {list(shape)} here")
        deferred = coupling.deferred(value)
        term = next((t for t in deferred.terms if t.axes == removal.axes), None) if deferred is not None else None
        if term is None:
            raise PlanError(f"here axis {list(removal.axes)} of {removal.initializer!r} cannot be pruned")
        found[removal.initializer, removal.axes] = term.units.ravel()
    return found


def _units_named(plan: PruningPlan, labels: _Labels, coupling: Coupling) -> UnitArray:
    """The units as they stood before anything merged."""
    found: list[UnitArray] = [np.zeros(0, np.int64)]
    for removal in plan.removals:
        flat = labels[removal.initializer, removal.axes]
        beyond = [i for i in removal.indices if not 0 <= i < flat.size]
        if beyond:
            raise PlanError(f"position {beyond[0]} of {removal.initializer!r} is to go, which has {flat.size} here")
        units = flat[np.asarray(removal.indices, np.int64)]
        # Unit 0 is frozen.
        if (coupling.units.find(units) == 0).any():
            raise PlanError(f"positions of {removal.initializer!r} are to go that have to stay here")
        found.append(units)
    blocks = by_name(coupling.blocks)
    for name in plan.blocks:
        if name not in blocks:
            raise PlanError(f"the plan takes out a residual block that ends in {name!r}, where the model has none")
        found.append(np.asarray([blocks[name].unit]))
    return np.concatenate(found)


def demand_files(plan: PruningPlan, files: Sequence[str]) -> None:
    """Raises PlanError where a plan of a model of several files is to be replayed on another number of files."""
    if plan.files and len(plan.files) != len(files):
        raise PlanError(
            f"the plan is for {len(plan.files)} files, {' and '.join(plan.files)}, of which {len(files)} "
            f"{'was' if len(files) == 1 else 'were'} given; give the others with --also"
        )


def demand_removal(plan: PruningPlan, cut: ChannelMask) -> None:
    """Asks of a cut whether it is the plan: every position that the plan names goes, and no more units than it names.

    The proof compares what was cut with the same cut by masks, so that it cannot see a plan that was misread.

    Raises:
        ProofFailed: it is another cut.
    """
    for removal in plan.removals:
        keep = cut.keep(cut.coupling.graph.initializers[removal.initializer], removal.axes).ravel()
        if keep[list(removal.indices)].any():
            raise tool_fault(f"the cut leaves positions of {removal.initializer!r} that the plan removes")
    # A unit takes one position at least, so more units than positions means that something else goes too.
    if cut.removed > sum(len(removal.indices) for removal in plan.removals) + len(plan.blocks):
        raise tool_fault("the cut removes more than the plan says")
    # Scores that are not the plan's may have paired what it names with what it does not, which then goes as one unit.
    weights = (cut.coupling.deferred_labels.get(value) for value in cut.coupling.graph.initializers.values())
    units = [term.units.ravel() for labels in weights if labels is not None for term in labels.terms]
    if units and _unnamed(plan, cut, np.concatenate(units)).size:
        raise tool_fault("units were paired by other scores than the plan's, so that more than it says goes")
