"""Settings of one run. Each field states its default, range and help once; the command line, settings
files and the JSON schema follow from here.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import ErrorDetails

from compressor.core.notation import parse_dims, parse_input_shapes
from compressor.errors import UsageError

PROVIDERS = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
    }
)
"""Short name of each provider and its name in ONNX Runtime; others are asked for by their full name."""

_KINDS = MappingProxyType(
    {
        "float": "a number",
        "finite": "a finite number",
        "int": "a whole number",
        "bool": "true or false",
        "string": "text",
        "tuple": "a list",
    }
)
S = TypeVar("S", bound="RunSettings")


def provider_name(value: str) -> str:
    """The short name where there is one, else the full name as given."""
    for short, full in PROVIDERS.items():
        if value.lower() in (short, full.lower()):
            return short
    if value.endswith("ExecutionProvider"):
        return value
    raise ValueError(f"{value!r} is not a provider{did_you_mean(value, PROVIDERS)} ({', '.join(PROVIDERS)})")


def how_thoroughly(value: object) -> object:
    """``verify`` as it was before there were degrees of it: true is all of the proof, false none."""
    if isinstance(value, bool) or value in ("true", "false"):
        return "full" if value in (True, "true") else "off"
    return value


Count = Annotated[int, Field(ge=1)]
Shape = tuple[Count, ...]


class RunSettings(BaseModel):
    """What every run that writes or reads a model shares: binding of shapes, preparation and proof."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    simplify: bool = Field(
        default=True, description="Fold constants and remove dead nodes before anything else."
    )
    input_shapes: Annotated[dict[str, Shape], BeforeValidator(parse_input_shapes)] = Field(
        default={},
        description="Shape of an input, also written NAME:1x3x224x224 or NAME:[1,3,224,224]; repeatable.",
    )
    dims: Annotated[dict[str, Count], BeforeValidator(parse_dims)] = Field(
        default={},
        description="Size to use for a symbolic dimension when counting and proving; repeatable. "
        "The written file keeps it symbolic.",
    )
    external_data: bool | None = Field(
        default=None,
        description="Write the weights to a data file beside the model; by default only when one file "
        "cannot hold them.",
    )
    verify: Annotated[Literal["full", "quick", "off"], BeforeValidator(how_thoroughly)] = Field(
        default="full",
        description="What ONNX Runtime proves before a file is put in place. full: the file as it was read gives what "
        "the prepared graph gives, the result what that gives with the removed channels masked, the written file what "
        "the result gives, and a wrong cut would have been noticed. quick: the result alone.",
    )
    provider: Annotated[str, AfterValidator(provider_name)] = Field(
        default="cpu",
        description=f"Where ONNX Runtime runs the proof: {', '.join(PROVIDERS)} or a provider's full name; "
        "never replaced by another one.",
    )
    rtol: float = Field(
        default=1e-4,
        ge=0,
        description="Error that the proof allows, as a share of the largest value of an output.",
    )
    atol: float = Field(
        default=0.0, ge=0, description="Error that the proof allows on top of that, absolute."
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of everything random: the proof's inputs, the random criterion."
    )

    @property
    def proves(self) -> bool:
        """Is anything proved?"""
        return self.verify != "off"

    @classmethod
    def parse(cls: type[S], values: Mapping[str, object], label: Callable[[str], str] = str) -> S:
        """Builds settings from raw values, such as command-line text or a parsed file.

        Args:
            values: raw value by field name; None stands for "not given".
            label: how the message should call a field; the command line calls it by its flag.

        Raises:
            UsageError: a name or value is not accepted; one sentence, with the nearest valid name.
        """
        try:
            return cls.model_validate({name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            schema = cls.model_json_schema()["properties"]
            # A default that waits for a field which is itself wrong is reported too; it is no second mistake.
            own = [item for item in error.errors() if item["type"] != "default_factory_not_called"]
            raise UsageError("; ".join(_sentence(item, schema, label) for item in own)) from error


class CleanSettings(RunSettings):
    """Settings of a clean-up, which removes no channel."""


def _sentence(error: ErrorDetails, schema: Mapping[str, Any], label: Callable[[str], str]) -> str:
    """One clause that names the field, the fact and, where there is one, the remedy."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "one_amount":
        return f"give only one of {' and '.join(label(name) for name in context['fields'])}"
    if not error["loc"]:
        return str(error["msg"])
    field, *inner = error["loc"]
    if kind == "extra_forbidden":
        return f"unknown setting {field!r}{did_you_mean(str(field), schema)}"
    where = " ".join([label(str(field)), *(part for part in inner if isinstance(part, str))])
    value = error["input"]
    if kind == "value_error":
        return f"{where}: {context['error']}"
    if kind == "literal_error":
        known = schema[str(field)]["enum"]
        hint = did_you_mean(str(value), known)
        return f"{where} does not know {value!r}{hint} (choose from {', '.join(known)})"
    for bound, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        if bound in context:
            return f"{where} must be {words} {context[bound]:g}, not {value}"
    return f"{where} must be {_KINDS.get(kind.split('_')[0], 'something else')}, not {value!r}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest of ``known``, or nothing."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
