import os

import pytest

from compressor.core.atomic import write_text
from compressor.errors import UsageError


def test_replaces_whole_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old and longer")
    with path.open() as reader:
        write_text(path, "né\n")
        assert reader.read() == "old and longer"
    assert path.read_bytes() == "né\n".encode()
    assert os.listdir(tmp_path) == ["a.json"]


def test_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_links_are_followed(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_text(tmp_path / "link.json", "text")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "text"


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_pipes_are_written_to_and_stay_pipes(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_text(path, "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert path.is_fifo()


def test_missing_folder(tmp_path):
    with pytest.raises(UsageError, match="choose another place"):
        write_text(tmp_path / "absent" / "a.json", "text")
