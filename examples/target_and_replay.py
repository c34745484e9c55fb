"""Prunes to a share of the MACs and replays the plan: python examples/target_and_replay.py [FOLDER].

A plan is a small JSON file that names what goes. It can be reviewed, compared and kept, and it gives the same
bytes again.
"""

import sys
from pathlib import Path

from compressor.channels.plan import PruningPlan
from compressor.config import PruneSettings
from compressor.pipeline import prune_file

SOURCE = Path(__file__).parents[1] / "models" / "digits-resnet.onnx"


def main(folder: Path) -> None:
    first, again, plan_file = folder / "first.onnx", folder / "again.onnx", folder / "plan.json"

    settings = PruneSettings(target_macs=0.8, scope="global", criterion="lamp")
    report = prune_file(SOURCE, first, settings, plan_out=plan_file).report
    print(f"MACs left: {report.output.macs / report.input.macs:.1%}")

    for removal in PruningPlan.load(plan_file).removals:
        print(f"  {len(removal.indices):>3} channels of {removal.initializer} (axis {list(removal.axes)}) go")

    prune_file(SOURCE, again, PruneSettings(), plan=plan_file)
    print(f"replayed: {'the same bytes' if first.read_bytes() == again.read_bytes() else 'DIFFERENT BYTES'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
