"""Images in a folder, decoded when they are taken.

Files are untrusted: only formats that Pillow decodes by itself are opened, nothing is reached through a link,
and size is looked at before pixels are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.config.data import DataSettings
from compressor.config.graph import GraphSection
from compressor.core.arrays import Array
from compressor.core.extras import require
from compressor.core.formatting import printable
from compressor.core.machine import cores
from compressor.data.batch import Batch, Indices
from compressor.data.prepare import Preparation, normalised, prepare
from compressor.data.spec import InputSpec, sizes_of
from compressor.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES: Final = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are decoded in the process; others would start programs (EPS) or are no photographs."""
PILLOW_MODES: Final = MappingProxyType({1: "L", 3: "RGB", 4: "RGBA"})
"""Pillow's name of an image by its number of channels."""
MAX_PIXELS: Final = 1 << 26
"""67 million pixels; larger images are refused before they are decoded."""
MAX_FOLDER_DEPTH: Final = 8
"""A link to a folder above leads round in circles; data sets have one level of classes, or a few."""
THREADS: Final = 8
"""Images that are decoded at a time, at most; Pillow decodes without the interpreter's lock."""
HEADERS_CHECKED: Final = 2048
"""Images whose header is read when the folder is opened, spread over all of them."""


@dataclass(frozen=True)
class FolderDataset:
    """Images of a folder.

    Attributes:
        files: one image each.
        size: height and width that the model takes.
        mode: Pillow's name of the channels that it takes.
        preparation: from uint8[n, height, width, channels] to what the input takes.
        labels: int64[n], the class of an image's subfolder; None without subfolders.
        class_names: names of the subfolders, sorted.
        numbers: int64[classes], the class of each subfolder; None: its position.
    """

    files: tuple[Path, ...]
    size: tuple[int, int]
    mode: str
    preparation: Preparation
    labels: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    numbers: npt.NDArray[np.int64] | None = None

    @property
    def classes(self) -> dict[str, int]:
        """The number of each class, by the name of its folder."""
        numbers = range(len(self.class_names)) if self.numbers is None else self.numbers.tolist()
        return dict(zip(self.class_names, numbers, strict=True))

    def numbered(self, numbers: npt.NDArray[np.int64]) -> FolderDataset:
        """The same images, whose subfolders are these classes, int64[classes], in place of their positions."""
        assert self.labels is not None
        return replace(self, labels=numbers[self.labels], numbers=numbers)

    @property
    def labelled(self) -> bool:
        """Whether the folder has subfolders."""
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Indices) -> Batch:
        """The images at ``indices``.

        Raises:
            UsageError: an image cannot be decoded.
        """
        channels = len(self.mode)
        pixels = np.empty((len(indices), *self.size, channels), np.uint8)
        with ThreadPoolExecutor(min(THREADS, cores())) as pool:
            images = pool.map(lambda index: decode(self.files[index], self.size, self.mode), indices)
            for row, image in zip(pixels, images, strict=True):
                row[...] = image.reshape(row.shape)
        name = self.preparation.spec.name
        return Batch({name: self.preparation(pixels)}, None if self.labels is None else self.labels[indices])


def open_folder(root: Path, found: Sequence[InputSpec], settings: DataSettings) -> FolderDataset:
    """The images of ``root``: one subfolder a class, or images alone.

    Args:
        root: the folder.
        found: the model's inputs; there has to be one, and it has to take images.
        settings: mean, std, and sizes of open dimensions.

    Raises:
        UsageError: Pillow is missing, the model takes no images, or the folder holds something else.
    """
    # Before the folder is listed, which may take long.
    require("a folder of images", "PIL")
    spec, height, width, channels = _target(found, settings)
    class_names, groups = _listed(root)
    files = tuple(path for group in groups for path in group)
    labels = np.repeat(np.arange(len(groups), dtype=np.int64), [len(g) for g in groups]) if class_names else None
    # A look at headers finds damaged files before hours of work, and costs little.
    _check_headers(files)
    sample = np.empty((0, height, width, channels), np.uint8)
    meant = normalised(found, settings)
    shape = (height, width, channels) if spec.last else (channels, height, width)
    # The size is fixed from here on: every image is scaled to it.
    fixed = InputSpec(spec.name, spec.dtype, (None, *shape))
    preparation = prepare(
        fixed, sample, settings.model_copy(update={"layout": "nhwc"}), str(root), normal=spec.name in meant
    )
    return FolderDataset(files, (height, width), PILLOW_MODES[channels], preparation, labels, class_names)


def decode(path: Path, size: tuple[int, int], mode: str) -> Array:
    """One image, turned upright, scaled to cover ``size`` and cut to it around its centre.

    Args:
        path: the file.
        size: height and width in pixels.
        mode: ``L``, ``RGB`` or ``RGBA``.

    Returns:
        uint8[height, width] or uint8[height, width, channels].

    Raises:
        UsageError: the file cannot be read or decoded, or is too large.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415 - only folders of images need Pillow

    with _reading(path), path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        _check_size(image, path)
        # Cameras store a turned picture as it came and say so beside it.
        upright = ImageOps.exif_transpose(image)
        plain = _eight_bits(upright, path).convert(mode)
        if plain.size != size[::-1]:
            plain = ImageOps.fit(plain, size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(plain)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever Pillow raises on damaged files into our error."""
    try:
        yield
    except UsageError:
        raise
    except MemoryError:
        raise UsageError(f"{printable(path)}: no memory is left to decode this image; make it smaller") from None
    # Pillow raises errors of many kinds on damaged files, and none of them is a fault of ours.
    except Exception as error:
        text = printable(" ".join(str(error).split())[:200] or type(error).__name__)
        raise UsageError(f"{printable(path)}: the image cannot be decoded ({text}); replace or remove it") from error


def _target(inputs: Sequence[InputSpec], settings: GraphSection) -> tuple[InputSpec, int, int, int]:
    """The input that takes images, and their height, width and channels."""
    spec = inputs[0]
    remedy = "give an .npz file or package.module:callable"
    if len(inputs) > 1:
        raise UsageError(f"a folder of images feeds one input, and the model has {len(inputs)}; {remedy}")
    if spec.dtype != ir.DataType.UINT8 and not spec.dtype.is_floating_point():
        raise UsageError(f"{spec.quoted} takes {spec.wanted}, and images are numbers from 0 to 1 or uint8; {remedy}")
    given = settings.input_shapes.get(spec.name)
    if spec.shape is None and given is not None:
        spec = InputSpec(spec.name, spec.dtype, tuple(given))
    if spec.shape is None or len(spec.shape) != 4:
        raise UsageError(f"{spec.quoted} takes samples of {spec.wanted}, not images; {remedy}")
    shape = list(spec.shape)
    for axis, dim in enumerate(shape):
        if not isinstance(dim, int):
            # Sizes that the file leaves open may be said by the user, by input or by symbol.
            shape[axis] = given[axis] if given and len(given) == 4 else settings.dims.get(str(dim))
    bound = InputSpec(spec.name, spec.dtype, tuple(shape))
    height, width = (shape[axis] for axis in bound.spatial)
    if not isinstance(height, int) or not isinstance(width, int):
        sizes = ",".join("1" if axis == 0 else str(dim or 224) for axis, dim in enumerate(shape))
        raise UsageError(
            f"{spec.quoted} leaves the size of images open; say it, such as with --input-shape "
            f"{printable(spec.name)}:{sizes}"
        )
    channels, pixels = bound.channels, height * width
    if channels is None or channels not in PILLOW_MODES or pixels > MAX_PIXELS or pixels == 0:
        raise UsageError(
            f"{spec.quoted} takes images of {sizes_of(tuple(shape[1:]))}, and folders give 1, 3 or 4 channels; {remedy}"
        )
    return bound, height, width, channels


def _listed(root: Path) -> tuple[tuple[str, ...], list[list[Path]]]:
    """Names of the classes and the images of each; no names and one group where there are no subfolders."""
    folders, images = _entries(root)
    if folders and images:
        raise UsageError(
            f"{root} holds both subfolders and images (such as {images[0].name!r}); "
            "give one subfolder for each class, or images alone"
        )
    if not folders:
        if not images:
            raise UsageError(f"{root} holds no image ({', '.join(sorted(SUFFIXES))}); give a subfolder for each class")
        return (), [images]
    groups = [_below(folder, 1) for folder in folders]
    # A class without images would shift the numbers of those behind it.
    for folder, group in zip(folders, groups, strict=True):
        if not group:
            raise UsageError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}); remove it or fill it")
    return tuple(folder.name for folder in folders), groups


def _below(folder: Path, depth: int) -> list[Path]:
    """Images in a folder and its subfolders."""
    if depth > MAX_FOLDER_DEPTH:
        raise UsageError(
            f"{folder}: folders are nested over {MAX_FOLDER_DEPTH} deep; give one subfolder for each class"
        )
    folders, images = _entries(folder)
    return [*images, *(path for inner in folders for path in _below(inner, depth + 1))]


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Subfolders and images of a folder, sorted; what is hidden or has another suffix is passed over."""
    folders, images = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                image = Path(entry.name).suffix.lower() in SUFFIXES
                if entry.name.startswith("."):
                    continue
                # A link may lead out of the folder, or round in a circle.
                if entry.is_symlink() and (image or entry.is_dir()):
                    raise UsageError(f"{printable(entry.path)} is a link; put the real file there")
                if entry.is_dir():
                    folders.append(Path(entry.path))
                elif image and entry.is_file():
                    images.append(Path(entry.path))
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or 'cannot be read'}; give a folder that can be read") from None
    # The order of a file system differs between machines; classes are numbered by it.
    return sorted(folders), sorted(images)


def _check_headers(files: Sequence[Path]) -> None:
    """Opens images without decoding them: all where they are few, else a spread of them."""
    from PIL import Image  # noqa: PLC0415 - only folders of images need Pillow

    # Evenly over all of them, first and last included, as folders are often sorted by class.
    for index in np.unique(np.linspace(0, len(files) - 1, min(HEADERS_CHECKED, len(files))).astype(np.int64)):
        path = files[index]
        with _reading(path), path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            _check_size(image, path)


def _check_size(image: Image, path: Path) -> None:
    width, height = image.size
    # Of the header: a small file may unpack into gigabytes.
    if width * height > MAX_PIXELS:
        raise UsageError(f"{printable(path)} has {width}x{height} pixels, over {MAX_PIXELS:,}; make it smaller")


def _eight_bits(image: Image, path: Path) -> Image:
    """16-bit grey images by their upper 8 bits; the others as they are, for Pillow to convert."""
    from PIL import Image as images  # noqa: N813, PLC0415 - only folders of images need Pillow

    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64)
        # Pillow's own conversion clips 16 bits at 255, which leaves such images white.
        return images.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise UsageError(f"{printable(path)}: the image has floating pixels; give an .npz file")
    return image
