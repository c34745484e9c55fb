"""Sections: mistakes in one sentence each, with the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

import compressor
from compressor.config.section import Applies, Operational, Section, Shown, did_you_mean
from compressor.errors import UsageError


class Colours(Section):
    title: ClassVar[str] = "Colours"
    hue: Literal["red", "green"] = "red"
    depth: int = Field(default=8, ge=1, le=16)
    gamma: float = Field(default=2.2, gt=0, lt=4)


class Sizes(Section):
    title: ClassVar[str] = "Sizes"
    width: int = 3
    half: int = Field(default_factory=lambda values: values["width"] // 2)


class Picture(Colours, Sizes):
    """Composed, with no title of its own."""


class Print(Picture):
    """Which reads some settings in some runs only."""

    applies: ClassVar[tuple[Applies, ...]] = (
        Applies(("gamma", "depth"), lambda s: s.hue == "green", "red has one tone; say --hue green"),
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hue": "gren"}, "hue does not know 'gren'; did you mean 'green'? (choose from red, green)"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"depth": 17}, "depth must be at most 16, not 17"),
        ({"gamma": 0}, "gamma must be above 0, not 0"),
        ({"gamma": 4}, "gamma must be below 4, not 4"),
        ({"depth": "much"}, "depth must be a whole number, not 'much'"),
        ({"gamma": "inf"}, "gamma must be a finite number, not 'inf'"),
        ({"widht": 1}, "unknown setting 'widht'; did you mean 'width'?"),
        ({"width": "x"}, "width must be a whole number, not 'x'"),  # and nothing of the default that waits for it
        ({"depth": 0, "hue": "blue"}, "hue does not know 'blue' (choose from red, green); depth must be at least 1"),
    ],
)
def test_a_mistake_is_one_clause(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Picture.parse(values)
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).count(";") == sentence.count(";")


def test_fields_are_called_as_the_caller_calls_them() -> None:
    with pytest.raises(UsageError, match=r"^--depth must be"):
        Picture.parse({"depth": 0}, label=lambda name: f"--{name}")


def test_what_was_given_is_told_from_what_was_chosen() -> None:
    picture = Picture.parse({"hue": "green"})
    assert picture.given("hue")
    assert picture.given("width", "hue")
    assert not picture.given("width")
    chosen = picture.resolved(width=5, hue="red")
    assert (chosen.width, chosen.hue) == (5, "red")
    assert chosen.given("hue")
    assert not chosen.given("width")


def test_what_was_given_is_asked_in_one_way() -> None:
    package = Path(compressor.__file__).parent
    asking = [path for path in package.rglob("*.py") if "fields_set" in path.read_text()]
    assert [path.relative_to(package).as_posix() for path in asking] == ["config/section.py"]


def test_what_would_be_passed_over_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^--gamma: red has one tone; say --hue green, or drop it$"):
        Print.parse({"gamma": 2.1}, label=lambda name: f"--{name}")
    with pytest.raises(UsageError, match=r"^gamma and depth: .*, or drop them$"):
        Print.parse({"gamma": 2.1, "depth": 3})
    assert Print.parse({"gamma": 2.0, "hue": "green"}).gamma == 2.0


def test_what_says_nothing_may_stand_where_it_holds_for_many_runs_or_is_the_default() -> None:
    assert Print.parse({"gamma": 2.0, "depth": 3}, lent=("gamma", "depth")).depth == 3
    with pytest.raises(UsageError, match=r"^depth: "):
        Print.parse({"gamma": 2.0, "depth": 3}, lent=("gamma",))
    assert Print.parse(Print(width=8).model_dump()) == Print(width=8)


def test_none_is_not_given() -> None:
    assert Picture.parse({"width": 9, "depth": None}) == Picture(width=9)
    assert Picture.parse({"width": 9}).half == 4


def test_sections_of_a_composition() -> None:
    assert Picture.sections() == (Colours, Sizes)
    assert Colours.own_fields() == ("hue", "depth", "gamma")
    assert Picture.own_fields() == ()


def test_a_hint_only_where_a_name_is_near() -> None:
    assert did_you_mean("GREN", ("red", "green")) == "; did you mean 'green'?"
    assert did_you_mean("xyz", ("red", "green")) == ""


def test_asides_are_those_that_are_marked() -> None:
    class Work(Section):
        folder: Annotated[str, Shown("FOLDER"), Operational()] = ""
        speed: int = 1

    class Whole(Colours, Work):
        """Composed."""

    assert Whole.asides() == {"folder"}
    assert not Colours.asides()
