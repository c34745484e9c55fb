"""What all results have in common that hold a model."""

from __future__ import annotations

import os
from pathlib import Path

import onnx_ir as ir

from compressor.graph.disk import files
from compressor.results.base import Summarised


class ModelResult(Summarised):
    """A result that holds the model that was made.

    Attributes:
        model: what was made.
        report: what was done to make it.
    """

    model: ir.Model
    report: Summarised

    def save(self, path: str | os.PathLike[str]) -> int:
        """Writes the model, whole or not at all, and replaces a file that is there; returns its bytes.

        Raises:
            UsageError: the place cannot be written to, or is a file that the model reads its weights from.
            ModelError: the model cannot be written.
        """
        return files.save_model(self.model, Path(path))

    def headline(self) -> list[tuple[str, str]]:
        """That of the report."""
        return self.report.headline()


class ProvedResult(ModelResult):
    """A result whose making is proved, unless ``verify="off"``.

    Attributes:
        evidence: what was compared of the model exactly as it is, the last of ``report.proof``; None where its weights
            were fitted or trained after what was proved, or nothing was.
    """

    evidence: object

    @property
    def proved(self) -> bool:
        """Did the proof of how the model was made pass?

        ``report.proof`` says what was compared with what, how closely, and of which parts nothing is claimed; where
        weights were rebuilt or trained afterwards, it is of the cut before that.
        """
        proof = getattr(self.report, "proof", None)
        return bool(proof is not None and proof.passed)
