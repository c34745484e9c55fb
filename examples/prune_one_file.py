"""Prunes one file and says what came of it: python examples/prune_one_file.py [FOLDER]."""

import sys
from pathlib import Path

from compressor.config import PruneSettings
from compressor.errors import CompressorError
from compressor.pipeline import prune_file

SOURCE = Path(__file__).parents[1] / "models" / "digits-resnet.onnx"


def main(folder: Path) -> None:
    output = folder / "pruned.onnx"
    try:
        report = prune_file(SOURCE, output, PruneSettings(ratio=0.1)).report
    except CompressorError as error:  # one sentence, and the exit code of the command line
        sys.exit(f"{error} (exit code {error.exit_code})")
    print(f"MACs        {report.input.macs:>10,} -> {report.output.macs:>10,}")
    print(f"parameters  {report.input.params:>10,} -> {report.output.params:>10,}")
    print(f"bytes       {report.input.bytes:>10,} -> {report.output.bytes:>10,}")
    print(f"largest difference from the masked original: {report.proof.max_rel_err:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
