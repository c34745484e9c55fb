"""What was there before several files are written: kept until all are, and put back where one cannot be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Final

from compressor.core.aside import Aside
from compressor.errors import UsageError

DATA_SUFFIX: Final = ".data"
"""What the name of a file of weights ends in, after that of its model."""


def files_of(model: Path) -> list[Path]:
    """A model, and where its weights are put: one file, and those of several that are there."""
    # Not with_name, which takes no path without a name; whoever writes the model refuses that.
    data = model.parent / (model.name + DATA_SUFFIX)
    return [model, data, *model.parent.glob(f"{escape(model.name)}-*-of-*{DATA_SUFFIX}")]


def file_mark(path: Path) -> tuple[int, int, int] | None:
    """Tells a file from one that replaced it, or that was written anew."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class Before:
    """Files that are in the places that a command will write to, or whoever else writes several."""

    def __init__(self) -> None:
        self._aside = Aside()
        self._results: list[Path] = []
        self._reports: list[Path] = []
        self._known: dict[Path, tuple[int, int, int] | None] = {}

    def note(self, results: Sequence[Path], reports: Sequence[Path]) -> None:
        """Keeps what is there, for as long as this is not at its end.

        Args:
            results: models and plans, which are not written through links.
            reports: what stays from :meth:`reports_stay` on.

        Raises:
            UsageError: a file cannot be kept.
        """
        # What a link leads to is what is written.
        self._results, self._reports = list(results), [Path(os.path.realpath(report)) for report in reports]
        for path in self._all():
            self._known[path] = file_mark(path)
            # Not is_file, which raises for a name that is too long, as that of weights beside a long name may be.
            if os.path.isfile(path) and not path.is_symlink():
                try:
                    # Not moved: the run may take hours, and until it has another the file stays in its place.
                    self._aside.keep(path, shutil.copy2)
                except OSError as error:
                    self._aside.let_go()
                    reason = error.strerror or error
                    raise UsageError(f"{path} cannot be kept: {reason}; make room or choose another place") from None

    def reports_stay(self) -> None:
        """All reports are written, and may say why the command fails."""
        self._reports = []

    def end(self, *, fails: bool) -> list[Path]:
        """Deletes the copies of files from before.

        Where the command fails, the files that it wrote are deleted first, and the copies put back in their places.

        Returns:
            Copies that cannot be put back, and so are left where they are.
        """
        lost = []
        if fails:
            # Looked for again: how many files the weights took is known only now. A file that was not replaced stays.
            changed = [path for path in self._all() if file_mark(path) != self._known.get(path)]
            for path in changed:
                if os.path.isfile(path):
                    path.unlink(missing_ok=True)
            lost = self._aside.put_back(changed)
        self._aside.let_go()
        return lost

    def _all(self) -> list[Path]:
        # Models before their weights, which are put back in the other order.
        return [*self._reports, *(path for result in self._results for path in files_of(result))]


@contextmanager
def before_writing(results: Sequence[Path], reports: Sequence[Path]) -> Iterator[None]:
    """While files are written that belong together; arguments and errors as of :meth:`Before.note`."""
    before = Before()
    before.note(results, reports)
    try:
        yield
    except BaseException:
        before.end(fails=True)
        raise
    before.end(fails=False)
