"""Prunes one file and says what came of it: python examples/prune_one_file.py [FOLDER]."""

import sys
from pathlib import Path

from compressor import prune, save
from compressor.errors import CompressorError

SOURCE = Path(__file__).parents[1] / "models" / "digits-resnet.onnx"


def main(folder: Path) -> None:
    try:
        result = prune(SOURCE, ratio=0.1, recover="lstsq")
        written = save(result.model, folder / "pruned.onnx")
    except CompressorError as error:  # one sentence, and the exit code of the command line
        sys.exit(f"{error} (exit code {error.exit_code})")
    before, after, proof = result.report.input, result.report.output, result.report.proof
    print(f"MACs       {before.macs:>10,} -> {after.macs:>10,}")
    print(f"parameters {before.params:>10,} -> {after.params:>10,}")
    print(f"bytes      {before.bytes:>10,} -> {written:>10,}")
    print(f"largest difference from the masked original: {proof.max_rel_err:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
