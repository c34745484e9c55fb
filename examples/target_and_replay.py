"""Prunes to a share of the MACs and replays the plan: python examples/target_and_replay.py [FOLDER].

A plan is a small JSON file that names what goes. It can be reviewed, compared and kept, and it gives the same
weights again.
"""

import sys
from pathlib import Path

from compressor import diff, prune, save
from compressor.channels.plan import PruningPlan

SOURCE = Path(__file__).parents[1] / "models" / "digits-resnet.onnx"


def main(folder: Path) -> None:
    first, again, plan_file = folder / "first.onnx", folder / "again.onnx", folder / "plan.json"

    result = prune(SOURCE, target_macs=0.8, scope="global", criterion="lamp", recover="lstsq")
    save(result, first)
    plan_file.write_text(result.plan.to_json())
    print(f"MACs left: {result.report.output.macs / result.report.input.macs:.1%}")

    plan = PruningPlan.load(plan_file)
    for removal in plan.removals:
        print(f"  {len(removal.indices)} channels of {removal.initializer}, axis {list(removal.axes)}, go")

    save(prune(SOURCE, plan=plan, recover="lstsq"), again)
    differ = diff(first, again).initializers
    print(f"replayed: {'DIFFERENT WEIGHTS' if differ else 'the same weights'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
