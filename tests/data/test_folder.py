"""Folders of images: classes by subfolder, decoded right, damaged and hostile files refused in a sentence."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from compressor.data import Dataset, folder, open_data, open_parts
from compressor.data.folder import FORMATS, SUFFIXES, FolderDataset, decode
from compressor.errors import UsageError
from tests.data.case import damaged, everything, pictures, saved, settings, taking

Image = pytest.importorskip("PIL.Image")
SQUARE = "float[N,3,8,8] x"


def write(path: Path, pixels: NDArray[Any], **values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **values)
    return path


def classes(root: Path, rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Three classes of 8x8 images, one of them with an inner folder and things that are no images."""
    found = {}
    for name in ("cat/b.png", "cat/a.PNG", "ant/x.bmp", "bee/deep/z.png", "bee/q.ppm"):
        found[name] = pictures(rng, 8, 8, 3)
        write(root / name, found[name])
    (root / "bee/notes.txt").write_text("no image")
    (root / "bee/.hidden.png").write_text("no image")
    (root / ".cache").mkdir()
    return found


def only(dataset: Dataset) -> NDArray[Any]:
    return dataset.take(everything(len(dataset))).inputs["x"]


def test_a_subfolder_is_a_class(tmp_path: Path, rng: np.random.Generator) -> None:
    made = classes(tmp_path, rng)
    dataset = open_data(settings(tmp_path, mean="0.5,0.4,0.3", std=0.2), taking(SQUARE))
    assert isinstance(dataset, FolderDataset)
    assert dataset.labelled
    assert dataset.class_names == ("ant", "bee", "cat")
    batch = dataset.take(np.array([4, 0, 2]))
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 0, 1]
    raw = np.stack([made[name] for name in ("cat/b.png", "ant/x.bmp", "bee/deep/z.png")])
    wanted = ((raw / 255 - [0.5, 0.4, 0.3]) / 0.2).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(batch.inputs["x"].astype(float), wanted, atol=1e-5)
    assert batch.inputs["x"].dtype == np.float32


def test_images_alone_have_no_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    images = [pictures(rng, 8, 8, 3) for _ in range(3)]
    for k, image in enumerate(images):
        write(tmp_path / f"{k}.png", image)
    dataset = open_data(settings(tmp_path), taking("uint8[N,8,8,3] x"))
    assert not dataset.labelled
    batch = dataset.take(np.array([2, 1]))
    assert batch.labels is None
    np.testing.assert_array_equal(batch.inputs["x"], np.stack([images[2], images[1]]), strict=True)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {".pgm"}))
def test_every_format_is_decoded(tmp_path: Path, suffix: str) -> None:
    image = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    write(tmp_path / f"a{suffix}", image)
    found = only(open_data(settings(tmp_path), taking("uint8[N,8,8,3] x")))
    assert np.abs(found[0].astype(int) - image).max() < 16


def test_scaled_to_cover_and_cut_around_the_centre(tmp_path: Path) -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    path = write(tmp_path / "a.png", image)
    assert (decode(path, (10, 10), "RGB")[:, 1:-1] == 255).all()
    wide = decode(path, (10, 30), "RGB")
    assert wide.shape == (10, 30, 3)
    assert (wide[:, :9] == 0).all()
    assert (wide[:, 11:19] == 255).all()
    assert (decode(path, (40, 40), "RGB")[:, 2:-2] == 255).all()


def test_orientation_is_undone(tmp_path: Path, rng: np.random.Generator) -> None:
    upright = np.repeat(np.repeat(pictures(rng, 2, 4), 16, 0), 16, 1)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: the camera's rows are the picture's columns
    path = write(tmp_path / "a.png", np.rot90(upright).copy(), exif=exif)
    np.testing.assert_array_equal(decode(path, upright.shape, "L"), upright)


def test_colours_follow_the_channels_of_the_model(tmp_path: Path, rng: np.random.Generator) -> None:
    colour = pictures(rng, 8, 8, 3)
    write(tmp_path / "a.png", colour)
    grey = only(open_data(settings(tmp_path), taking("uint8[N,1,8,8] x")))
    wanted = colour @ [0.299, 0.587, 0.114]
    assert np.abs(grey[0, 0] - wanted).max() <= 1
    four = only(open_data(settings(tmp_path), taking("uint8[N,8,8,4] x")))
    np.testing.assert_array_equal(four[0, ..., :3], colour)
    assert (four[0, ..., 3] == 255).all()


def test_other_kinds_of_pixels(tmp_path: Path, rng: np.random.Generator) -> None:
    wide = rng.integers(0, 65536, (8, 8)).astype(np.uint16)
    np.testing.assert_array_equal(decode(write(tmp_path / "w.png", wide), (8, 8), "L"), wide >> 8)
    np.testing.assert_array_equal(decode(write(tmp_path / "w.tif", wide), (8, 8), "RGB")[..., 1], wide >> 8)
    palette = tmp_path / "p.gif"
    Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8)).convert("P").save(palette)
    assert decode(palette, (8, 8), "RGB")[0, 0].tolist() == [255, 0, 0]
    floating = tmp_path / "f.tif"
    Image.fromarray(rng.normal(size=(8, 8)).astype(np.float32)).save(floating)
    with pytest.raises(UsageError, match=r"f\.tif: .*floating pixels"):
        decode(floating, (8, 8), "L")


def test_size_comes_from_the_settings_where_the_model_leaves_it_open(tmp_path: Path, rng: np.random.Generator) -> None:
    write(tmp_path / "a.png", pictures(rng, 8, 8, 3))
    model = taking("float[N,3,H,W] x")
    with pytest.raises(UsageError, match=r"leaves the size of images open; .* --input-shape x:1,3,"):
        open_data(settings(tmp_path), model)
    assert only(open_data(settings(tmp_path, input_shapes=["x:1,3,6,4"]), model)).shape == (1, 3, 6, 4)
    assert only(open_data(settings(tmp_path, dims=["H=5", "W=7"]), model)).shape == (1, 3, 5, 7)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["float[N,4] x"], "takes samples of float32 4, not images; give an .npz file"),
        (["float[N,2,8,8] x"], "takes images of 2x8x8, and folders give 1, 3 or 4 channels"),
        (["int64[N,3,8,8] x"], "takes int64 3x8x8, and images are numbers from 0 to 1 or uint8"),
        ([SQUARE, "float[N,1] z"], "feeds one input, and the model has 2"),
        (["float[N,3,1000000,1000000] x"], "takes images of 3x1000000x1000000"),
    ],
)
def test_models_that_take_no_images(tmp_path: Path, rng: np.random.Generator, inputs: list[str], message: str) -> None:
    write(tmp_path / "a.png", pictures(rng, 8, 8, 3))
    with pytest.raises(UsageError, match=message):
        open_data(settings(tmp_path), taking(*inputs))


def test_folders_that_are_no_data(tmp_path: Path, rng: np.random.Generator) -> None:
    model = taking(SQUARE)
    with pytest.raises(UsageError, match="holds no image"):
        open_data(settings(tmp_path), model)
    write(tmp_path / "cat/a.png", pictures(rng, 8, 8, 3))
    (tmp_path / "dog").mkdir()
    with pytest.raises(UsageError, match=r"dog holds no image .*; remove it or fill it"):
        open_data(settings(tmp_path), model)
    write(tmp_path / "a.png", pictures(rng, 8, 8, 3))
    with pytest.raises(UsageError, match=r"holds both subfolders and images \(such as 'a\.png'\)"):
        open_data(settings(tmp_path), model)
    deep = tmp_path / "deep" / "/".join("abcdefghijk")
    write(deep / "a.png", pictures(rng, 8, 8, 3))
    with pytest.raises(UsageError, match="nested over 8 deep"):
        open_data(settings(tmp_path / "deep"), model)


@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_links_are_refused(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    write(tmp_path / "outside/a.png", pictures(rng, 8, 8, 3))
    write(tmp_path / "data/cat/a.png", pictures(rng, 8, 8, 3))
    target = {"file": "outside/a.png", "folder": "outside", "dangling": "nowhere"}[kind]
    os.symlink(tmp_path / target, tmp_path / "data/cat" / ("inner" if kind == "folder" else "b.png"))
    with pytest.raises(UsageError, match="is a link; put the real file there"):
        open_data(settings(tmp_path / "data"), taking(SQUARE))


def test_pipes_are_not_opened(tmp_path: Path, rng: np.random.Generator) -> None:
    write(tmp_path / "a.png", pictures(rng, 8, 8, 3))
    os.mkfifo(tmp_path / "b.png")
    assert len(open_data(settings(tmp_path), taking(SQUARE))) == 1


def bomb(width: int, height: int) -> bytes:
    """A PNG file that declares a size and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sides", [(9000, 9000), (12_000, 12_000), (1_000_000, 1_000_000)])
def test_decompression_bombs_are_refused_unread(tmp_path: Path, sides: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(bomb(*sides))
    with pytest.raises(UsageError, match=r"a\.png"):
        open_data(settings(tmp_path), taking(SQUARE))


def test_size_is_looked_at_again_before_pixels_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bomb(9000, 9000))
    with pytest.raises(UsageError, match="has 9000x9000 pixels, over 67,108,864; make it smaller"):
        decode(tmp_path / "a.png", (8, 8), "RGB")


def test_programs_are_never_started_for_an_image(tmp_path: Path) -> None:
    assert "EPS" not in FORMATS
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with pytest.raises(UsageError, match="cannot be decoded"):
        open_data(settings(tmp_path), taking(SQUARE))


def test_headers_are_checked_when_the_folder_is_opened(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(5):
        write(tmp_path / f"{k}.png", pictures(rng, 8, 8, 3))
    (tmp_path / "3.png").write_text("no image")
    with pytest.raises(UsageError, match=r"3\.png: the image cannot be decoded \(.*\); replace or remove it"):
        open_data(settings(tmp_path), taking(SQUARE))
    monkeypatch.setattr(folder, "HEADERS_CHECKED", 2)
    late = open_data(settings(tmp_path), taking(SQUARE))
    with pytest.raises(UsageError, match=r"3\.png: the image cannot be decoded"):
        late.take(np.array([3]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damage_ends_in_a_sentence(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pictures(rng, 12, 12, 3)).save(buffer, kind)
    path, refused = tmp_path / "a.png", 0
    for _ in range(200):
        path.write_bytes(damaged(buffer.getvalue(), rng))
        try:
            assert decode(path, (8, 8), "RGB").shape == (8, 8, 3)
        except UsageError:
            refused += 1
    assert refused > 20


def test_missing_pillow_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UsageError, match=r"needs Pillow, .* pip install 'onnx-compressor\[tune\]'"):
        open_data(settings(tmp_path), taking(SQUARE))


def test_both_folders_have_the_same_classes(tmp_path: Path, rng: np.random.Generator) -> None:
    for name in ("train/ant/a.png", "train/bee/a.png", "val/bee/a.png"):
        write(tmp_path / name, pictures(rng, 8, 8, 3))
    both = settings(tmp_path / "train", val_data=str(tmp_path / "val"))
    with pytest.raises(UsageError, match=r"different classes \(such as 'ant'\); give both the same subfolders"):
        open_parts(both, taking(SQUARE))
    write(tmp_path / "val/ant/a.png", pictures(rng, 8, 8, 3))
    train, judged = open_parts(both, taking(SQUARE))
    assert (len(train), len(judged)) == (2, 2)


def test_arrays_need_no_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert len(open_data(settings(saved(tmp_path / "a.npz", x=np.zeros((2, 3, 8, 8)))), taking(SQUARE))) == 2
