"""What is read from files, and read anew when they change."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from face_embedding_server.errors import OperatorError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Watched(Generic[T]):
    """A value made of files. If what they hold becomes unusable, the last usable value stays.

    Args:
        files: the files; those that a symbolic link leads to count, as Kubernetes swaps links.
        read: makes the value.

    Raises:
        OperatorError: if the value cannot be made at first.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], T]) -> None:
        self._files = files
        self._read = read
        self._lock = threading.Lock()
        self._seen = self._look()
        self._value = read()

    def get(self) -> T:
        """Return the value, made anew if a file changed. Safe to use from any thread."""
        seen = self._look()
        if seen != self._seen:
            with self._lock:
                if seen != self._seen:
                    self._renew(seen)
        return self._value

    @property
    def last(self) -> T:
        """The value as `get` returned it last; the files are not looked at."""
        return self._value

    def _renew(self, seen: object) -> None:
        names = ", ".join(map(str, self._files))
        try:
            self._value = self._read()
        except Exception as error:
            unforeseen = None if isinstance(error, OperatorError) else error
            _log.error(
                "%s changed and cannot be used; the old one stays: %s",
                names,
                error,
                exc_info=unforeseen,
            )
        else:
            _log.info("%s changed and is in use", names)
        # Also after a failure, so that it is logged once and not at each look.
        self._seen = seen

    def _look(self) -> object:
        return [_identity(file) for file in self._files]


def _identity(file: Path) -> object:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
