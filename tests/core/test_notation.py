import pytest

from compressor.core.notation import (
    parse_also,
    parse_dims,
    parse_input_shapes,
    parse_latency,
    parse_layer_ratios,
    parse_shape,
    parse_share,
    parse_size,
    read_latency,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("60%", 0.6), (" 12.5 %", 0.125), ("0.5", "0.5"), (0.5, 0.5), ("200%", 2.0)],
)
def test_share(text, expected):
    assert parse_share(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", 0.5),
        (0.5, 0.5),
        ("50%", 0.5),
        ("100%", 1.0),
        (1, 1.0),
        ("500kB", 500_000),
        ("500k", 500_000),
        ("1.5MB", 1_500_000),
        ("1.5 mb", 1_500_000),
        ("2GiB", 2 << 30),
        ("1KiB", 1024),
        ("300B", 300),
        (2_000_000, 2_000_000),
        (2e6, 2_000_000),
        (".5", 0.5),
    ],
)
def test_size(text, expected):
    size = parse_size(text)
    assert size == expected
    assert isinstance(size, float) == (expected <= 1)


@pytest.mark.parametrize("text", ["", "0", "-1", "MB", "1.7", "1.5B", "101%", "0%", "5 parsec", "1iB", "nan", True])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match=f"^{str(text)!r} (is|must|has)"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1,3,224,224", "1x3x224x224", "[1,3,224,224]", "[1, 3, 224, 224]", (1, 3, 224, 224)])
def test_shape(text):
    assert parse_shape(text) == (1, 3, 224, 224)


def test_scalar_shape():
    assert parse_shape("[]") == ()


@pytest.mark.parametrize("text", ["1,,3", "1,-3", "axb", "1,3,", "1.5"])
def test_what_is_no_shape(text):
    with pytest.raises(ValueError, match="is not a shape such as"):
        parse_shape(text)


def test_names_may_contain_the_separator():
    assert parse_input_shapes(["image:0:1x3"]) == {"image:0": (1, 3)}
    assert parse_dims(["a=b=2"]) == {"a=b": "2"}
    assert parse_layer_ratios(["w[=]*=50%"]) == (("w[=]*", 0.5),)


def test_mappings_and_pairs_are_taken_as_they_are():
    assert parse_input_shapes({"x": [1, 3]}) == {"x": [1, 3]}
    assert parse_layer_ratios([["a*", 0.3]]) == (("a*", 0.3),)


@pytest.mark.parametrize("value", ["x:1,3", 7, [["a"]], [":1,3"], ["x"]])
def test_what_is_no_list_of_pairs(value):
    with pytest.raises(ValueError, match="NAME:SHAPE, such as x:1,3,224,224"):
        parse_input_shapes(value)


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="'x' is given twice"):
        parse_input_shapes(["x:1", "x:2"])


@pytest.mark.parametrize(
    ("text", "expected", "read"),
    [
        ("2.5ms", "2.5ms", (2.5, "ms")),
        ("800us", "0.8ms", (0.8, "ms")),
        ("800 µs", "0.8ms", (0.8, "ms")),
        (".1s", "100ms", (100.0, "ms")),
        ("12 MS", "12ms", (12.0, "ms")),
        ("0.6x", "0.6x", (0.6, "x")),
        ("60%", "0.6x", (0.6, "x")),
        (" 33.3 % ", "0.333x", (0.333, "x")),
        ("1x", "1x", (1.0, "x")),
        (0.25, "0.25x", (0.25, "x")),
    ],
)
def test_latency(text, expected, read):
    assert parse_latency(text) == expected
    assert parse_latency(expected) == expected
    assert read_latency(expected) == read


@pytest.mark.parametrize("text", ["", "fast", "ms", "-1ms", "2 min", "1,5ms", "nanms", True])
def test_latency_without_a_meaning(text):
    with pytest.raises(ValueError, match=r"neither a time such as 2\.5ms nor a share"):
        parse_latency(text)


@pytest.mark.parametrize("text", ["1.2x", "0x", "0%", "120%", "0"])
def test_latency_share_out_of_range(text):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        parse_latency(text)


@pytest.mark.parametrize("text", ["5", "2.5"])
def test_a_time_without_a_unit_is_told_how_it_is_written(text):
    with pytest.raises(ValueError, match=rf"a time is written {text}ms"):
        parse_latency(text)


def test_latency_of_no_time():
    with pytest.raises(ValueError, match="above 0"):
        parse_latency("0ms")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d.onnx", ("d.onnx", {})),
        ("a/d.onnx:in=out,other=b:c", ("a/d.onnx", {"in": "out", "other": "b:c"})),
        ("C:d.onnx", ("C:d.onnx", {})),
        ("C:d.onnx:x:0=out", ("C:d.onnx", {"x:0": "out"})),
    ],
)
def test_a_further_file(text, expected):
    assert parse_also(text) == expected


@pytest.mark.parametrize("text", ["", ":a=b", "a=b", "d.onnx:a=b,c"])
def test_what_is_no_further_file(text):
    with pytest.raises(ValueError, match="FILE"):
        parse_also(text)
