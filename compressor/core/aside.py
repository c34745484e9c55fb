"""Old files under a second name, until it is settled whether new ones take their places."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class Aside:
    """Files that are kept beside their places; as a context put back where it ends with an exception, and then let go.

    Whoever opens it removes the new files that have no old one.
    """

    def __init__(self) -> None:
        self._kept: dict[Path, Path] = {}

    def keep(self, path: Path, otherwise: Callable[[Path, Path], object]) -> None:
        """Gives a file a second name, in a folder of its own beside it, so that it may be replaced.

        Args:
            path: of a regular file that is replaced, not written to.
            otherwise: is called with both names where the file system has no hard links.
        """
        # In the same folder, as names of one file are of one file system; in a folder, as a name may have no room left.
        folder = path.with_name(f".onnx-compressor-{secrets.token_hex(8)}")
        # Noted first, so that an interruption in between leaves nothing behind.
        self._kept[path] = folder / path.name
        folder.mkdir()
        try:
            os.link(path, self._kept[path])
        except OSError:
            otherwise(path, self._kept[path])

    def put_back(self, paths: Collection[Path] | None = None) -> list[Path]:
        """Puts these files, or all, back in place, the last that was kept first.

        Returns:
            Where those lie that cannot be put back.
        """
        lost = []
        for path in [path for path in reversed(self._kept) if paths is None or path in paths]:
            try:
                if self._kept[path].exists():
                    # Of two names of one file this leaves both.
                    self._kept[path].replace(path)
            except OSError:
                # Forgotten here, so that it is not let go.
                lost.append(self._kept.pop(path))
        return lost

    def let_go(self) -> None:
        """Removes the second names."""
        for old in self._kept.values():
            with suppress(OSError):
                old.unlink(missing_ok=True)
                old.parent.rmdir()
        self._kept.clear()

    def __enter__(self) -> Aside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An interruption while files are put back leaves the others under their second names.
        if kind is not None:
            self.put_back()
        self.let_go()
