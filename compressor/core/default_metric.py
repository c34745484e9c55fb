"""The name of the metric that models are judged by where none is asked for."""

from __future__ import annotations

DEFAULT_METRIC = "top-1"
"""What labels are taken for where no metric is asked for: numbers of classes. Texts call its values accuracy."""
