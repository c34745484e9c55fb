"""Settings of a recipe: a model, stages with the settings of their commands, and limits on the result."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from compressor.config.base import RunSettings
from compressor.config.bench import BenchSettings
from compressor.config.choices import STAGES
from compressor.config.data import DataSettings
from compressor.config.gates import GatesSection
from compressor.config.prune import PruneSettings
from compressor.config.section import Section, did_you_mean
from compressor.core.notation import parse_also
from compressor.errors import UsageError

STAGE_GATES: Mapping[str, type[Section]] = MappingProxyType(
    {
        "max_drop": GatesSection,
        "max_size": GatesSection,
        "max_distance": GatesSection,
        "min_speedup": BenchSettings,
        "max_latency": BenchSettings,
    }
)
"""Limit that a stage sets on its own result -> the settings that define it; others mean something else by its name."""

GATES: Mapping[str, type[RunSettings]] = MappingProxyType(
    {
        name: BenchSettings if section is BenchSettings else PruneSettings
        for name, section in STAGE_GATES.items()
        if name != "max_distance"
    }
)
"""Limit on the result of a recipe -> the settings of a command that hold it; ``max_distance`` is of stages alone."""

DATA_SETTINGS = ("data", "val_data")
"""Settings that name a path or a function."""

READ = (*DATA_SETTINGS, "sensitivity", "op_rules", "keep_tokens")
"""Settings that name what a stage reads, so that its result follows from what is there."""

FILES = "also"
"""The setting that names further files of the model, which are read too."""

MANAGED = ("checkpoint", "keep_checkpoint", "resume", "teacher")
"""Settings that a recipe chooses itself: it keeps checkpoints in its work folder and goes on from them, and training
imitates its model."""

_NAME = re.compile(r"[^-]+(-[\w-]+)?")
_SUFFIX = r"(-[\w-]+)?$"


def read_by(settings: RunSettings) -> list[str]:
    """The paths and functions that a stage reads."""
    named = [str(value) for field in READ if (value := getattr(settings, field, None)) is not None]
    return [*named, *(parse_also(text)[0] for text in getattr(settings, FILES, ()))]


def stage_kind(name: str) -> str:
    """The kind of a stage: ``finetune`` for ``finetune`` and ``finetune-2``."""
    # Names of kinds may hold hyphens, too; the longest that fits is meant.
    fitting = [kind for kind in STAGES if name == kind or name.startswith(f"{kind}-")]
    return max(fitting, key=len, default=name.partition("-")[0])


def settings_of(name: str) -> type[RunSettings]:
    """The class of a stage's settings, which are those of the command of that name."""
    found: type[RunSettings] = STAGES.find(stage_kind(name)).settings
    return found


def _stages(value: object) -> object:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"write each as NAME: and below it its settings, where NAME is one of {', '.join(STAGES)}")
    for name, body in value.items():
        # A suffix tells stages of one kind apart.
        if stage_kind(name) not in STAGES or not _NAME.fullmatch(name):
            known = ", ".join(STAGES)
            raise ValueError(f"{name!r} is not a stage{did_you_mean(name, STAGES)} ({known}, or one with -SUFFIX)")
        if body is not None and not isinstance(body, Mapping):
            raise ValueError(f"{name!r} must hold settings, each as NAME: VALUE, not {body!r}")
    return {name: body or {} for name, body in value.items()}


def _gates(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError(f"write each as NAME: LIMIT, where NAME is one of {', '.join(GATES)}")
    for name in value:
        if name not in GATES and name in STAGE_GATES:
            raise ValueError(f"{name!r} is a gate of a stage; put it in the prune stage, or in another that has it")
        if name not in GATES:
            raise ValueError(f"{name!r} is not a gate{did_you_mean(name, GATES)} ({', '.join(GATES)})")
    return value


class Recipe(DataSettings):
    """A recipe. Settings at its top, such as ``data``, hold for every stage that has them and does not set its own."""

    model: str = Field(
        default="",
        min_length=1,
        validate_default=True,
        description="The model to start from. Paths are relative to the folder of the recipe.",
    )
    output: str | None = Field(
        default=None, min_length=1, description="File to write the result to, once all stages and gates are passed."
    )
    report: str | None = Field(default=None, min_length=1, description="HTML file to write a report of the run to.")
    stages: Annotated[dict[str, dict[str, Any]], BeforeValidator(_stages)] = Field(
        default={},
        validate_default=True,
        description="What is done, in this order: settings by stage. A kind that comes again is told apart by a "
        "suffix, such as finetune-2.",
    )
    gates: Annotated[dict[str, Any], BeforeValidator(_gates)] = Field(
        default={}, description="Limits that the result must keep, or it is not written."
    )

    def settings(self) -> dict[str, RunSettings]:
        """The settings of every stage, in order, with those that all share.

        Raises:
            UsageError: a stage has a setting that its command does not, or not of that form.
        """
        # Only what was set, so that defaults stay each command's own.
        shared = self.model_dump(include=set(DataSettings.model_fields), exclude_unset=True)
        found, quantised = {}, None
        for name, own in self.stages.items():
            stage = STAGES.find(stage_kind(name))
            kind = stage.settings
            managed = [field for field in MANAGED if field in own]
            if managed:
                raise UsageError(f"stage {name!r}: a recipe chooses {' and '.join(managed)} itself; leave that out")
            # Later stages would work on weights that are integers by now.
            if stage.real_weights and quantised is not None:
                raise UsageError(
                    f"stage {name!r} comes after {quantised!r}, whose numbers of few bits it would have to make anew; "
                    f"put {quantised!r} last"
                )
            quantised = name if stage.quantises else quantised
            # A stage takes from the top what its command has, and nothing else.
            taken = {field: value for field, value in shared.items() if field in kind.model_fields}
            try:
                found[name] = kind.parse({**taken, **own}, lent=taken.keys() - own.keys())
            except UsageError as error:
                raise UsageError(f"stage {name!r}: {error}") from None
        return found

    def limits(self) -> tuple[PruneSettings, BenchSettings]:
        """The gates, as the settings that hold them: of the file and its accuracy, and of its speed.

        Raises:
            UsageError: a limit is not of the form that it must have.
        """
        by_class = [
            {name: limit for name, limit in self.gates.items() if GATES[name] is kind}
            for kind in (PruneSettings, BenchSettings)
        ]
        try:
            # The metric belongs to the gate, as it says what a drop is counted in.
            return PruneSettings.parse({**by_class[0], "eval": self.eval}), BenchSettings.parse(by_class[1])
        except UsageError as error:
            raise UsageError(f"gates: {error}") from None


class _Written(GenerateJsonSchema):
    """The schema of what people write: where a field reads text, such as 50% or 2.5ms, text is right too."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """What the validator makes, or what it reads."""
        parsed = super().function_before_schema(schema)
        # Of whole settings, which are read from settings.
        if "properties" in parsed:
            return parsed
        known = {kind.get("type") for kind in parsed.get("anyOf", [parsed])}
        forms = ["string", "number", "array", "object"] if known & {"array", "object"} else ["string"]
        return {"anyOf": [parsed, {"type": forms}]}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 -- pydantic's signature
        """Never: a title would only repeat the name."""
        return False


def schema() -> dict[str, Any]:
    """The JSON schema of recipes, for editors and checks (draft 2020-12)."""
    classes: list[type[RunSettings]] = [Recipe, *(settings_of(kind) for kind in STAGES)]
    _, schemas = models_json_schema([(kind, "validation") for kind in classes], schema_generator=_Written)
    definitions = schemas["$defs"]
    whole = definitions.pop("Recipe")
    for definition in definitions.values():
        # Editors must not offer what a recipe refuses.
        for name in MANAGED:
            definition["properties"].pop(name, None)
    own = [name for name in Recipe.model_fields if name not in DataSettings.model_fields]
    # What a recipe starts with comes first, for editors that keep the order.
    whole["properties"] = {name: whole["properties"][name] for name in (*own, *DataSettings.model_fields)}
    whole["required"] = ["model", "stages"]
    for name in whole["required"]:
        # The default is there so that its absence is told in a sentence; in the schema it would make the field
        # optional.
        del whole["properties"][name]["default"]
    whole["properties"]["stages"] = {
        "description": whole["properties"]["stages"]["description"],
        "type": "object",
        "patternProperties": {
            f"^{kind}{_SUFFIX}": {"anyOf": [{"$ref": f"#/$defs/{settings_of(kind).__name__}"}, {"type": "null"}]}
            for kind in STAGES
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    whole["properties"]["gates"] = {
        "description": whole["properties"]["gates"]["description"],
        "type": "object",
        "properties": {name: definitions[kind.__name__]["properties"][name] for name, kind in GATES.items()},
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": definitions}
