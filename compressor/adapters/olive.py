"""Passes for Olive, which runs passes in a row: cleaning, pruning and unification of ONNX models.

Olive finds passes in its package configuration; :func:`package_config` is its own with these added::

    from olive.workflows import run
    from compressor.adapters.olive import package_config

    run("config.json", package_config=package_config())

On the command line, ``python -m compressor.adapters.olive > package.json``, then ``olive run --config config.json
--package-config package.json``. A pass takes the settings of the command of its name::

    "passes": {"prune": {"type": "OnnxCompressorPrune", "settings": {"ratio": 0.3, "round_to": 8}}}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.package_config import OlivePackageConfig
from olive.passes import Pass
from olive.passes.pass_config import PassConfigParam

import compressor
from compressor.errors import UsageError

_MODULE = "compressor.adapters.olive"


class _CompressorPass(Pass):  # type: ignore[misc, unused-ignore] # Olive is untyped
    """What the passes share: their settings, and where they read and write."""

    command: ClassVar[str]

    @classmethod
    def _default_config(cls, accelerator_spec: Any) -> dict[str, PassConfigParam]:  # noqa: ARG003 -- Olive's signature
        text = f"Settings of onnx-compress {cls.command}, by the names of compressor.{cls.command}."
        return {"settings": PassConfigParam(type_=dict, default_value={}, description=text)}

    def _run_for_config(self, model: Any, config: Any, output_model_path: str) -> ONNXModelHandler:
        if not isinstance(model, ONNXModelHandler):
            raise UsageError(f"{type(self).__name__} takes an ONNX model, not {type(model).__name__}; convert it first")
        place = Path(resolve_onnx_path(output_model_path))
        place.parent.mkdir(parents=True, exist_ok=True)
        result = getattr(compressor, self.command)(str(model.model_path), **(config.settings or {}))
        compressor.save(result, place)
        place.with_name("onnx-compressor.json").write_text(result.report.to_json(), encoding="utf-8")
        return ONNXModelHandler(model_path=str(place))


class OnnxCompressorClean(_CompressorPass):
    """Removes what the outputs do not need."""

    command = "clean"


class OnnxCompressorPrune(_CompressorPass):
    """Removes channels with everything that depends on them; proved before the file is there."""

    command = "prune"


class OnnxCompressorUnify(_CompressorPass):
    """Makes blocks of weights share one absolute value, stored packed."""

    command = "unify"


PASSES: tuple[type[_CompressorPass], ...] = (OnnxCompressorClean, OnnxCompressorPrune, OnnxCompressorUnify)


def package_config() -> dict[str, Any]:
    """Olive's own package configuration with the passes of this module."""
    found: dict[str, Any] = json.loads(Path(OlivePackageConfig.get_default_config_path()).read_text(encoding="utf-8"))
    anything = {
        "supported_providers": ["*"],
        "supported_accelerators": ["*"],
        "supported_precisions": ["*"],
        "supported_algorithms": [],
        "supported_quantization_encodings": [],
    }
    for each in PASSES:
        found["passes"][each.__name__] = {"module_path": f"{_MODULE}.{each.__name__}", **anything}
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(package_config(), indent=2) + "\n")
