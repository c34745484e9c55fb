"""Options made from settings: flag, help, default and range come from the fields of `compressor.config`."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from compressor.cli.command import Option
from compressor.config import RunSettings

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Section:
    """A part of the help: its title and the settings in it."""

    title: str
    fields: tuple[str, ...]


AMOUNT = Section(
    "How much to remove",
    (
        "ratio",
        "target_macs",
        "target_params",
        "target_size",
        "target_latency",
        "layer_ratio",
        "max_ratio",
        "round_to",
        "min_channels",
        "lossless",
        "steps",
        "schedule",
    ),
)
LATENCY = Section("Latency", ("batch", "threads", "latency_cache"))
CHOICE = Section(
    "Which channels",
    (
        "criterion",
        "scope",
        "aggregate",
        "normalise",
        "sensitivity",
        "include",
        "exclude",
        "attention",
        "keep_norm_axes",
        "seed",
    ),
)
BLOCKERS = Section("Which channels", ("include", "exclude", "attention", "keep_norm_axes", "lossless"))
BINDING = Section("Graph", ("input_shapes", "dims", "simplify"))
GRAPH = Section("Graph", ("input_shapes", "dims", "simplify", "external_data"))
PROOF = Section("Proof", ("verify", "provider", "rtol", "atol"))
SEEDED_PROOF = Section("Proof", (*PROOF.fields, "seed"))

DATA = Section(
    "Data",
    ("data", "val_data", "val_share", "labels", "mean", "std", "input_range", "layout", "augment", "crop_padding"),
)
RECOVERY = Section("Recovery", ("recover", "decay_epochs", "samples", "batch_size", "trainability", "robustness"))
LOSS = Section("Training: loss", ("loss", "temperature", "alpha", "features", "feature_weight", "output_form"))
OPTIMISER = Section(
    "Training: steps",
    (
        *("epochs", "optimiser", "learning_rate", "momentum", "weight_decay", "warmup", "final_rate"),
        *("clip_norm", "ema", "patience", "train_bn", "insert_bn", "expand", "mean_weights", "sweep"),
    ),
)
DEVICE = Section(
    "Training: running", ("device", "amp", "compile", "checkpoint", "keep_checkpoint", "resume", "metrics")
)
GATES = Section("Gates", ("max_drop", "max_size"))

_OFF = ("verify",)
"""Settings with degrees that are also switched off by a flag of their own."""
_FLAGS = MappingProxyType({"input_shapes": "input-shape", "dims": "dim"})
"""Flags that are not the field's name: what is given many times is named in the singular."""
_METAVARS = MappingProxyType(
    {
        "ratio": "R",
        "max_ratio": "R",
        "layer_ratio": "GLOB=R",
        "block": "BLOCK",
        "layer_block": "GLOB=BLOCK",
        "target_macs": "SHARE",
        "target_params": "SHARE",
        "target_size": "SIZE",
        "target_latency": "TIME",
        "latency_cache": "FOLDER",
        "include": "GLOB",
        "exclude": "GLOB",
        "input_shapes": "NAME:1,3,224,224",
        "dims": "NAME=N",
        "criterion": "NAME",
        "sensitivity": "PATH",
        "ratios": "R[,R]",
        "ladder": "X[,X]",
        "data": "PATH",
        "val_data": "PATH",
        "teacher": "ORIGINAL",
        "val_share": "SHARE",
        "labels": "NAME",
        "mean": "X,X,X",
        "std": "X,X,X",
        "input_range": "LOW,HIGH",
        "augment": "flip,crop",
        "provider_b": "NAME",
        "max_latency": "TIME",
        "checkpoint": "FOLDER",
        "features": "VALUE",
        "output_form": "NAME=FORM",
        "loss": "NAME",
        "device": "NAME",
        "metrics": "PATH",
        "max_drop": "SHARE",
        "max_size": "SIZE",
        "provider": "NAME",
        "disturb": "NAME",
        "corruptions": "NAME[,NAME]",
        "margin": "SHARE",
    }
)


def flag(field: str) -> str:
    """The flag of a setting: ``--target-macs`` for ``target_macs``."""
    return "--" + _FLAGS.get(field, field.replace("_", "-"))


def settings_options(settings: type[RunSettings], *sections: Section) -> Callable[[F], F]:
    """Gives a command one option for every field named, and calls it with one ``settings`` object.

    Values stay text until the settings parse them, so that range and spelling are judged in one place.
    """
    fields = {name: section.title for section in sections for name in section.fields}
    schema = settings.model_json_schema()["properties"]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def parsed(**values: Any) -> Any:
            raw = {name: values.pop(name) for name in fields}
            return function(settings=settings.parse(raw, label=flag), **values)

        for name in reversed(fields):
            if name in _OFF:
                _off(name, fields[name])(parsed)
            _option(name, schema[name], fields[name])(parsed)
        return parsed  # type: ignore[return-value]

    return decorate


def was_given(name: str) -> bool:
    """Whether the user set this parameter of the running command."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def _option(name: str, schema: Mapping[str, Any], section: str) -> Callable[[F], F]:
    text, word = schema["description"], flag(name)
    default, kinds = schema.get("default"), schema.get("anyOf", [schema])
    if any(kind.get("type") == "boolean" for kind in kinds):
        pair = word if default is False else f"{word}/--no-{word[2:]}"
        state = "" if not default else f"  [default: {word[2:]}]"
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
        metavar=_METAVARS.get(name) or "|".join(schema.get("enum", [number])),
        help=text + (f"  [{'; '.join(facts)}]" if facts else ""),
    )


def _off(name: str, section: str) -> Callable[[F], F]:
    """``--no-verify`` for a setting that has a choice called off."""
    return click.option(
        f"--no-{name.replace('_', '-')}",
        name,
        cls=Option,
        section=section,
        flag_value="off",
        default=None,
        help=f"The same as {flag(name)} off.",
    )


def _bounds(schema: Mapping[str, Any]) -> list[str]:
    """The range in words, where the JSON schema states one."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") in ("number", "integer")]
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
