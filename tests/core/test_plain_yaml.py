"""YAML that is not trusted: texts, lists and mappings, and nothing that makes a small file large."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressor.core.plain_yaml import MAX_BYTES, MAX_DEPTH, parsed, read_text
from compressor.errors import UsageError


def test_scalars_stay_text() -> None:
    text = "a: off\nb: 1:30\nc: [1, 'null', null, ~]\nd:\ne: {f: 1e3}\n"
    assert parsed(text) == {"a": "off", "b": "1:30", "c": ["1", "null", None, None], "d": None, "e": {"f": "1e3"}}
    assert parsed("") is None


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("a: 1\na: 2\n", "line 2: the key 'a' comes twice"),
        ("a: &x 1\nb: *x\n", r"line 2: references such as \*name are not read"),
        ("[1]: 2\n", "line 1: a key must be text"),
        ("a: [1\n", "cannot be read in line 2"),
        ("a: \x01\n", "the YAML cannot be read"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "line 1: it is nested too deeply"),
    ],
)
def test_what_is_refused_is_told_with_its_line(text: str, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        parsed(text)


def test_tags_make_nothing() -> None:
    assert parsed("a: !!python/object/apply:os.getcwd []\nb: !!int 3\n") == {"a": [], "b": "3"}


def test_depth_counts_what_is_open(tmp_path: Path) -> None:
    assert len(parsed("\n".join("- [[1]]" for _ in range(3 * MAX_DEPTH)))) == 3 * MAX_DEPTH


def test_files_that_are_no_small_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a" * MAX_BYTES)
    assert len(read_text(path)) == MAX_BYTES
    path.write_bytes(b"a" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match="larger than 64 KiB"):
        read_text(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_text(path)
    with pytest.raises(UsageError, match="No such file"):
        read_text(tmp_path / "missing.yaml")
