"""``onnx-compress run RECIPE``: stages in a row, each kept once it is finished, with gates on the result."""

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from compressor.cli.command import CONTEXT_SETTINGS, EXIT_CODES, Command, resumable
from compressor.cli.console import View, card_option, output_option, view_options
from compressor.cli.paths import check_destinations, results_beside
from compressor.config.choices import STAGES
from compressor.core.formatting import printable

if TYPE_CHECKING:
    from compressor.recipe.run import RecipeOptions

F = TypeVar("F", bound=Callable[..., Any])

_HELP = f"""Run the stages that a recipe lists, in order: {", ".join(STAGES)}. What one makes, the next one
takes. A stage that had finished with the same inputs and settings is not run again, so that an interrupted run goes on
where it stopped when it is started again.

The result is put in place when all stages and gates are passed.
"""
_EPILOG = f"""\b
Examples:
  onnx-compress run recipe.yaml
  onnx-compress run recipe.yaml --dry-run
  onnx-compress run recipe.yaml --set prune.target_macs=40% --set seed=1
  onnx-compress run recipe.yaml --from unify
  onnx-compress run --schema > recipe.schema.json

\b
On 6 and 5 the result is not written either; it stays in the work folder.

{EXIT_CODES}"""


CARD_LEFT_OUT = "no card was written: --card describes the file that is put in place, and none was"


def _print_schema(context: click.Context, option: click.Parameter, value: bool) -> None:  # noqa: ARG001 -- click's signature
    if not value or context.resilient_parsing:
        return
    from compressor.config.recipe import schema

    click.echo(json.dumps(schema(), indent=2))
    context.exit()


def how_options(function: F) -> F:
    """Gives the command the options that say how the stages are run, and calls it with one record of ``options``."""

    @functools.wraps(function)
    def told(*, work: Path | None, start: str | None, dry_run: bool, **values: Any) -> None:
        from compressor.recipe.run import RecipeOptions

        function(options=RecipeOptions(work=work, start=start, dry_run=dry_run), **values)

    # Options appear in the help in reverse order of decoration.
    for option in (
        output_option(
            "--dry-run", section="Recipe", is_flag=True, help="Check the recipe and say which stages would run."
        ),
        output_option(
            "--work",
            section="Recipe",
            metavar="FOLDER",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where the results of stages are kept.  [default: .onnx-compressor beside the output]",
        ),
        output_option(
            "--from",
            "start",
            section="Recipe",
            metavar="STAGE",
            help="Run this stage and all after it again, even if they had finished.",
        ),
    ):
        option(told)
    return cast("F", told)


@click.command("run", cls=Command, context_settings=dict(CONTEXT_SETTINGS), help=_HELP, epilog=_EPILOG)
@click.argument("recipe", metavar="RECIPE", type=click.Path(path_type=Path))
@output_option(
    "--set",
    "changes",
    section="Recipe",
    metavar="KEY=VALUE",
    multiple=True,
    help="Run as if the recipe said so, such as output=b.onnx, prune.ratio=0.3 or gates.max_drop=1%; repeatable.",
)
@how_options
@output_option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON schema of recipes.",
)
@card_option
@view_options
def run_command(
    *,
    recipe: Path,
    changes: tuple[str, ...],
    card_to: Path | None,
    options: "RecipeOptions",
    view: View,
) -> None:
    """Runs a recipe; see ``_HELP``."""
    from compressor.config.recipe import FILES
    from compressor.recipe.progress import ResolvedRecipe
    from compressor.recipe.reading import read_recipe
    from compressor.recipe.run import run_recipe
    from compressor.render.card import write_card
    from compressor.render.recipe import render_recipe

    def tell(text: str) -> None:
        if not view.quiet:
            click.echo(printable(text), err=True)

    options = replace(options, line=tell, phases=view.phases)
    resolved = ResolvedRecipe.of(recipe, read_recipe(recipe, changes))
    written = {"output": resolved.output, "report": resolved.html, "--json": view.json_to, "--card": card_to}
    if resolved.output is not None:
        texts = {text for settings in resolved.stages.values() for text in getattr(settings, FILES, ())}
        # By their places, as stages may take the same file in other words.
        beside = {place: what for what, place in results_beside(resolved.output, sorted(texts)).items()}
        written |= {what: place for place, what in beside.items()}
    check_destinations(resolved.sources(), written, dry_run=options.dry_run)

    kept = options.work or options.beside(resolved)
    resumable(lambda: f"What was finished is kept in {kept}; run the same command again to go on, inside training too.")
    outcome = run_recipe(resolved, options)
    warnings = list(outcome.report.warnings)
    if card_to is not None and outcome.error is None:
        write_card(card_to, None if options.dry_run else resolved.output, outcome.report)
    elif card_to is not None:
        warnings.append(CARD_LEFT_OUT)
    # Also after a failure: the report says which stages were done, and what stopped the run.
    view.show(outcome.report, warnings, lambda console: render_recipe(outcome.report, console))
    if outcome.error is not None:
        raise outcome.error
