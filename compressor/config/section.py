"""A section of settings: a few settings of one concern, in a class of its own.

A command's settings inherit from the sections that the command has, so that values lie flat on the command line, in
recipes and in Python, while a function asks for the one section that it reads. A field states its default, range and
help once; flags, settings files and the JSON schema follow from it.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from compressor.errors import UsageError

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
S = TypeVar("S", bound="Section")


@dataclass(frozen=True)
class Shown:
    """How a setting looks on the command line, where that does not follow from its name and type.

    Attributes:
        metavar: what stands for its value in the help.
        flag: its flag without dashes; settings that are given many times are named in the singular.
        first: it leads its section in the help; a default that follows from other settings has to be declared after
            them.
        off: it has degrees, one of which is ``off``, and a flag of its own that chooses that one.
    """

    metavar: str | None = None
    flag: str | None = None
    first: bool = False
    off: bool = False


@dataclass(frozen=True)
class Operational:
    """Marks a setting that no result follows from: where a run leaves things for itself, or how it goes about its work.

    It may differ between a run and the one that resumes it, a stage of a recipe need not be run again for it, and a
    written model does not tell of it.
    """


@dataclass(frozen=True)
class Applies:
    """Settings that only some runs read: given to another one, they would be passed over in silence.

    Attributes:
        fields: the settings.
        where: does a run with these settings read them?
        why: why one does not, and what to say instead, as ``fact; remedy``.
    """

    fields: tuple[str, ...]
    where: Callable[[Any], bool]
    why: str


class Section(BaseModel):
    """What all sections share: they are frozen, and know no setting but their own."""

    # Frozen, since several parts hold one object; schemas are built when first needed, as a command uses few classes.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    title: ClassVar[str] = ""
    """Heading of the section in the help of a command."""
    applies: ClassVar[tuple[Applies, ...]] = ()
    """Which settings are read where; what a class says stands beside what its bases say."""

    def given(self, *names: str) -> bool:
        """Did somebody give one of these settings? Those that :meth:`resolved` filled in do not count."""
        return not self.model_fields_set.isdisjoint(names)

    def resolved(self: S, **choices: object) -> S:
        """A copy with what was chosen for settings that were left open: they are still not given."""
        made = self.model_copy(update=choices)
        # model_copy counts what it updates as given, and later defaults depend on what was.
        made.__pydantic_fields_set__ = set(self.model_fields_set)
        return made

    def as_by_default(self) -> list[str]:
        """Names of the settings that are as they would be if nobody had given them."""
        fields, values = type(self).model_fields.items(), dict(self)
        return [n for n, f in fields if values[n] == f.get_default(call_default_factory=True, validated_data=values)]

    def demand_applicable(self, label: Callable[[str], str] = str, lent: Collection[str] = ()) -> None:
        """Every setting that was given says something, but for those that are ``lent``: given to many runs at once.

        Raises:
            UsageError: one says nothing in a run with the others; one sentence, in which ``label`` names it.
        """
        for each in (each for base in type(self).__mro__ for each in vars(base).get("applies", ())):
            names = [label(name) for name in each.fields if name not in lent and self.given(name)]
            if names and not each.where(self):
                raise UsageError(f"{' and '.join(names)}: {each.why}, or drop {'it' if len(names) == 1 else 'them'}")

    @classmethod
    def own_fields(cls) -> tuple[str, ...]:
        """Names of the settings that this class declares itself, in order."""
        return tuple(name for name in cls.__annotations__ if name in cls.model_fields)

    @classmethod
    def asides(cls) -> frozenset[str]:
        """Names of the settings that are marked :class:`Operational`."""
        return frozenset(name for name, field in cls.model_fields.items() if Operational() in field.metadata)

    @classmethod
    def sections(cls) -> "tuple[type[Section], ...]":
        """The sections that these settings are composed of, in the order in which they are named."""
        # A class that only composes others has no title, and is no section.
        return tuple(base for base in cls.__mro__ if issubclass(base, Section) and "title" in vars(base) and base.title)

    @classmethod
    def parse(
        cls: type[S],
        values: Mapping[str, object],
        label: Callable[[str], str] = str,
        lent: Collection[str] = (),
    ) -> S:
        """Builds settings from raw values, such as command-line text or a parsed file.

        Args:
            values: raw value by field name; None stands for "not given".
            label: how the message should call a field; the command line calls it by its flag.
            lent: names of those that hold for several runs: not every run has to read them, and they give way to
                others that they contradict.

        Raises:
            UsageError: a name or value is not accepted, or says nothing; one sentence, with the nearest valid name.
        """
        try:
            # Not given and given as None are the same on the command line.
            made = cls._yielding({name: value for name, value in values.items() if value is not None}, lent)
        except ValidationError as error:
            schema = cls.model_json_schema()["properties"]
            # A default that waits for a field which is itself wrong is reported too; it is no second mistake.
            own = [item for item in error.errors() if item["type"] != "default_factory_not_called"]
            raise UsageError("; ".join(_sentence(item, schema, label) for item in own)) from error
        # What comes out of a report, or of a script, says of many settings what would be so anyway.
        made.demand_applicable(label, {*lent, *made.as_by_default()})
        return made

    @classmethod
    def _yielding(cls: type[S], given: Mapping[str, object], lent: Collection[str]) -> S:
        """Settings without those that are ``lent`` and contradict others; two that are both lent stay a mistake."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            told = _contradiction(error)
            weak = {name: value for name, value in given.items() if name in lent}
            if told is None or told == cls._contradiction_of(weak):
                raise
            for name in weak:
                rest = {other: value for other, value in given.items() if other != name}
                if cls._contradiction_of(rest) != told:
                    return cls._yielding(rest, lent)
            raise

    @classmethod
    def _contradiction_of(cls, given: Mapping[str, object]) -> str | None:
        try:
            cls.model_validate(given)
        except ValidationError as error:
            return _contradiction(error)
        return None


def _contradiction(error: ValidationError) -> str | None:
    """What is said of settings that are right each and do not go together; None where a single one is wrong."""
    items = error.errors()
    # A fault of all settings together has no place among them.
    return None if any(item["loc"] for item in items) else str([(item["msg"], item.get("ctx")) for item in items])


def _sentence(error: ErrorDetails, schema: Mapping[str, Any], label: Callable[[str], str]) -> str:
    """One clause that names the field, the fact and, where there is one, the remedy."""
    kind, context = error["type"], error.get("ctx", {})
    # The validator hands over names, since it does not know how the caller calls them.
    if kind == "one_amount":
        return f"give only one of {' and '.join(label(name) for name in context['fields'])}"
    # Errors of the whole object have no field to name.
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
        facts = schema[str(field)]
        known = [name for form in (facts, *facts.get("anyOf", ())) for name in form.get("enum", ())]
        hint = did_you_mean(str(value), known)
        return f"{where} does not know {value!r}{hint} (choose from {', '.join(known)})"
    for bound, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        if bound in context:
            return f"{where} must be {words} {context[bound]:g}, not {value}"
    return f"{where} must be {_KINDS.get(kind.split('_')[0], 'something else')}, not {value!r}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest of ``known``, or nothing."""
    # Case is no mistake, and the bound is low because a wrong hint costs little.
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
