"""How people write shares, sizes, latencies, shapes and pairs: ``60%``, ``1.5MB``, ``2.5ms``, ``x:1x3x224x224``,
``batch=1``.

Every function raises `ValueError` with a clause that can stand behind the name of the setting.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z%]*)", re.IGNORECASE)
_LATENCY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|µs|ms|s|x|%|)", re.IGNORECASE)
MILLISECONDS = MappingProxyType({"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3})
"""Units of time, in milliseconds."""
_POWERS = MappingProxyType({"": 0, "k": 1, "m": 2, "g": 3})


class Percent(float):
    """A number that was written with a ``%``: a share of something, where a bare number might be in a unit."""


def parse_share(value: object) -> object:
    """Turns ``"60%"`` into 0.6 and leaves everything else to the field's own check."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return Percent(float(value.strip()[:-1]) / 100)
        except ValueError:
            raise ValueError(f"{value!r} is not a percentage") from None
    return value


def parse_part(value: object) -> object:
    """The same for a share of a whole, of which 50 is none: the unit was forgotten."""
    found = parse_share(value)
    try:
        number = float(found) if isinstance(found, (int, float, str)) else 0.0
    except ValueError:
        return found  # whatever is no number is left to the field
    # Up to two it may as well be a share that is too large.
    if not isinstance(found, Percent) and 2 <= number < 100:
        raise ValueError(f"{value} is more than the whole; for {number:g} per cent write {number / 100:g}")
    return found


def parse_size(value: object) -> float | int:
    """Reads a size as a share of the original or as bytes.

    Args:
        value: a number or text; with a unit (``500kB``, ``1.5MB``, ``2MiB``) it is bytes, with ``%`` a share;
            a bare number is a share up to 1 and bytes above.

    Returns:
        A float in (0, 1], a kept share; or an int above 1, bytes.
    """
    text = str(value).strip()
    match = _SIZE.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise ValueError(f"{text!r} is neither a share such as 0.5 or 50% nor a size such as 500kB")
    number, unit = float(match[1]), match[2].lower()
    if unit == "%":
        return _kept_share(number / 100, text)
    if unit:
        return _byte_count(number * _bytes_per(unit, text), text)
    return _kept_share(number, text) if number <= 1 else _byte_count(number, text)


def _kept_share(share: float, text: str) -> float:
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} must be a share above 0 and at most 1")
    return share


def _byte_count(count: float, text: str) -> int:
    rounded = round(count)
    if abs(rounded - count) <= 1e-6 * count and rounded == 1:
        raise ValueError(f"{text!r} is less than any file has; a share is written 100% or 1.0")
    # 1.5 bytes is most likely a forgotten unit.
    if rounded < 2 or abs(rounded - count) > 1e-6 * count:
        raise ValueError(f"{text!r} is not a whole number of bytes; write a unit, such as 1.5MB, or a share")
    return rounded


def _bytes_per(unit: str, text: str) -> int:
    stem = unit.removesuffix("b")
    base = 1024 if stem.endswith("i") else 1000
    power = _POWERS.get(stem.removesuffix("i"))
    if power is None or stem == "i":
        raise ValueError(f"{text!r} has an unknown unit; use B, kB, MB, GB, KiB, MiB or GiB")
    return int(base**power)


def parse_latency(value: object) -> str:
    """Reads a latency as time or as a share of the original's, and writes it as ``2.5ms`` or ``0.6x``.

    Args:
        value: ``2.5ms``, ``800us`` or ``0.1s`` is time; ``0.6x``, ``60%`` or a bare number a share.
    """
    text = str(value).strip()
    match = _LATENCY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is neither a time such as 2.5ms nor a share of the original such as 0.6x or 60%")
    number, unit = float(match[1]), match[2].lower()
    # Most likely milliseconds whose unit was forgotten.
    if not unit and number > 1:
        raise ValueError(f"{text!r} has no unit; a time is written {text}ms, a share of the original 0.6x or 60%")
    if unit not in MILLISECONDS:
        return f"{_kept_share(number / 100 if unit == '%' else number, text):.12g}x"
    if not number > 0:
        raise ValueError(f"{text!r} must be a time above 0")
    return f"{number * MILLISECONDS[unit]:.12g}ms"


def read_latency(text: str) -> tuple[float, str]:
    """The number and the unit, ``ms`` or ``x``, of what `parse_latency` wrote."""
    unit = "ms" if text.endswith("ms") else "x"
    return float(text.removesuffix(unit)), unit


def parse_shape(value: object) -> object:
    """Turns ``1,3,224,224``, ``1x3x224x224`` or ``[1,3,224,224]`` into a tuple; ``[]`` is a scalar."""
    if not isinstance(value, str):
        return value
    inner = value.strip().removeprefix("[").removesuffix("]").strip()
    sizes = re.split(r"\s*[,x]\s*", inner) if inner else []
    if not all(size.isdecimal() for size in sizes):
        raise ValueError(f"{value!r} is not a shape such as 1,3,224,224 or 1x3x224x224")
    return tuple(int(size) for size in sizes)


def parse_input_shapes(value: object) -> object:
    """Turns ``["x:1,3,224,224"]`` or ``{"x": "1x3x224x224"}`` into a dictionary of shapes by input name."""
    pairs = read_pairs(value, ":", "NAME:SHAPE, such as x:1,3,224,224")
    return {name: parse_shape(shape) for name, shape in pairs}


def parse_dims(value: object) -> object:
    """Turns ``["batch=1"]`` into a dictionary of sizes by symbolic dimension."""
    return dict(read_pairs(value, "=", "NAME=SIZE, such as batch=1"))


def parse_layer_ratios(value: object) -> object:
    """Turns ``["layer4.*=0.3"]`` or a mapping into (glob, share) pairs, in the order given."""
    pairs = read_pairs(value, "=", "GLOB=RATIO, such as 'layer4.*=0.3'")
    return tuple((glob, parse_part(ratio)) for glob, ratio in pairs)


def split_commas(value: object) -> tuple[str, ...]:
    """Turns ``"a,b"``, ``["a,b"]`` or ``("a", "b")`` into ("a", "b")."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, (tuple, list)):
        return tuple(part for item in value for part in split_commas(str(item)))
    raise ValueError(f"{value!r} is not a list of texts separated by commas")


def parse_texts(value: object) -> object:
    """Turns one text into a tuple of it, so that ``"layer*"`` is one glob and not six; leaves all else."""
    return (value,) if isinstance(value, str) else value


def parse_also(text: str) -> tuple[str, dict[str, str]]:
    """Reads ``decoder.onnx`` or ``decoder.onnx:input=output,other=another``: a file, and outputs by input."""
    head = text.partition("=")[0] if "=" in text else ""
    # Paths and names of values may hold colons, too.
    end = head.find(".onnx:") + len(".onnx") if ".onnx:" in head else head.rfind(":")
    file, rest = (text[:end], text[end + 1 :]) if ":" in head else (text, "")
    if not file or (rest == "" and "=" in text):
        raise ValueError(f"{text!r} names no file; write FILE, or FILE:INPUT=OUTPUT")
    pairs = read_pairs(split_commas(rest), "=", "FILE:INPUT=OUTPUT, such as decoder.onnx:encoder_states=last_state")
    return file, {name: str(output) for name, output in pairs}


def parse_numbers(value: object) -> object:
    """Turns ``"0.5,0.4"``, ``["0.5,0.4"]``, 0.5 or ``(0.5, 0.4)`` into a tuple of numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (float(value),)
    texts = split_commas(value)
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        raise ValueError(f"{','.join(texts)!r} is not a list of numbers such as 0.485,0.456,0.406") from None


def read_pairs(value: object, separator: str, form: str) -> list[tuple[str, object]]:
    """Splits each text at its last `separator` (names may contain it); mappings and pairs pass as they are.

    Args:
        value: a mapping, or an iterable of texts or of (name, value) pairs.
        separator: what stands between name and value.
        form: the expected form with an example, for the message.
    """
    if isinstance(value, Mapping):
        return [(str(name), item) for name, item in value.items()]
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{value!r} is not a list of {form}")
    pairs: list[tuple[str, object]] = []
    for item in value:
        # At the last separator, as names in model files may hold colons and equals signs.
        name, found, rest = item.rpartition(separator) if isinstance(item, str) else _pair(item, form)
        if not found or not name:
            raise ValueError(f"{item!r} must be written {form}")
        if name in dict(pairs):
            raise ValueError(f"{name!r} is given twice")
        pairs.append((name, rest))
    return pairs


def _pair(item: object, form: str) -> tuple[str, bool, object]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ValueError(f"{item!r} must be written {form}")
    return str(item[0]), True, item[1]
