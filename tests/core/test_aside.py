"""Old files under a second name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.core.aside import Aside


def no_links(*_: object) -> None:
    raise OSError(1, "Operation not permitted")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / ("a" * 255)
    path.write_text("old")
    return path


def replaced(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("new")
    new.replace(path)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("otherwise", [os.replace, shutil.copy2])
@pytest.mark.parametrize("fails", [True, False])
def test_the_old_file_is_there_again_where_it_fails(
    old: Path, monkeypatch: pytest.MonkeyPatch, links: bool, otherwise: Callable[..., object], fails: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(KeyboardInterrupt) if fails else Aside(), Aside() as aside:
        aside.keep(old, otherwise)
        replaced(old)
        if fails:
            raise KeyboardInterrupt
    assert old.read_text() == ("old" if fails else "new")
    assert os.listdir(old.parent) == [old.name]


def test_a_file_that_cannot_be_put_back_is_kept(old: Path) -> None:
    aside = Aside()
    aside.keep(old, os.replace)
    old.unlink()
    old.mkdir()
    lost = aside.put_back()
    aside.let_go()
    assert [path.read_text() for path in lost] == ["old"]


def test_only_what_is_named_is_put_back(old: Path) -> None:
    other = old.with_name("other")
    other.write_text("old")
    aside = Aside()
    for path in (old, other):
        aside.keep(path, os.replace)
        replaced(path)
    assert aside.put_back([other]) == []
    aside.let_go()
    assert (old.read_text(), other.read_text()) == ("new", "old")
