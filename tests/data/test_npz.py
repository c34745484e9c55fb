"""Files of arrays: read back exactly or refused in a sentence, whatever happened to them."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compressor.data import npz
from compressor.data.npz import NpzFile
from compressor.errors import UsageError
from tests.data.case import damaged, saved

DTYPES = st.sampled_from(["f2", "f4", "f8", ">f4", "u1", "i1", "i4", "i8", ">i8", "?", "c8", "U3"])
ANY = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4), elements=None)


@given(array=ANY, compressed=st.booleans(), fortran=st.booleans())
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_come_back_as_they_were(tmp_path: Path, array: np.ndarray, compressed: bool, fortran: bool) -> None:
    stored = np.asfortranarray(array) if fortran and array.ndim else array
    path = saved(tmp_path / "a.npz", compressed=compressed, **{"some/name:0": stored, "other": np.arange(3)})
    file = NpzFile(path)
    assert sorted(file.names) == ["other", "some/name:0"]
    found = file.read(["some/name:0"])["some/name:0"]
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


def test_uncompressed_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    mapped = NpzFile(saved(tmp_path / "a.npz", x=x)).read(["x"])["x"]
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    loaded = NpzFile(saved(tmp_path / "b.npz", compressed=True, x=x)).read(["x"])["x"]
    assert not isinstance(loaded, np.memmap)


def test_pickles_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"array 'x' is pickled, which can run any code .* is refused; write it as"):
        NpzFile(path).read(["x"])
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("array", [np.zeros(2, [("a", "f4"), ("b", "i4")]), np.zeros(2, "V2"), np.zeros(2, "M8[s]")])
def test_other_than_numbers_and_text_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"array 'x' has elements of type .*; write numbers, such as float32"):
        NpzFile(saved(tmp_path / "a.npz", x=array)).read(["x"])


def test_what_is_no_npz_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.npz"
    text.write_text("label,pixel\n")
    with pytest.raises(UsageError, match=r"text\.npz is not an \.npz file \(.*\); write it with numpy\.savez"):
        NpzFile(text)
    with pytest.raises(UsageError, match=r"No such file or directory; give an .npz file that can be read"):
        NpzFile(tmp_path / "none.npz")
    with pytest.raises(UsageError, match="is not a regular file"):
        NpzFile(tmp_path)
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="is not a regular file"):
        NpzFile(pipe)


@pytest.mark.parametrize("compressed", [False, True])
def test_one_wrong_bit_is_found(tmp_path: Path, rng: np.random.Generator, compressed: bool) -> None:
    x = rng.integers(0, 4, 100_000).astype("f4")
    path = saved(tmp_path / "a.npz", compressed=compressed, x=x)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"array 'x' is damaged \(.*\); write the file again"):
        NpzFile(path).read(["x"])


def member(shape: tuple[int, ...], data: bytes) -> bytes:
    """An ``.npy`` member whose header says ``shape`` and that holds ``data``."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    return buffer.getvalue() + data


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 31, 1 << 31, 1 << 31), (3,), (0,), (1 << 62, 4)])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sizes_are_held_against_what_is_there(tmp_path: Path, shape: tuple[int, ...], method: int) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", member(shape, bytes(16)))
    with pytest.raises(UsageError, match="is damaged"):
        NpzFile(path).read(["x"])


def test_decompression_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.npz", compressed=True, x=np.zeros(3000), y=np.zeros(3000))
    monkeypatch.setattr(npz, "MAX_LOADED", 30_000)
    with pytest.raises(UsageError, match=r"needs 48\.3 kB of memory unpacked; write the file with numpy\.savez"):
        NpzFile(path).read(["x", "y"])
    NpzFile(path).read(["x"])


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member((1,), bytes(4)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.npy", member((1,), bytes(4)))
    with pytest.raises(UsageError, match="arrays of the same name"):
        NpzFile(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compressed", [False, True])
def test_damage_ends_in_a_sentence_or_changes_nothing(
    tmp_path: Path, rng: np.random.Generator, compressed: bool
) -> None:
    x, y = rng.normal(size=(3, 4)).astype("f4"), np.arange(3)
    whole = saved(tmp_path / "whole.npz", compressed=compressed, x=x, y=y).read_bytes()
    path, refused = tmp_path / "damaged.npz", 0
    for _ in range(500):
        path.write_bytes(damaged(whole, rng))
        try:
            file = NpzFile(path)
            for name, array in file.read(file.names).items():
                if name in ("x", "y"):
                    np.testing.assert_array_equal(array, {"x": x, "y": y}[name])
        except UsageError:
            refused += 1
    assert 150 < refused < 500
