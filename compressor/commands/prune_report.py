"""What a pruning run did, node by node, and as one HTML file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.config import PruneSettings
from compressor.steps.run_files import in_one_file

if TYPE_CHECKING:
    from compressor.results import Report
    from compressor.steps.prune.result import PruneResult


def with_layers(source: Path, result: PruneResult, settings: PruneSettings, *, timed: bool) -> Report:
    """The report of a run on ``source`` with what every node costs, in milliseconds too where it is ``timed``."""
    from compressor.evaluate.profile import detailed

    with in_one_file(source, settings) as whole:
        return detailed(result.report, whole, result.model, settings, timed=timed)


def report_file(result: PruneResult, path: Path) -> None:
    """Writes what a run did as one HTML file; raises UsageError where it cannot."""
    from compressor.render.html import write_html

    plan = None if result.plan is None else result.plan.to_json()
    write_html(result.report, path, plan=plan, created=datetime.now().astimezone())
