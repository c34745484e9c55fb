"""What came out of a run: records with stable JSON keys; `compressor.render.text` draws them."""

from compressor.results.records import (
    DiffReport,
    Document,
    FrozenRow,
    GroupRow,
    InitializerChange,
    ModelStats,
    NotProvedRow,
    OperatorChange,
    ProofResult,
    Report,
    ScoreHistogram,
)

__all__ = [
    "DiffReport",
    "Document",
    "FrozenRow",
    "GroupRow",
    "InitializerChange",
    "ModelStats",
    "NotProvedRow",
    "OperatorChange",
    "ProofResult",
    "Report",
    "ScoreHistogram",
]
