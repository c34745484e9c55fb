"""A temporary folder: gone at the end, and a sentence where there is no room."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from compressor.core.scratch import scratch
from compressor.errors import UsageError


@pytest.fixture(autouse=True)
def within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, None])
def test_want_of_room_is_a_sentence_and_leaves_no_folder(number: int | None, tmp_path: Path) -> None:
    words = f"no room for temporary files in {tmp_path}: .*; make room, or set TMPDIR"
    with pytest.raises(UsageError, match=words), scratch():
        raise OSError(number, "full")
    assert not list(tmp_path.iterdir())


def test_no_place_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=f"no room for temporary files in {tmp_path}/gone: No such"), scratch():
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT])
def test_errors_of_the_code_inside_are_its_own(number: int) -> None:
    with pytest.raises(OSError, match="theirs"), scratch():
        raise OSError(number, "theirs")
