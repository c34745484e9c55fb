"""What the reports draw with: lines, and aligned tables that read well at 80 columns."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from compressor.config.target import LATENCY_SLACK
from compressor.core.formatting import count, printable, quantity, share
from compressor.results.detail import LatencyResult, SyntheticRow
from compressor.results.records import ModelStats, ProofResult

_PATHLESS = ("(in memory)", "(not written)")
"""What stands for the path of a model that has no file: of what was read, and of what was made."""

FEW_ROWS = 10
"""Rows shown of a list that is only an illustration; ``verbose`` shows all."""
_WIDEST = 10_000
"""Columns that no name needs."""
INPUTS_NAMED = 3
"""Inputs whose sizes a line names."""
HARDLY = 0.01
"""Nats below which two ranges of pixels are said to be hardly told apart."""


def times_smaller(before: int, after: int) -> str:
    """How many times smaller, or larger, a file is than it was."""
    # A file of no bytes is no model, but must not divide by zero either.
    ratio = before / max(1, after)
    if f"{max(ratio, 1 / max(ratio, 1e-9)):.1f}" == "1.0":
        return "As large on disk as before"
    return f"{1 / ratio:.1f} times larger on disk" if after > before > 0 else f"{ratio:.1f} times smaller on disk"


def line(console: Console, text: str, style: str = "") -> None:
    """Prints a line, whatever characters the names in it hold."""
    # As Text and not as markup: names of nodes hold brackets, which rich would read as styles.
    console.print(Text(printable(text), style=style))


def table(columns: Sequence[str], *, header: bool = True) -> Table:
    """A table without lines: the first column is a name and folds, the others are numbers on the right."""
    made = Table(box=None, show_header=header, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for index, name in enumerate(columns):
        made.add_column(name, justify="right" if index else "left", overflow="fold")
    return made


def add_row(under: Table, *cells: str) -> None:
    """Adds a row to the table."""
    under.add_row(*(Text(printable(cell)) for cell in cells))


def show(console: Console, drawn: Table, title: str = "") -> None:
    """Prints a table below an empty line and its title."""
    console.print()
    if title:
        line(console, title, style="bold")
    console.print(drawn)


def show_whole(console: Console, drawn: Table) -> None:
    """Prints a table below an empty line, names in one piece, for whoever copies them into options: a terminal that is
    too narrow wraps lines, and a file has long ones."""
    drawn.columns[0].no_wrap = True
    wanted = Measurement.get(console, console.options.update(max_width=_WIDEST), drawn).maximum
    console.print()
    # What it is asked to print wider than itself, a console prints at its own width.
    own, console.width = console.width, max(console.width, wanted)
    console.print(drawn, crop=False)
    console.width = own


def rest(console: Console, hidden: int, remedy: str) -> None:
    """Says how many rows are not shown, if any, and how to see them."""
    if hidden > 0:
        line(console, f"  and {hidden:,} more; {remedy}.")


def sizes(console: Console, models: dict[str, ModelStats]) -> None:
    """Prints one column a model, and what is left of the first in the second."""
    stats = list(models.values())
    # There may be one model or two, and either may have no file.
    paths = (item.path or missing for item, missing in zip(stats, _PATHLESS, strict=False))
    line(console, " -> ".join(paths), style="bold")
    drawn = table(("", *models, *(["left"] if len(stats) == 2 else [])), header=len(stats) == 2)
    macs = "MACs (partial)" if any(item.uncounted for item in stats) else "MACs"
    rows = {
        "file size": [(item.bytes, quantity(item.bytes, "B")) for item in stats],
        "parameters": [(item.params, quantity(item.params)) for item in stats],
        macs: [(item.macs, quantity(item.macs)) for item in stats],
        "nodes": [(item.nodes, f"{item.nodes:,}") for item in stats],
    }
    for name, cells in rows.items():
        left = [share(cells[1][0], cells[0][0])] if len(cells) == 2 else []
        add_row(drawn, name, *(text for _, text in cells), *left)
    # Worth a row only where it changed, or where there is one model.
    if len({item.opset for item in stats}) > 1 or len(stats) == 1:
        add_row(drawn, "opset", *(str(item.opset) for item in stats))
    show(console, drawn)
    counted_at(console, stats[0].macs_at)


def noticed_together(proof: ProofResult | None) -> str:
    """Names the groups of which a wrong cut was noticed along with others' only, in a sentence; empty without any."""
    if proof is None or not proof.shifted_together:
        return ""
    return f"A wrong cut was noticed of these together, and not tried of each: {first_names(proof.shifted_together)}."


def first_names(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - FEW_ROWS} more" if len(names) > FEW_ROWS else ""
    return ", ".join(names[:FEW_ROWS]) + more


def targets(console: Console, clauses: Sequence[str]) -> None:
    """Prints a line for each target that was set: what it asked for, and what was reached."""
    for text in clauses:
        line(console, f"Target: {text}.")


def counted_at(console: Console, shapes: Mapping[str, Sequence[int]]) -> None:
    """Says at which sizes of open inputs MACs are counted, if any are open."""
    if text := sizes_counted(shapes):
        line(console, f"{text}.")


def sizes_counted(shapes: Mapping[str, Sequence[int]]) -> str:
    """A sentence on the sizes of open inputs at which MACs are counted; empty where none are open."""
    told = [f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()]
    more = "" if len(told) <= INPUTS_NAMED else f" and {count(len(told) - INPUTS_NAMED, 'more input')}"
    return f"MACs at {', '.join(told[:INPUTS_NAMED])}{more}" if told else ""


def latency(console: Console, found: LatencyResult) -> None:
    """How long a run takes, what was asked for, and how that came about."""
    text = f"Latency: {found.before_ms:.3g} ms before, {found.after_ms:.3g} ms after"
    if found.target_ms is not None:
        text += f", target {found.target_ms:.3g} ms ({_met(found.after_ms / found.target_ms - 1)})"
    text += f"; {found.before_ms / found.after_ms:.3g} times as fast ({found.level:.0%} interval {found.low:.3g} to "
    text += f"{found.high:.3g}; {found.provider})."
    if found.predicted_ms is not None:
        times = count(found.corrections or 0, "time")
        text += f" Operator times promised {found.predicted_ms:.3g} ms, corrected {times}."
    if found.inputs:
        shapes = (f"{printable(name)} {'x'.join(map(str, shape))}" for name, shape in found.inputs.items())
        text += f" Timed at {', '.join(shapes)}."
    line(console, text, style="bold")


def _met(gap: float) -> str:
    """How a latency stands to its target, from the measured gap as a share of it; below 0 where it is faster."""
    if gap > LATENCY_SLACK:
        return f"missed by {gap:.1%}"
    if round(gap, 3) <= 0:
        return f"met, {-gap:.1%} below" if round(gap, 3) else "met"
    return f"met within {gap:.1%}"


def made_up_line(console: Console, made: SyntheticRow) -> None:
    """What stood in for data, the range that its pixels have, and how sure that is."""
    kinds = ", ".join(f"{printable(name)} as {kind}" for name, kind in made.kinds.items())
    text = f"Made-up samples: {kinds}."
    if made.left_open:
        sizes = " and ".join(f"{printable(name)} taken as {size}" for name, size in made.left_open.items())
        text += f" The model leaves sizes open: {sizes}; give those it is used at with --dim or --input-shape."
    if made.range:
        text += f" Pixels: {_pixels(made)}"
    line(console, text)


def _pixels(made: SyntheticRow) -> str:
    """The range of pixels, where it is from, and what else it may be: each once."""
    if made.source == "given":
        return f"{' and '.join(made.limits)}, as given."
    # Most ranges are called by their ends.
    named = [n if n.startswith("[") else f"{n} ({ends})" for n, ends in zip(made.range, made.limits, strict=True)]
    text, other = " and ".join(named), made.runner_up
    if other is None or made.margin is None:
        text += ", by default, as nothing could be read from the network"
    elif other in made.range:
        text += ", each for half of the samples, as the network's behaviour does not tell them apart"
    elif made.margin < HARDLY:
        text += f", which the network's behaviour hardly tells from {other}"
    else:
        text += f", read from the network's behaviour; next best {other}, {made.margin:.3f} nats behind"
    return f"{text}; --mean, --std or --input-range tell another."
