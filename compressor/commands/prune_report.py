"""What a pruning run did, as one HTML file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.config import PruneSettings
from compressor.steps.run_files import in_one_file

if TYPE_CHECKING:
    from compressor.steps.prune.result import PruneResult


def report_file(source: Path, result: PruneResult, settings: PruneSettings, path: Path) -> None:
    """Writes what a run on ``source`` did as one HTML file; raises UsageError where it cannot."""
    from compressor.evaluate.profile import detailed
    from compressor.render.html import write_html

    with in_one_file(source, settings) as whole:
        report = detailed(result.report, whole, result.model, settings)
    plan = None if result.plan is None else result.plan.to_json()
    write_html(report, path, plan=plan, created=datetime.now().astimezone())
