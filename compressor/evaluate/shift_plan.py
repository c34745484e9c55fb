"""Which shifts inputs are put under: noise on those that hold real numbers, corruptions of those that are images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compressor.config.robustness import RobustnessSettings
from compressor.core.formatting import printable
from compressor.data import InputSpec
from compressor.errors import UsageError
from compressor.evaluate.shifts import Disturbance, Pixels, Range, Shift, disturbable, image_obstacle, pixels, shifts
from compressor.results.robustness import InputRow, LeftOut


@dataclass(frozen=True)
class ShiftPlan:
    """What is done to inputs.

    Attributes:
        inputs: that are disturbed, or could be, for the report.
        disturbance: makes shifted inputs.
        shifts: clean inputs first.
        left_out: what is not done, and why.
        warnings: what the user should know.
    """

    inputs: list[InputRow]
    disturbance: Disturbance
    shifts: list[Shift]
    left_out: list[LeftOut]
    warnings: list[str]


def shift_plan(specs: Iterable[InputSpec], ranges: Mapping[str, Range], settings: RobustnessSettings) -> ShiftPlan:
    """The shifts that the settings ask for, as far as the inputs can take them.

    Args:
        specs: of all inputs.
        ranges: what numbers those hold that can be disturbed.
        settings: amplitudes, corruptions, inputs by name.

    Raises:
        UsageError: an input that was named takes no noise, or ``mean`` and ``std`` lead to no pixels.
    """
    by_name = {spec.name: spec for spec in specs}
    chosen = _chosen(ranges, settings)
    left_out = [
        LeftOut(what=f"noise on {spec.quoted}", reason=reason)
        for name, spec in by_name.items()
        if (reason := _noise_obstacle(spec, chosen.get(name)))
    ]
    known: dict[str, Pixels] = {}
    for name, seen in chosen.items() if settings.data is not None and settings.kinds else ():
        reason = image_obstacle(by_name[name], seen)
        if reason:
            left_out.append(LeftOut(what=f"corruptions of {by_name[name].quoted}", reason=reason))
        else:
            known[name] = pixels(by_name[name], seen, settings)
    warnings = [
        f"what is black and white in {by_name[name].quoted} is not known: {one.origin}; say --mean and --std, and "
        "--normalised if the data is already"
        for name, one in known.items()
        if one.guessed
    ]
    disturbance = Disturbance({name: seen.deviation for name, seen in chosen.items()}, known, settings.seed)
    possible, reasons = shifts(settings, disturbance)
    left_out += [LeftOut(what=name, reason=reason) for name, reason in reasons.items()]
    return ShiftPlan([_row(name, disturbance) for name in ranges], disturbance, possible, left_out, warnings)


def _chosen(ranges: Mapping[str, Range], settings: RobustnessSettings) -> dict[str, Range]:
    """Inputs that noise is added to."""
    unknown = [name for name in settings.disturb if name not in ranges]
    if unknown:
        may = ", ".join(map(printable, ranges)) or "none"
        raise UsageError(f"--disturb {printable(unknown[0])}: no such input takes noise; those that do: {may}")
    return {name: seen for name, seen in ranges.items() if name in (settings.disturb or ranges)}


def _noise_obstacle(spec: InputSpec, seen: Range | None) -> str:
    """Why an input gets no noise; empty where it does."""
    if seen is None:
        return "it was not named by --disturb" if disturbable(spec) else f"it takes {spec.wanted}"
    # Noise is a share of the deviation, which is none here.
    return "" if seen.deviation else "all its numbers are equal"


def _row(name: str, disturbance: Disturbance) -> InputRow:
    known = disturbance.pixels.get(name)
    return InputRow(
        name=name,
        deviation=disturbance.deviations.get(name),
        pixels=None if known is None else known.origin,
    )
