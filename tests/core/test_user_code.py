"""Functions that users name: looked up where they stand, and told by name where they fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compressor.core.user_code import NAMED, imported, user_errors
from compressor.errors import ProofFailed, UsageError

MODULE = """
class Box:
    @staticmethod
    def inner(): return 3
number = 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "named_by_a_user.py").write_text(MODULE)
    (tmp_path / "lacking_by_a_user.py").write_text("import nowhere_at_all")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", ["a:b", "a.b_1:C.d", "größe:maß"])
def test_names(text: str) -> None:
    assert NAMED.fullmatch(text)


@pytest.mark.parametrize("text", ["a", "a:", ":b", "a:b()", "a-b:c", "1a:b", "a:b:c", "a..b:c", r"C:\a"])
def test_what_is_no_name(text: str) -> None:
    assert not NAMED.fullmatch(text)


def test_modules_of_the_current_folder_are_found_and_only_meanwhile(folder: Path) -> None:
    before = list(sys.path)
    assert imported("named_by_a_user:Box.inner", "--data")() == 3
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("nowhere_at_all:f", "--data nowhere_at_all:f: there is no module 'nowhere_at_all'; start in its folder"),
        ("named_by_a_user:Bax.inner", "module 'named_by_a_user' has no 'Bax.inner'"),
        ("named_by_a_user:number", "it is int, which cannot be called; name a function"),
        ("lacking_by_a_user:f", "--data lacking_by_a_user:f raised ModuleNotFoundError: No module named 'nowhere_at"),
    ],
)
def test_what_cannot_be_had_is_said_by_name(folder: Path, text: str, fact: str) -> None:
    with pytest.raises(UsageError) as caught:
        imported(text, "--data")
    assert fact in str(caught.value)


def test_errors_of_ours_pass_and_others_are_one_line() -> None:
    with pytest.raises(ProofFailed), user_errors("a:b", "--eval"):
        raise ProofFailed("ours")
    with (
        pytest.raises(UsageError, match=r"^--eval a:b raised KeyError: 'xy'$") as caught,
        user_errors("a:b", "--eval"),
    ):
        raise KeyError("xy")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(UsageError, match=r"^--eval a:b raised ZeroDivisionError$"), user_errors("a:b", "--eval"):
        raise ZeroDivisionError
