"""Numbers and names as people read them in a terminal."""

import re
from collections.abc import Callable, Collection, Sequence

MULTIPLE = 2.0
"""Part of a whole from which on it is told as so many times the whole."""


def printable(text: object) -> str:
    """Shows control characters as escapes: names come from model files, which are not trusted."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def keyed(text: str, names: Collection[str]) -> str:
    """A sentence of a command with keys in place of flags, for those who gave ``max_drop`` and not ``--max-drop``."""

    def key(found: re.Match[str]) -> str:
        name = found[2].replace("-", "_")
        return found[0] if name not in names else f"{name}=False" if found[1] else name

    return re.sub(r"--(no-)?([a-z][a-z0-9-]*)", key, text)


def quantity(number: float, unit: str = "") -> str:
    """Three significant digits with a decimal prefix: ``4.09 G``, ``97.8 MB``; small counts in full.

    Prefixes are powers of 1000, as in the sizes that the settings accept.
    """
    if number < 10_000:
        return f"{number:,.0f} {unit}".rstrip()
    prefixes = ("k", "M", "G", "T", "P")
    scaled, prefix = number / 1000, prefixes[0]
    for prefix in prefixes:
        # 999.5 would be printed as 1000 with three digits, so the next prefix begins there.
        if scaled < 999.5 or prefix == prefixes[-1]:
            break
        scaled /= 1000
    digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return f"{scaled:.{digits}f} {prefix}{unit}"


def share(part: float, whole: float) -> str:
    """The part of the whole with two decimals, or a dash where there is no whole."""
    return f"{part / whole:.2f}" if whole else "-"


def percentage(part: float) -> str:
    """A share for a sentence: ``12.3%``, and two digits of what is smaller than one in a hundred, ``0.012%``."""
    # One decimal of a small share would call it nothing, or the same as another that it is compared with.
    return f"{part:.1%}" if not 0 < abs(part) < 0.00995 else f"{100 * part:.2g}%"


def portion(part: float) -> tuple[Callable[[float], str], str]:
    """How to write a part and what it is compared with, and the word between it and the whole.

    ``12.3%`` *of* its norm; where it is more than the whole by far, ``5.03`` *times* its norm.
    """
    return ("{:.3g}".format, "times") if part >= MULTIPLE else (percentage, "of")


def distance_value(value: float, *, share: bool = True) -> str:
    """A distance beside its limit: ``8.15%`` of a norm; ``5.03 times`` where it is more than the norm by far."""
    return f"{value:.3g} times" if value >= MULTIPLE else metric_value(value, share=share)


def count(number: int, noun: str) -> str:
    """``1 group``, ``37 groups``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def count_of(number: int, whole: int | None, noun: str) -> str:
    """``256 of 450 samples``; ``450 samples`` where that is all there are, or nothing is known of others."""
    return count(number, noun) if whole is None or whole <= number else f"{number:,} of {count(whole, noun)}"


def there_are(number: int, noun: str) -> str:
    """What follows on "there": ``is 1 group``, ``are 37 groups``."""
    return f"{'is' if number == 1 else 'are'} {count(number, noun)}"


def metric_value(value: float, *, share: bool) -> str:
    """A metric: ``84.59%`` of shares, ``23.71`` of others; a share that two decimals would call none, ``0.0001%``."""
    if not share:
        return f"{value:.5g}"
    # What is smaller is the rounding of sums.
    return f"{100 * value:.2g}%" if 1e-9 < abs(value) < 5e-5 else f"{value:.2%}"


def metric_change(before: float, after: float, *, share: bool) -> str:
    """A metric of an original and of what was made of it: ``84.59% -> 83.10%``, ``23.71 -> 24.02``."""
    return " -> ".join(metric_value(value, share=share) for value in (before, after))


def either(texts: Sequence[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return " or ".join([*([", ".join(texts[:-1])] if len(texts) > 1 else []), texts[-1]])


def other_schema(schema: object, wanted: str, known: int) -> str:
    """What a file is whose schema is not ``known``; reports have words for theirs: ``onnx-compressor.report/1``."""
    found = re.fullmatch(r"onnx-compressor\.([a-z]+)/\d+", str(schema))
    if found:
        return f"this is no {wanted}, but a JSON {found[1]} of onnx-compressor"
    return f"the {wanted} has schema {schema}, this version reads {known}"
