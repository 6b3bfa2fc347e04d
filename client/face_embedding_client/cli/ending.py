"""How a command ends that is told to: by an exception, and then undisturbed for a while.

Who presses Ctrl-C twice would otherwise cut off what the command prints as its last.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Of Ctrl-C, of `kill` and `timeout`, and of a terminal that is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
# Long enough for the last words, unless nobody reads them.
_UNDISTURBED_S = 2.0


class Ended(KeyboardInterrupt):
    """A signal said that the command is to end; has its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Held:
    """Whether a signal has to wait, and the one that does."""

    waits = False
    number: int | None = None


_held = _Held()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Have a first signal wait for the end of what is done within; a second one does not."""
    _held.waits = True
    try:
        yield
    finally:
        _held.waits = False
        number, _held.number = _held.number, None
    if number is not None:
        raise Ended(number)


@contextlib.contextmanager
def by_signals() -> Iterator[None]:
    """Have signals raise `Ended` within, but for those that are ignored, as by `nohup`."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if handler in _DEFAULTS]
    if threading.current_thread() is not threading.main_thread():
        taken = []
    for number in taken:
        signal.signal(number, _end)
    try:
        yield
    except Ended:
        # What is left of a process that ends is not to be disturbed either.
        raise
    except BaseException:
        _restore(taken, before)
        raise
    _restore(taken, before)


def undisturbed() -> None:
    """Let nothing of what `by_signals` takes disturb what is left to do, for some seconds."""
    until = time.monotonic() + _UNDISTURBED_S

    def end(number: int, _: FrameType | None) -> None:
        if time.monotonic() > until:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in _SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, end)


def _restore(taken: list[signal.Signals], before: dict[signal.Signals, Any]) -> None:
    for number in taken:
        signal.signal(number, before[number])


def _end(number: int, _: FrameType | None) -> None:
    if _held.waits and _held.number is None:
        _held.number = number
        return
    raise Ended(number)
