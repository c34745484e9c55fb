"""Time of every operator of a model, from ONNX Runtime's own profile."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from compressor.core.arrays import Array
from compressor.core.scratch import scratch
from compressor.errors import ModelError
from compressor.runtime.sessions import Session, Setup, run_session, start_session

PROFILE_WARMUP = 5
"""Profiled runs at the start that do not count."""
GRAPH_ATTRIBUTE = onnx.defs.OpSchema.AttrType.GRAPH
_TIMED = "_kernel_time"


@dataclass(frozen=True)
class NodeTime:
    """One node as it ran: after the runtime fused and laid out the graph, so names may be the runtime's.

    Attributes:
        name: of the node that ran; a fused one has the name of one of its parts, or a made-up one.
        op_type: as it ran, such as FusedConv.
        provider: which took it.
        milliseconds: median over the runs.
    """

    name: str
    op_type: str
    provider: str
    milliseconds: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a run goes.

    Attributes:
        nodes: in the order in which they ran.
        kernels: on an accelerator, times are those of its kernels; else of their launch, which says little.
    """

    nodes: list[NodeTime]
    kernels: bool

    def by_name(self) -> dict[str, float]:
        """Milliseconds by the name of what ran, in the order in which it ran."""
        found: dict[str, float] = {}
        for node in self.nodes:
            found[node.name] = found.get(node.name, 0.0) + node.milliseconds
        return found


def profile(path: Path, provider: str, feeds: Mapping[str, Array], setup: Setup, runs: int = 20) -> Profile:
    """Runs the model with the profiler on; profiled runs are slower than others, shares are what counts.

    Args:
        path: the model file.
        provider: short or full name.
        feeds: array by input name.
        setup: how the session is set up.
        runs: profiled runs that count.

    Raises:
        ModelError: the model does not run, or the runtime wrote no profile.
        ProviderUnavailable: the provider is not there.
    """
    with scratch() as folder:
        # A recorded CUDA graph runs as one, and the profiler would see no nodes in it.
        session = start_session(path, provider, replace(setup, profile=Path(folder) / "run", cuda_graph=False))
        for _ in range(PROFILE_WARMUP + runs):
            run_session(session, feeds)
        return read_profile(ended(session, "run without --profile"), PROFILE_WARMUP)


def ended(session: Session, remedy: str) -> list[dict[str, Any]]:
    """The events of a session with the profiler on, all of whose runs are over.

    Raises:
        ModelError: the runtime wrote no profile; with the ``remedy``.
    """
    file = Path(session.end_profiling())  # type: ignore[no-untyped-call]
    try:
        found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ModelError(f"ONNX Runtime wrote no readable profile; {remedy}") from None
    return found


def read_profile(
    events: list[dict[str, Any]], skip: int, typical: Callable[[Sequence[float]], float] = statistics.median
) -> Profile:
    """Times by node from the events of a profile.

    Args:
        events: what the profiler wrote.
        skip: runs at the start that do not count.
        typical: what becomes of the times of one node.
    """
    ends = sorted(e["ts"] + e["dur"] for e in events if e.get("name") == "model_run")
    # Runs at the start are left out by time, since events do not say which run they belong to.
    begin = ends[skip - 1] if 0 < skip < len(ends) else 0
    runs = max(1, len(ends) - skip)
    launches: dict[tuple[str, ...], list[float]] = defaultdict(list)
    first: dict[tuple[str, ...], int] = {}
    for event in events:
        args = event.get("args", {})
        timed = event.get("cat") == "Node" and event["name"].endswith(_TIMED) and event["ts"] >= begin
        # A node with a body takes the time of the nodes in it, which are listed themselves.
        if timed and not _has_body(args.get("op_name", "")):
            name = event["name"].removesuffix(_TIMED)
            # The runtime may give several nodes one name, so the number of the node is a part of the key.
            key = (name, args.get("op_name", ""), args.get("provider", ""), str(args.get("node_index", "")))
            first.setdefault(key, event["ts"])
            launches[key].append(event["dur"] / 1000)
    kernels = _kernel_times(events, begin)
    nodes = [
        # Kernels where there are any: a launch ends before the device has done the work.
        NodeTime(key[0], key[1], key[2], _of_one_run(kernels.get(key[0]) or launches[key], runs, typical))
        for key in sorted(launches, key=first.__getitem__)
    ]
    return Profile(nodes, bool(kernels))


def _has_body(op: str) -> bool:
    """Does ONNX define an attribute of the operator to be a graph?"""
    schema = onnx.defs.get_schema(op) if onnx.defs.has(op) else None
    return schema is not None and any(a.type is GRAPH_ATTRIBUTE for a in schema.attributes.values())


def _kernel_times(events: list[dict[str, Any]], begin: int) -> dict[str, list[float]]:
    """Milliseconds of the accelerator's kernels by the name of the node that launched them."""
    found: dict[str, list[float]] = defaultdict(list)
    for event in events:
        parent = str(event.get("args", {}).get("parent_name", ""))
        if event.get("cat") == "Kernel" and parent and event["ts"] >= begin:
            found[parent.removesuffix(_TIMED)].append(event["dur"] / 1000)
    return found


def _of_one_run(milliseconds: list[float], runs: int, typical: Callable[[Sequence[float]], float]) -> float:
    """What is typical of a node that ran once in each run; the mean per run of one that ran more often, in a loop."""
    if len(milliseconds) <= runs:
        return typical(milliseconds)
    # More often than there were runs: in a loop, where single times would not add up to those of a run.
    return sum(milliseconds) / runs
