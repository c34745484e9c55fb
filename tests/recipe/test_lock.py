"""Two runs do not share a work folder."""

from __future__ import annotations

import os

import pytest

from compressor.errors import UsageError
from compressor.recipe.lock import held

pytest.importorskip("fcntl")


def test_a_second_run_is_told_who_works_there(tmp_path) -> None:
    with (
        held(tmp_path / "work"),
        pytest.raises(UsageError, match=rf"another run \(process {os.getpid()}\) works in"),
        held(tmp_path / "work"),
    ):
        pass
    with held(tmp_path / "work"):
        pass


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="name another with --work"), held(tmp_path / "file" / "work"):
        pass
