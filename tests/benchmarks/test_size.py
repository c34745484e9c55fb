"""benchmarks/size.py: what it says of a copy and of the memory of a process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
OWN = """
import time
ballast = bytearray(b"x") * (100 << 20)
time.sleep(0.3)
raise SystemExit(3)
"""


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("size")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_a_process_is_seen(size: ModuleType) -> None:
    code, cost = size.watched([sys.executable, "-c", OWN])
    assert code == 3
    assert 100 < cost["own_mib"] <= cost["resident_mib"] < 200


def test_a_copy_is_gone_at_the_end_and_its_rate_is_that_of_its_bytes(size: ModuleType, tmp_path: Path) -> None:
    source, copies = tmp_path / "in.bin", tmp_path / "copies"
    source.write_bytes(bytes(3_000_000))
    copies.mkdir()
    cost = size.copied([source], copies)
    assert list(copies.iterdir()) == []
    assert cost["seconds"] > 0
    assert size.rounded({"seconds": 2.0}, 3.0) == {"seconds": 2.0, "mb_per_s": 1.5}


def test_a_copy_without_room_ends_the_run(size: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--folder"):
        size.copied([tmp_path / "none.bin"], tmp_path)
