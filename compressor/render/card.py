"""A model card: what a written model is, what was done to it and how that was checked, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType

import onnx_ir as ir

from compressor.core.atomic import write_text
from compressor.core.formatting import printable
from compressor.errors import UsageError
from compressor.graph.disk import files
from compressor.graph.disk.provenance import provenance_steps
from compressor.render.gates import GATE_HEADINGS, gate_cells, gate_name, gates_unsure
from compressor.render.undone import undone_texts
from compressor.results import Document
from compressor.results.recipe import RecipeReport

NO_CARD = "--card describes the file that is written; leave --dry-run out"
"""A card of a file that is not there would be taken for one that is."""
_NAMES = MappingProxyType(
    {
        "settings": "settings that were given",
        "settings_sha256": "all settings (SHA-256)",
        "input_sha256": "input (SHA-256)",
        "plan_sha256": "plan (SHA-256)",
    }
)


def write_card(path: Path, model: Path | None, report: Document) -> None:
    """Writes the card of a model file.

    Args:
        path: the card, such as ``README.md``.
        model: the file that was written; None where none was.
        report: of the run that wrote it.

    Raises:
        UsageError: no model was written, or the card cannot be.
    """
    if model is None:
        raise UsageError(NO_CARD)
    write_text(path, card(model, report))


def card(model: Path, report: Document) -> str:
    """The text of the card; the same for the same file and report."""
    loaded = files.load_model(model)
    own = files.model_files(model)
    parts = [
        "---\nlibrary_name: onnx\ntags: [onnx, onnx-compressor, compressed]\n---",
        f"# {_cell(model.name)}",
        f"A compressed ONNX model{_origin(report)}. Inputs and outputs have the names and types of the original's.",
        "## At a glance",
        _table(("", ""), report.headline()),
        *_gates(report),
        *_undone(report),
        "## Inputs and outputs",
        _table(("", "name", "type", "shape"), _ends(loaded)),
        "## How it was made",
        "As the file says itself (`metadata_props`), first to last:",
        *(_step(number, facts) for number, facts in enumerate(provenance_steps(loaded), 1)),
        *_ran(report),
        "## Limits",
        "\n".join(f"- {_cell(text)}" for text in _limits(report)),
        "## File",
        f"SHA-256 of the model{' and its data' if len(own) > 1 else ''}: `{files.digest(own)}`",
    ]
    return "\n\n".join(parts) + "\n"


def _origin(report: Document) -> str:
    """Of which file it was made, where it was one; its folder is nobody's business."""
    path = getattr(getattr(report, "input", None), "path", None)
    return f", made of {_cell(Path(path).name)}" if path else ""


def _gates(report: Document) -> list[str]:
    """The limits that were set on the result, and their verdicts."""
    # Of a recipe those of its stages, too.
    if isinstance(report, RecipeReport):
        gates = report.every_gate
        rows = [gate_cells(gate, gate_name(gate)) for gate in gates]
    else:
        gates = getattr(report, "gates", [])
        rows = [gate_cells(gate) for gate in gates]
    return ["## Gates", _table(GATE_HEADINGS, rows), *map(_cell, gates_unsure(gates))] if rows else []


def _undone(report: Document) -> list[str]:
    """Training that was thrown away."""
    texts = undone_texts(getattr(report, "undone", []))
    return ["## Training that was undone", "\n".join(f"- {_cell(text)}" for text in texts)] if texts else []


def _ran(report: Document) -> list[str]:
    """What ran, where settings leave it open."""
    values = getattr(report, "ran", {})
    rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]
    return ["What ran, where that was left open:", _table(("", ""), rows)] if rows else []


def _ends(model: ir.Model) -> Iterable[tuple[str, ...]]:
    for kind, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        for value in values:
            # Old files list weights among the inputs, which nobody feeds.
            if not value.is_initializer():
                shape = "?" if value.shape is None else " x ".join("?" if d is None else str(d) for d in value.shape)
                yield kind, str(value.name), str(value.dtype), shape


def _step(number: int, facts: dict[str, str]) -> str:
    title = f"### {number}. {_cell(facts.get('command', 'unknown'))}"
    rows = [f"| {_cell(_NAMES.get(k, k))} | {_code(v) if k in _NAMES else _cell(v)} |" for k, v in facts.items()]
    return "\n".join([f"{title}\n", "|  |  |", "| --- | --- |", *rows])


def _limits(report: Document) -> list[str]:
    warnings = [str(text) for text in getattr(report, "warnings", [])]
    measured = any(getattr(report, name, None) for name in ("accuracy", "outputs", "judged"))
    quality = "Quality was measured as stated above and nowhere else" if measured else "Quality was not measured"
    return [*warnings, f"{quality}; measure it on the data it will meet."]


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(header)
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)])


def _code(text: str) -> str:
    """As code where nothing in it would end that."""
    shown = printable(text)
    return _cell(text) if "`" in shown or "|" in shown else f"`{shown}`"


def _cell(text: str) -> str:
    """Names come from model files: no control characters, markup or cell borders."""
    shown = printable(text)
    for mark in "\\`*_<>|[]":
        shown = shown.replace(mark, f"\\{mark}")
    return shown
