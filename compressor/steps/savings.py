"""What every structure could save, for ``inspect``."""

from __future__ import annotations

from collections.abc import Iterator

from compressor.config import PruneSettings
from compressor.config.choices import STRUCTURES
from compressor.pruning.cut.analysis import Analysis
from compressor.results.records import SavingRow
from compressor.steps.offers import offer_of, ranks_of
from compressor.structures.layer.layers import candidate_layers
from compressor.structures.masks.structure import Structure
from compressor.structures.savings import options_by_masks, options_by_rank, savings


def saving_rows(analysis: Analysis, settings: PruneSettings, ratio: float) -> Iterator[SavingRow]:
    """One row for each structure that changes single layers, and each layer in which it saves so much.

    Args:
        analysis: the analysed model.
        settings: which layers, and what ranks and bases are allowed.
        ratio: what goes of a layer at least, as :meth:`compressor.structures.masks.structure.Structure.left` says.
    """
    samples = analysis.shapes.batch
    for name in STRUCTURES:
        structure: Structure = STRUCTURES.find(name)
        # With channels it is a mixture of what stands in other rows.
        if structure.channels or not structure.layers:
            continue
        layers, _ = candidate_layers(
            analysis.model, analysis.coupling, settings.include, settings.exclude, structure.suits
        )
        masks = structure.masks is not None
        options = options_by_masks(offer_of(structure, settings)) if masks else options_by_rank(ranks_of(settings))
        for saving in savings(layers, options, structure.left(ratio)):
            size = saving.size
            yield SavingRow(
                structure=name,
                node=saving.layer.name,
                becomes=saving.option.words,
                lowered=saving.option.small,
                macs_before=round(size.macs / samples),
                macs_after=round(saving.option.macs(size) / samples),
                bytes_before=round(saving.bytes_before),
                bytes_after=round(saving.bytes_after),
            )
