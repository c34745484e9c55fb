"""The report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.core.atomic import write_text
from compressor.core.extras import require
from compressor.core.formatting import metric_value, printable
from compressor.core.intervals import LEVEL
from compressor.render import charts, draw, page, setting_rows
from compressor.render.gates import gate_cells, gates_unsure
from compressor.render.undone import undone_texts
from compressor.results.records import Report

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"
_LONGEST = 240
"""Characters of a name that are shown; of a longer one the beginning and the end."""
_PROSE = 1000
"""Characters of any other text that are shown."""


def write_html(report: Report, path: str | Path, *, plan: str | None = None, created: datetime | None = None) -> None:
    """Writes :func:`render_html` to ``path``, whole or not at all.

    Raises:
        UsageError: jinja2 is not installed, or the place cannot be written to.
    """
    write_text(path, render_html(report, plan=plan, created=created))


def render_html(report: Report, *, plan: str | None = None, created: datetime | None = None) -> str:
    """The report as the text of an HTML document, the same for the same arguments.

    Args:
        report: the result of pruning, cleaning or inspecting.
        plan: the plan as JSON, as ``PruningPlan.to_json`` gives it.
        created: the time that the report shows; none is shown if left out.

    Raises:
        UsageError: jinja2 is not installed.
    """
    # As data, so that the template shows it with escaping like all else.
    document: Mapping[str, Any] | None = json.loads(plan) if plan else None
    gates = [gate_cells(gate) for gate in report.gates]
    return render_template(
        "page.html",
        created,
        report=report,
        plan=document,
        level=LEVEL,
        gates=gates,
        unsure=gates_unsure(report.gates),
        undone=undone_texts(report.undone),
        together=draw.noticed_together(report.proof),
    )


def render_template(name: str, created: datetime | None, **values: object) -> str:
    """The text of an HTML document from a file of ``templates/``.

    Args:
        name: of the file.
        created: the time that it shows; none is shown if left out.
        values: what the template speaks of, besides the modules ``page``, ``charts`` and ``setting_rows``.

    Raises:
        UsageError: jinja2 is not installed.
    """
    require("--report", "jinja2")
    stamp = None
    if created is not None:
        stamp = (created.isoformat(timespec="seconds"), f"{created.day} {created:%B %Y, %H:%M}")
    return (
        _environment()
        .get_template(name)
        .render(stamp=stamp, page=page, charts=charts, setting_rows=setting_rows, **values)
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Every string is escaped, and characters that do not print are shown as escapes: names are not trusted.

    Made once, because it holds the compiled templates, and compiling takes far longer than printing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 -- an extra

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        # A typing error in a template raises instead of printing nothing.
        undefined=StrictUndefined,
        # Autoescaping guards markup only; control characters in names are taken care of here.
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(name=_name, prose=_prose, metric=_metric)
    return environment


def _shown(value: object) -> object:
    """What an expression of a template prints: markup as it is, text without control characters."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else printable(value)


def _name(text: str) -> Markup:
    """A name of the model, isolated from the direction of its surroundings, breakable after its separators."""
    from markupsafe import Markup, escape  # noqa: PLC0415 -- comes with jinja2

    safe = str(escape(_shortened(text, _LONGEST)))
    for mark in "/.:":
        # A browser breaks no long name by itself, and the page would grow wider than the screen.
        safe = safe.replace(mark, f"{mark}<wbr>")
    return Markup(f"<bdi>{safe}</bdi>")  # noqa: S704 -- escaped above


def _metric(value: float, share: bool) -> str:
    """A metric: per cent of shares, a number of others."""
    return metric_value(value, share=share)


def _prose(value: object) -> str:
    """Any other text as HTML, with names in code style."""
    return _shortened(str(value), _PROSE)


def _shortened(text: str, most: int) -> str:
    """Printable text of about ``most`` characters: of a longer one the beginning and the end."""
    # Cut before it is made printable, as escapes make hostile names many times longer.
    shown = printable(text if len(text) <= 2 * most else text[:most] + text[-most:])
    if len(shown) <= most:
        return shown
    return f"{shown[: most // 2]}\N{HORIZONTAL ELLIPSIS}{shown[-most // 3 :]}"
