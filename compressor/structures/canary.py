"""Would a layer that is written wrongly have been noticed? Its new weights are shifted on purpose, layer by layer.

Outputs that rounding decides, such as saturated ones, meet a standard that a small fault meets too; then what each
layer computes is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.core.compare import Tolerance
from compressor.errors import ModelError, tool_fault
from compressor.pruning.proofs.outputs.evidence import Noticed, NotProved
from compressor.pruning.proofs.outputs.standard import Standard, moved_runs, noise_of
from compressor.pruning.proofs.versions import Versions
from compressor.pruning.proofs.wrong_models import in_parts, is_noticed, sharing, tried_in_parts, values_inside
from compressor.runtime.outputs import giving
from compressor.structures.apply import Changed, ChangedLayer

COARSE_ROUNDING = 0.01
"""Share of a value's range from which on what rounding explains could hide a fault."""
ROUGH = "rounding decides its values, so that a small fault would not be seen"
WEIGHTS_UNSEEN = (
    "neither an output nor what it computes moves when the weights that it was written as are shifted by one"
)


def try_wrong_weights(changed: Changed, standard: Standard, folder: Path, provider: str) -> Noticed:
    """Makes each layer wrong, and says of which that was noticed.

    Args:
        changed: the model and its layers.
        standard: the standard that it met.
        folder: where files may be put.
        provider: where they are run.

    Raises:
        ProofFailed: values inside differ, where outputs say little.
    """
    layers = [layer for layer in changed.layers if layer.weights]
    versions = sharing(Versions(changed.model, folder, provider), [layer.weights[-1] for layer in layers], standard)
    alone = versions.count_alone(len(layers))
    found = tried_in_parts(
        in_parts(layers, lambda layer: layer.weights[-1], alone),
        lambda part: is_noticed(partial(versions.open, _shifted(changed.model, part)), standard),
    )
    # What rounding explains of outputs may be more than a small fault, even where a large one is noticed.
    doubtful = layers if standard.noise else found.blind
    inside = _Inside(changed, standard, folder, provider)
    missing = inside.unproved(doubtful, found.blind) if doubtful else []
    unproved = {item.group for item in missing}
    count = found.count + sum(layer.node not in unproved for layer in found.blind)
    return Noticed(count, missing, [layer.node for layer in found.together if layer.node not in unproved])


@dataclass(frozen=True)
class _Inside:
    """What layers compute, compared where outputs say little; fields as the arguments of :func:`try_wrong_weights`."""

    changed: Changed
    standard: Standard
    folder: Path
    provider: str

    def unproved(self, layers: Sequence[ChangedLayer], blind: Sequence[ChangedLayer]) -> list[NotProved]:
        """The layers of which values inside tell no more; those that are ``blind`` must not hide a wrong cut there.

        Raises:
            ProofFailed: a layer computes something else than the whole one.
        """
        made = {str(node.name): str(node.outputs[0].name) for node in self.changed.reference.graph}
        names = [made[layer.node] for layer in layers]
        feeds = self.standard.runs.feeds[:1]
        whole = values_inside(self.changed.reference, names, feeds, self.folder, self.provider)
        noise = noise_of([(whole.runs, moved_runs(whole, feeds))])
        standard = Standard(whole.runs, Tolerance(self.standard.tolerance.rtol), noise)
        versions = Versions(giving(self.changed.model, names), self.folder, self.provider)
        found = versions.open({}).run(feeds)
        missing = list[NotProved]()
        for place, (layer, gap) in enumerate(zip(layers, standard.distances(found)[0], strict=True)):
            if not gap.passed:
                raise tool_fault(
                    f"no output shows it, but what layer {layer.node!r} computes is off by {gap.max_rel:.2g} of its "
                    f"range"
                )
            if gap.tolerance > COARSE_ROUNDING:
                missing.append(NotProved(layer.node, ROUGH))
            elif layer in blind:
                try:
                    wrong = versions.open(_shifted(self.changed.model, [layer])).run(feeds)
                    seen = not standard.distances(wrong)[0][place].passed
                except ModelError:
                    # It was made wrong here, so that it is nobody's model, and shows nothing.
                    seen = False
                missing += [] if seen else [NotProved(layer.node, WEIGHTS_UNSEEN)]
        return missing


def _shifted(model: ir.Model, layers: Sequence[ChangedLayer]) -> dict[str, ir.TensorProtocol]:
    """A weight of each of these layers that is off by one."""
    found: dict[str, ir.TensorProtocol] = {}
    for layer in layers:
        # One weight is enough; of two factors the last one gives the output.
        name = layer.weights[-1]
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        array = tensor.numpy()
        # Along the longest axis, as one of size one would not move at all.
        found[name] = ir.tensor(np.roll(array, 1, axis=int(np.argmax(array.shape))), name=name)
    return found
