"""Why channels have to stay: python examples/why_frozen.py [FOLDER].

Writes a copy of a model that hands out an inner feature map as a second output, as detection backbones do,
and shows what that freezes: the channels of that output, and with them every layer that is added to it.
"""

import sys
from pathlib import Path

import onnx

from compressor import inspect

SOURCE = Path(__file__).parents[1] / "models" / "digits-resnet.onnx"


def with_feature_output(target: Path) -> Path:
    """The model with the result of its third Relu as an output."""
    model = onnx.load(SOURCE)
    feature = [node.output[0] for node in model.graph.node if node.op_type == "Relu"][2]
    model.graph.output.append(next(info for info in model.graph.value_info if info.name == feature))
    onnx.save(model, target)
    return target


def main(folder: Path) -> None:
    for model in (SOURCE, with_feature_output(folder / "with-feature.onnx")):
        report = inspect(model)
        channels = sum(group.channels for group in report.groups)
        print(f"{model.name}: {channels} channels can go")
        for row in report.frozen:
            print(f"  {row.channels} channels of {row.value} stay: {row.reason}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
