"""Why a small share of the channels saved a large one of the multiply-accumulates."""

from __future__ import annotations

from compressor.results.records import Report

FEW = 3
"""A share of the MACs that is saved takes a word where it is so many times that of the channels that went."""


def few_save_much(report: Report) -> str:
    """A sentence; empty where no word is needed."""
    gone = [group for group in report.groups if group.removed]
    channels, removed = sum(group.channels for group in report.groups), sum(group.removed for group in gone)
    saved = 1 - report.output.macs / report.input.macs if report.output is not None and report.input.macs else 0.0
    if not gone or removed * FEW > saved * channels:
        return ""
    widest = max(gone, key=lambda group: group.removed * len(group.axes))
    return f"A channel of {widest.name} is a slice of {len(widest.axes):,} weights at once, so that few save much."
