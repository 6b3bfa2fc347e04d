"""The signals that a serving process is told things by."""

import faulthandler
import logging
import os
import select
import signal
from collections.abc import Iterator

_STOP = (signal.SIGTERM, signal.SIGINT)
_RELOAD = signal.SIGHUP
_PIPE_BYTES = 65536
# That it takes to write where a process hangs.
_TRACEBACK_S = 0.1

_log = logging.getLogger(__name__)


class Signals:
    """Takes signals from now on: SIGTERM and SIGINT stop, SIGHUP looks for changed models.

    A second signal to stop ends the process at once.
    """

    def __init__(self) -> None:
        # The signal itself writes to a pipe: a wait on a lock would sleep on if it came in another
        # thread.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer)
        for number in (*_STOP, _RELOAD):
            signal.signal(number, _noted)

    def fileno(self) -> int:
        """Return what can be read when a signal has come; see `received`."""
        return self._reader

    def received(self) -> tuple[bool, bool]:
        """Return whether to stop, and whether to look at the store, as said since the last time.

        To be called when `fileno` can be read.
        """
        # All at once: a stop does not wait behind others, and many looks are one.
        numbers = os.read(self._reader, _PIPE_BYTES)
        stops = [number for number in _STOP if number in numbers]
        if stops:
            _log.info("stopping on %s", signal.Signals(stops[0]).name)
        return bool(stops), _RELOAD in numbers

    def looks(self, watch_s: float) -> Iterator[bool]:
        """Yield whenever the store is to be looked at; end on a signal to stop.

        Args:
            watch_s: seconds between looks; 0 looks only on SIGHUP.

        Yields:
            Whether a person asked for it, by SIGHUP.
        """
        while True:
            ready, _, _ = select.select([self], [], [], watch_s or None)
            stop, look = self.received() if ready else (False, False)
            if stop:
                return
            yield look

    def stop(self) -> None:
        """Do as on a signal to stop."""
        os.write(self._writer, bytes([signal.SIGTERM]))

    def end_within(self, seconds: float) -> None:
        """End the process with an error if it has not ended by then, whatever hangs."""
        faulthandler.dump_traceback_later(seconds, exit=True)
        # In case that even the traceback is read by nobody.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + _TRACEBACK_S)


def _noted(number: int, _: object) -> None:
    if number in _STOP:
        for each in _STOP:
            signal.signal(each, signal.SIG_DFL)
