"""Options made from settings: flag, help, default and range come from the fields of `compressor.config`."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from compressor.cli.command import Option
from compressor.cli.defaults import written_as
from compressor.config.section import Section, Shown
from compressor.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class HelpPart:
    """Some settings under a heading of their own, for commands that show no whole section."""

    title: str
    fields: tuple[str, ...]


def part(section: type[Section], *fields: str, without: tuple[str, ...] = ()) -> HelpPart:
    """Some settings of a section, under its heading: those named, or all but those in ``without``."""
    names = [name for name in fields or section.own_fields() if name not in without]
    return HelpPart(section.title, tuple(sorted(names, key=lambda name: not _shown(section, name).first)))


def flag(settings: type[Section], field: str) -> str:
    """The flag of a setting: ``--target-macs`` for ``target_macs``."""
    return "--" + (_shown(settings, field).flag or field.replace("_", "-"))


def settings_options(settings: type[Section], *sections: type[Section] | HelpPart) -> Callable[[F], F]:
    """Gives a command one option for every setting of the sections, and calls it with one ``settings`` object.

    Without sections they are all that the settings are composed of. Values stay text until the settings parse them, so
    that range and spelling are judged in one place.
    """
    parts = [section if isinstance(section, HelpPart) else part(section) for section in sections or settings.sections()]
    fields = {name: each.title for each in parts for name in each.fields}
    properties = settings.model_json_schema()["properties"]
    off = [name for name in fields if _shown(settings, name).off]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def parsed(**values: Any) -> Any:
            given = {name: values.pop(name) for name in fields}
            for name in off:
                if values.pop(_negated(name)):
                    given[name] = _turned_off(settings, name, given[name])
            raw = {name: None if value == () else value for name, value in given.items()}  # () is how click says so
            # What the environment and the file of defaults say holds for every run of a command.
            context = click.get_current_context()
            source = context.get_parameter_source
            lent = [name for name in fields if source(name) is not ParameterSource.COMMANDLINE]

            def told(name: str) -> str:
                """The flag, and where its value comes from if nobody typed it."""
                label, lender = flag(settings, name), _lender(context, name) if name in fields else ""
                return f"{label} (from {lender})" if lender else label

            made = settings.parse(raw, label=told, lent=lent)
            return function(settings=made, **values)

        # Options appear in the help in reverse order of decoration.
        for name in reversed(fields):
            if name in off:
                _off(settings, name, fields[name])(parsed)
            _option(settings, name, properties[name], fields[name])(parsed)
        return parsed  # type: ignore[return-value]

    return decorate


def _lender(context: click.Context, name: str) -> str:
    """Where the value of a parameter is from that nobody typed: a variable, or a place in a file; empty otherwise."""
    source = context.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        return f"{context.auto_envvar_prefix}_{name.upper()}"
    return written_as(context.command, name) if source is ParameterSource.DEFAULT_MAP else ""


def _shown(settings: type[Section], field: str) -> Shown:
    return next((fact for fact in settings.model_fields[field].metadata if isinstance(fact, Shown)), Shown())


def was_given(name: str) -> bool:
    """Whether the user set this parameter of the running command."""
    source = click.get_current_context().get_parameter_source(name)
    # A value from the file of defaults was not set for this very run.
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def _option(settings: type[Section], name: str, schema: Mapping[str, Any], section: str) -> Callable[[F], F]:
    text, word = schema["description"], flag(settings, name)
    default, kinds = schema.get("default"), schema.get("anyOf", [schema])
    if any(kind.get("type") == "boolean" for kind in kinds):
        pair = word if default is False else f"{word}/--no-{word[2:]}"
        state = "" if not default else f"  [default: {word[2:]}]"
        # No default of click's own: the settings have it, and tell given from not given.
        return click.option(pair, name, cls=Option, section=section, is_flag=True, default=None, help=text + state)
    number = "N" if schema.get("type") == "integer" else "X"
    if schema.get("items", {}).get("type") == "integer":
        number = "N[,N]"
    multiple = schema.get("type") in ("array", "object")
    shown = f"{default:g}" if isinstance(default, float) else default
    facts = [*_bounds(schema), *([f"default: {shown}"] if default not in (None, [], {}) else [])]
    return click.option(
        word,
        name,
        cls=Option,
        section=section,
        multiple=multiple,
        shell_complete=_completion(schema),
        metavar=_shown(settings, name).metavar or "|".join(schema.get("enum", [number])),
        help=text + (f"  [{'; '.join(facts)}]" if facts else ""),
    )


def _completion(schema: Mapping[str, Any]) -> Callable[..., list[CompletionItem]]:
    """What a shell offers for a value: the choices; else files, which is right for paths and harmless for numbers."""
    kinds = [schema, schema.get("items", {}), *schema.get("anyOf", [])]
    choices = [str(value) for kind in kinds for value in kind.get("enum", ())]

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
        if not choices:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(value) for value in choices if value.startswith(incomplete)]

    return complete


def _off(settings: type[Section], name: str, section: str) -> Callable[[F], F]:
    """``--no-verify`` for a setting that has a choice called off."""
    word, text = f"--no-{name.replace('_', '-')}", f"The same as {flag(settings, name)} off."
    return click.option(word, _negated(name), cls=Option, section=section, is_flag=True, help=text)


def _negated(name: str) -> str:
    """The parameter of the flag that turns a setting off; one of its own, or the last of both would silently count."""
    return f"no_{name}"


def _turned_off(settings: type[Section], name: str, given: object) -> str:
    """The choice that turns a setting off; raises UsageError where the command line also asks for another one."""
    if was_given(name) and given not in (None, "off"):
        word = flag(settings, name)
        raise UsageError(
            f"{word} {given} and --no-{name.replace('_', '-')} contradict each other; leave one of them out"
        )
    return "off"


def _bounds(schema: Mapping[str, Any]) -> list[str]:
    """The range in words, where the JSON schema states one."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") in ("number", "integer")]
    # Several ranges, as of a number or a text, are not one in words.
    if len(kinds) != 1:
        return []
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    found = [f"{word} {kinds[0][key]:g}" for key, word in words.items() if key in kinds[0]]
    return [" and ".join(found)] if found else []
