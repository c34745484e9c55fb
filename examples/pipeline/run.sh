#!/usr/bin/env bash
# The steps of workflow.yml, for any other runner; needs onnx-compress (pip install '.[tune,report]').
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
onnx-compress run recipe.yaml --dry-run
onnx-compress run recipe.yaml --json result.json
python ../../models/evaluate.py digits.compressed.onnx
