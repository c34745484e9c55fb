import json

import pytest
from pydantic import ValidationError

from compressor.config import AMOUNTS, DEFAULT_RATIO, PROVIDERS, CleanSettings, PruneSettings, RunSettings
from compressor.config.choices import CRITERIA
from compressor.config.choosing import ChoosingSettings
from compressor.config.quantize import QuantizeSettings
from compressor.config.sensitivity import SensitivitySettings
from compressor.errors import UsageError


def test_ratio_has_a_default_only_when_nothing_else_says_how_much():
    assert PruneSettings().ratio == DEFAULT_RATIO
    assert PruneSettings(ratio=0).ratio == 0
    for amount in AMOUNTS[1:]:
        assert PruneSettings.parse({amount: 0.25}).ratio is None
    assert PruneSettings(lossless=True).ratio is None


@pytest.mark.parametrize("pair", [("ratio", "target_macs"), ("target_params", "target_size"), ("ratio", "lossless")])
def test_two_amounts_are_refused(pair):
    values = dict.fromkeys(pair, 0.5) if "lossless" not in pair else {"ratio": 0.5, "lossless": True}
    with pytest.raises(UsageError, match=f"give only one of {pair[0]} and {pair[1]}"):
        PruneSettings.parse(values)


def test_no_amount_at_all_is_refused():
    with pytest.raises(ValidationError, match="no ratio and no target"):
        PruneSettings(ratio=None)


def test_none_stands_for_not_given():
    assert PruneSettings.parse({"ratio": None, "external_data": None, "seed": None}) == PruneSettings()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratoi": 0.5}, "unknown setting 'ratoi'; did you mean 'ratio'?"),
        ({"zzz": 0.5}, "unknown setting 'zzz'"),
        ({"ratio": 1}, "ratio must be below 1, not 1"),
        ({"ratio": -0.1}, "ratio must be at least 0, not -0.1"),
        ({"ratio": 50}, "ratio: 50 is more than the whole; for 50 per cent write 0.5"),
        ({"target_macs": "60"}, "target_macs: 60 is more than the whole; for 60 per cent write 0.6"),
        ({"layer_ratio": ["a*=30"]}, "layer_ratio: 30 is more than the whole; for 30 per cent write 0.3"),
        ({"ratio": "100%"}, "ratio must be below 1, not 1"),
        ({"ratio": "5O%"}, "ratio: '5O%' is not a percentage"),
        ({"ratio": float("nan")}, "ratio must be a finite number, not nan"),
        ({"target_macs": 0}, "target_macs must be above 0, not 0"),
        ({"target_macs": "110%"}, "target_macs must be at most 1, not 1.1"),
        ({"target_macs": "much"}, "target_macs must be a number, not 'much'"),
        ({"round_to": 0}, "round_to must be at least 1, not 0"),
        ({"round_to": "x"}, "round_to must be a whole number, not 'x'"),
        ({"seed": 1.5}, "seed must be a whole number, not 1.5"),
        (
            {"criterion": "lampp"},
            f"criterion does not know 'lampp'; did you mean 'lamp'? (choose from {', '.join(CRITERIA)})",
        ),
        ({"provider": "gpu"}, "provider: 'gpu' is not a provider; did you mean 'cpu'? (cpu, cuda, tensorrt)"),
        ({"verify": "maybe"}, "verify does not know 'maybe' (choose from full, quick, off)"),
        ({"input_shapes": {"x": "1,0"}}, "input_shapes x must be at least 1, not 0"),
        ({"dims": ["n=two"]}, "dims n must be a whole number, not 'two'"),
        ({"dims": ["n=1", "n=2"]}, "dims: 'n' is given twice"),
        ({"layer_ratio": ["a*=1.5"]}, "layer_ratio must be below 1, not 1.5"),
        ({"layer_ratio": ["a*"]}, "layer_ratio: 'a*' must be written GLOB=RATIO, such as 'layer4.*=0.3'"),
        ({"scope": "locl", "seed": -1}, "seed must be at least 0, not -1; scope does not know 'locl'"),
    ],
)
def test_messages_are_one_sentence_with_the_remedy(values, message):
    with pytest.raises(UsageError) as caught:
        PruneSettings.parse(values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_command_line_calls_fields_by_their_flags():
    with pytest.raises(UsageError, match=r"^--max-ratio must be below 1, not 1\.5$"):
        PruneSettings.parse({"max_ratio": 1.5}, label=lambda name: "--" + name.replace("_", "-"))


@pytest.mark.parametrize(("short", "full"), PROVIDERS.items())
def test_providers_have_one_spelling(short, full):
    assert CleanSettings(provider=full).provider == short
    assert CleanSettings(provider=short.upper()).provider == short


def test_other_providers_go_by_their_full_name():
    assert CleanSettings(provider="QNNExecutionProvider").provider == "QNNExecutionProvider"


def test_settings_survive_json():
    settings = PruneSettings.parse(
        {"target_size": "1.5MB", "layer_ratio": {"a*": "30%"}, "input_shapes": ["x:0:1x3"], "dims": ["n=2"]}
    )
    assert settings.target_size == 1_500_000
    assert PruneSettings.parse(json.loads(settings.model_dump_json())) == settings
    assert PruneSettings.parse(settings.model_dump()) == settings


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        PruneSettings().ratio = 0.1  # type: ignore[misc]


@pytest.mark.parametrize("kind", [RunSettings, CleanSettings, PruneSettings])
def test_the_schema_states_help_for_every_field_and_refuses_others(kind):
    schema = kind.model_json_schema()
    assert schema["additionalProperties"] is False
    for name, field in schema["properties"].items():
        assert field["description"].endswith("."), name
        assert "default" in field or "Default: " in field["description"]


def test_the_schema_states_ranges_and_choices():
    fields = PruneSettings.model_json_schema()["properties"]
    assert fields["ratio"]["anyOf"][0] == {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    assert fields["target_macs"]["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    assert fields["round_to"]["minimum"] == 1
    assert fields["criterion"]["enum"][:2] == ["l1", "l2"]
    assert fields["input_shapes"]["additionalProperties"]["items"] == {"type": "integer", "minimum": 1}


def test_settings_are_composed_of_sections():
    """Every setting of a command stands in one section, so that the help has all of them once."""
    for settings in (PruneSettings, RunSettings):
        named = [name for section in settings.sections() for name in section.own_fields()]
        assert sorted(named) == sorted(settings.model_fields)
        assert len(set(named)) == len(named)


@pytest.mark.parametrize("kind", [QuantizeSettings, ChoosingSettings, SensitivitySettings])
def test_distances_are_taken_in_per_cent(kind: type[RunSettings]) -> None:
    asked = {"data": "x.npz"} if kind is SensitivitySettings else {}
    assert kind.parse({**asked, "max_distance": "5%"}).max_distance == 0.05
    with pytest.raises(UsageError, match="max_distance"):
        kind.parse({**asked, "max_distance": "-5%"})
