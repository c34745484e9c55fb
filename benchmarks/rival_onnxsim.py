"""Simplifies and prunes an ONNX file with onnxsim: rival_onnxsim.py IN.onnx OUT.onnx RATIO.

L2 magnitude, local. Prints the seconds of each phase as JSON.
"""

import json
import sys
import time
from itertools import pairwise

import onnx
import onnxsim


def main() -> None:
    source, output, ratio = sys.argv[1:]
    marks = [time.perf_counter()]
    model = onnx.load(source)
    marks.append(time.perf_counter())
    model, _ = onnxsim.simplify(model)
    marks.append(time.perf_counter())
    model = onnxsim.apply_structured_pruning(model, sparsity=float(ratio))
    marks.append(time.perf_counter())
    onnx.save(model, output)
    marks.append(time.perf_counter())
    seconds = [round(after - before, 3) for before, after in pairwise(marks)]
    print(json.dumps(dict(zip(("load", "simplify", "prune", "save"), seconds, strict=True))))


if __name__ == "__main__":
    main()
