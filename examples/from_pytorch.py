"""From a torch module to a pruned ONNX file, without a file in between: python examples/from_pytorch.py [FOLDER]"""

import sys
from pathlib import Path

import torch

import compressor


def main(folder: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3)).eval()
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        net, (torch.zeros(2, 3, 8, 8),), dynamo=True, dynamic_shapes=({0: batch},), input_names=["x"], verbose=False
    )
    assert program is not None
    result = compressor.prune(program.model, ratio=0.5, round_to=1)
    print(result)
    print(f"{compressor.save(result, folder / 'from_pytorch.onnx'):,} bytes written")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
