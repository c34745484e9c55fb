"""Records of what only some runs measure: costs by layer, recovery, accuracy, latency, curves, surroundings."""

from math import copysign, inf

from pydantic import Field

from compressor.core.formatting import count, percentage, portion
from compressor.core.intervals import LEVEL
from compressor.core.notation import Percent
from compressor.results.base import Record


class LayerRow(Record):
    """What one node costs before and after; a node that only one of the models has leaves the other side null."""

    name: str = Field(description="Name of the node, or of its first output where the node has none.")
    op_type: str
    weight: str = Field(default="", description="The weight it multiplies with; empty where it has none.")
    macs_before: int | None = Field(description="Multiply-accumulates of one sample in the original.")
    macs_after: int | None = Field(description="Multiply-accumulates of one sample in the result.")
    ms_before: float | None = Field(
        default=None, description="Milliseconds of one run in the original, with what follows up to the next layer."
    )
    ms_after: float | None = Field(default=None, description="Milliseconds of one run in the result.")
    ms_noise: float | None = Field(
        default=None, description="What two measurements of one of the models are apart, at least what timers resolve."
    )

    @property
    def time_tells(self) -> bool:
        """Are the times of both models further apart than measurements of one?"""
        if self.ms_noise is None:
            return False
        return abs((self.ms_before or 0.0) - (self.ms_after or 0.0)) > self.ms_noise


class RecoveryRow(Record):
    """How far the output of one layer is from the original's, before and after recovery."""

    name: str
    error_before: float = Field(description="Relative error after the cut.")
    error_after: float = Field(description="Relative error after recovery.")


class UndoneRow(Record):
    """Training that was thrown away, as nothing that came of it was better than the weights from before."""

    what: str = Field(description="Such as: training.")
    measure: str = Field(description="What decided: loss, a metric, or the distance of outputs.")
    on: str = Field(description="The samples that it was measured on, in words.")
    before: float = Field(description="Of the weights that were kept.")
    after: float | None = Field(description="The best that came of it; null where nothing was judged.")
    seconds: float | None = Field(default=None, description="That it took; null where that is not known.")

    def __str__(self) -> str:
        """In a sentence without its full stop."""
        later = "none was judged" if self.after is None else f"{self.after:.4g} at best after it"
        took = "" if self.seconds is None else f" ({self.seconds:.1f} s)"
        numbers = f"{self.measure} {self.before:.4g} before, {later}, on {self.on}{took}"
        return f"{self.what} was no better and is undone, the weights from before are kept: {numbers}"


class SyntheticRow(Record):
    """Samples that were made up because no data was given."""

    kinds: dict[str, str] = Field(description="Kind of data by input, such as image, tokens, mask.")
    range: list[str] = Field(
        description="Range of pixel values by name; two, each for half of the samples, where they could not be told "
        "apart; none where no input takes floating-point pixels."
    )
    limits: list[str] = Field(description="The lowest and the highest value of each range, in words.")
    source: str | None = Field(
        description="Where the range is from: given; behaviour, read from the network; type, where bytes leave no "
        "choice; default, where nothing could be read. Null without pixels."
    )
    runner_up: str | None = Field(default=None, description="The next best range; null where none was read.")
    margin: float | None = Field(
        default=None, description="Score of the best range less that of the next, in nats; null where none was read."
    )
    scores: dict[str, float | None] = Field(default={}, description="Score of each range that was tried, best first.")
    normalised_inside: list[str] = Field(
        default=[], description="Inputs of pixels that the graph itself shifts and scales before anything else."
    )
    sharpened: int = Field(
        default=0, description="Samples that were moved towards a class each, of which the model is sure then."
    )
    left_open: dict[str, int] = Field(
        default={}, description="Sizes that neither the model nor the user tells, as they were chosen, by symbol."
    )


LEAST_JUDGED, LEAST_MISSED = 30, 5
"""Samples from which on an original that is no better than one label for all is told of, and one that is right on none;
fewer may be so by chance."""
CLASSES_TOLD = 3
"""Folders whose numbers are told."""


class AccuracyRow(Record):
    """One metric of the original and the result."""

    metric: str = Field(description="As --eval names it, such as top-1 or map.")
    before: float = Field(description="Of the original.")
    pruned: float | None = Field(default=None, description="Straight after the cut, where recovery follows.")
    after: float = Field(description="Of the result.")
    samples: int | None = Field(default=None, description="Samples it was measured on.")
    low: float | None = Field(
        default=None,
        description=f"Lower end of the {LEVEL:.0%} interval of the result; null where nothing is counted.",
    )
    high: float | None = Field(default=None, description="Upper end of the interval; null with the lower one.")
    share: bool = Field(default=True, description="Values are shares between 0 and 1.")
    higher_is_better: bool = Field(default=True, description="The direction of the metric.")
    relative: bool = Field(default=False, description="What is lost is counted as a share of the original's value.")
    frequent: float | None = Field(
        default=None, description="Share of the most frequent label, of top-1; null where it is not known."
    )
    classes: dict[str, int] = Field(
        default={}, description="Number of each class by the name of its folder; of images in folders, else empty."
    )

    @property
    def baseless(self) -> str:
        """Why nothing can be judged by such labels, in a sentence; empty where it can."""
        return self.baseless_of("the original")

    def baseless_of(self, who: str) -> str:
        """The same, where ``before`` is not of an original but of ``who``."""
        right, least = self.before, LEAST_JUDGED if self.before else LEAST_MISSED
        known = self.frequent is not None and self.samples is not None and self.samples >= least
        if not known or self.frequent is None or right > self.frequent or right == 1:
            return ""
        some = [f"{name} is {number}" for name, number in list(self.classes.items())[:CLASSES_TOLD]]
        more = ["..."] if len(self.classes) > len(some) else []
        folders = f" (folders are numbered by name: {', '.join(some + more)})" if some else ""
        return (
            f"{who} is right on {right:.1%}, no better than always naming the most frequent label ({self.frequent:.1%})"
            f": check labels, the order of classes{folders}, and --mean and --std"
        )

    @property
    def beyond_one_label(self) -> bool:
        """Is the result right clearly more often than always naming the most frequent label: by its whole interval?"""
        return self.frequent is not None and self.low is not None and self.low > self.frequent

    @property
    def lost(self) -> float:
        """How much worse the result is; below 0 where it is better."""
        return self._lost(relative=self.relative)

    def lost_by(self, limit: float) -> float:
        """How much worse the result is, as a limit on it counts: per cent of what is no share are of the original's."""
        return self._lost(relative=self.counts_relative(limit))

    def counts_relative(self, limit: float) -> bool:
        """Does a limit count a share of the original's value?"""
        return self.relative or (isinstance(limit, Percent) and not self.share)

    def _lost(self, *, relative: bool) -> float:
        difference = self.before - self.after if self.higher_is_better else self.after - self.before
        if not relative or not difference:
            return difference
        # Of nothing any loss is more than every share.
        return difference / abs(self.before) if self.before else copysign(inf, difference)


class Share(Record):
    """A number of the result that would be 0 or 1 if outputs were the original's, with an interval of LEVEL."""

    output: str = Field(description="Name of the output.")
    cut: float | None = Field(default=None, description="Straight after the cut, where recovery followed.")
    value: float = Field(description="Of the result.")
    low: float | None = Field(description="Lower end of the interval; null where one sample tells none.")
    high: float | None = Field(description="Upper end of the interval; null with the lower one.")


RUINED_AGREEMENT, RUINED_DISTANCE = 0.6, 0.6
"""Agreement of the largest class below which, and share of their norm by which, outputs make a model hardly usable."""
TELLING = 0.6
"""Agreement by chance up to which the agreement of two models is a sign of anything: two balanced classes have 0.5."""


def off_by(distance: str, output: str, link: str = "of") -> str:
    """A clause on how far outputs moved; ``output`` names the one that moved most, where there are several, and
    ``link`` stands between the distance and the norm (:func:`compressor.core.formatting.portion`)."""
    if output:
        return f"output {output!r} is off by {distance} {link} its norm, the most of all"
    return f"outputs are off by {distance} {link} their norm"


class OutputsRow(Record):
    """How far the outputs of the result are from those of the original."""

    samples: int = Field(description="Samples that were compared.")
    real: bool = Field(default=False, description="They are the user's; otherwise they are made up.")
    seen: bool = Field(default=False, description="The result was made with them, so that it looks better than it is.")
    distance: Share = Field(description="‖y - y₀‖ / ‖y₀‖ over all samples, of the part of an output that moved most.")
    agreement: Share | None = Field(
        default=None, description="Share of places whose largest class is the same; null without scores of classes."
    )
    chance: float | None = Field(
        default=None,
        description="Share that would agree by chance: the sum of squared shares of the original's classes.",
    )
    compared: int = Field(default=1, description="Outputs that were compared.")
    drawn: list[str] = Field(default=[], description="Outputs that are drawn at random, and not in the comparison.")

    @property
    def farthest(self) -> str:
        """The output that moved most; empty where there is one alone, which needs no name."""
        return self.distance.output if self.compared > 1 else ""

    @property
    def telling(self) -> bool:
        """Has the original classes enough on these samples for an agreement to say something?"""
        return self.chance is None or self.chance <= TELLING

    def headline(self) -> list[tuple[str, str]]:
        """Agreement, where there are scores of classes, and distance, on what they were measured."""
        rows = [("outputs", self.moved_in_words())]
        if self.agreement is not None:
            rows = [("same largest class", percentage(self.agreement.value)), *rows]
        on = count(self.samples, "sample" if self.real else "made-up sample")
        return [(name, f"{text}, on {on}") for name, text in rows]

    @property
    def ruined(self) -> bool:
        """Are outputs so far from the original's that the model is hardly usable? Agreement decides where it tells."""
        if self.agreement is not None and self.telling:
            return self.agreement.value < RUINED_AGREEMENT
        return self.distance.value > RUINED_DISTANCE

    def far_in_words(self) -> str:
        """By what they are told to be far: the agreement where it tells, else the distance."""
        if self.agreement is not None and self.telling:
            return f"the largest class is the original's in {percentage(self.agreement.value)}"
        return self.moved_in_words()

    def moved_in_words(self) -> str:
        """How far outputs moved, in a clause."""
        written, link = portion(self.distance.value)
        return off_by(written(self.distance.value), self.farthest, link)

    @property
    def worse(self) -> bool:
        """Are outputs farther from the original's than straight after the cut, beyond doubt, and no class nearer?"""
        far, near = self.distance, self.agreement
        nearer = near is not None and near.cut is not None and near.value > near.cut
        return not nearer and far.cut is not None and far.low is not None and far.low > far.cut


class TrainabilityRow(Record):
    """Singular values of the Jacobian of the outputs by the inputs, over samples (arXiv 2105.05916)."""

    mean_before: float = Field(description="Mean of the original.")
    mean_after: float = Field(description="Mean of the result.")
    condition_before: float = Field(description="Largest over smallest, of the original.")
    condition_after: float = Field(description="Largest over smallest, of the result.")
    samples: int = Field(description="Samples it was measured on.")


class LatencyResult(Record):
    """Time of one run of both models, measured in turns on the same device."""

    before_ms: float = Field(description="Median of the original.")
    after_ms: float = Field(description="Median of the result.")
    low: float = Field(description="Lower end of the interval of the speed-up.")
    high: float = Field(description="Upper end of the interval of the speed-up.")
    level: float = Field(default=LEVEL, description="Confidence of the interval.")
    provider: str = Field(default="", description="Execution provider.")
    device: str = Field(default="", description="Name of the device.")
    batch: int | None = Field(default=None, description="Samples in one run.")
    inputs: dict[str, list[int]] = Field(default={}, description="Shapes that were run, by input; empty if unknown.")
    target_ms: float | None = Field(default=None, description="What was asked for; null where nothing was.")
    predicted_ms: float | None = Field(default=None, description="What the times of single operators had promised.")
    corrections: int | None = Field(default=None, description="How often the prediction was corrected to get there.")


class Series(Record):
    """One line of a chart."""

    name: str = Field(description="Of the model, such as pruned + fine-tuned.")
    points: list[tuple[float, float]] = Field(description="(x, y) with x rising.")
    bounds: list[tuple[float, float]] = Field(
        default=[], description="Lower and upper end of the interval of each point; empty without intervals."
    )


EPOCHS = "epoch"
"""What stands below the curves of training."""


class Curve(Record):
    """A chart of one or more lines over the same axes."""

    title: str
    x_label: str
    y_label: str
    series: list[Series]
    note: str = Field(default="", description="One sentence on what is seen, and how it was measured.")

    @property
    def of_training(self) -> bool:
        """Does it show how training went? Others show what changes with the inputs."""
        return self.x_label == EPOCHS


class Environment(Record):
    """Where a run took place, as far as results depend on it."""

    python: str
    system: str = Field(description="Operating system and machine type; never the name of the host.")
    device: str = Field(description="The processor or accelerator that ran the models.")
    cores: int | None = Field(default=None, description="Logical cores of the machine.")
    packages: dict[str, str] = Field(default={}, description="Version of each package that counts.")
