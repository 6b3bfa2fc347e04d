"""Engines that hang or fail, and a log that nobody reads."""

import contextlib
import fcntl
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
from callers import TIMEOUT_S, checking, connected, embedding, p99, timed
from promises import Figures, Promise, scenario

from face_embedding_server.watchdog import MOST_FAILURES
from support import wait_until
from support.processes import FAULTY, Running, serving

_STALL_S = 2
_GRACE_S = 2
_CALLS = 300
# The least that a pipe of Linux holds; each call is a line of some hundred bytes.
_PIPE_BYTES = 4096


@contextlib.contextmanager
def _faulty(store: Path, *flags: str) -> Iterator[tuple[Running, grpc.Channel, Path]]:
    """Run a server whose engine does what a file says; it has answered a call."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(
            store,
            *flags,
            program=(FAULTY, str(mode := Path(folder) / "mode")),
            log=subprocess.DEVNULL,
        ) as running,
        connected(running.address) as channel,
    ):
        embedding(channel)()
        yield running, channel, mode


def _serves(channel: grpc.Channel) -> bool:
    try:
        checking(channel)()
    except AssertionError:
        return False
    return True


@scenario(Promise(f"an engine that hangs, with --stall-s {_STALL_S}: the process ends", 4, "s"))
def _stall(store: Path) -> Figures:
    with _faulty(store, "--stall-s", str(_STALL_S)) as (running, channel, mode):
        mode.write_text("hang")

        def hang() -> None:
            with contextlib.suppress(grpc.RpcError):
                embedding(channel)()
            running.process.wait(TIMEOUT_S)

        seconds = timed(hang)
        assert running.process.returncode > 0, "it ended as if all were well"
        yield seconds


@scenario(
    Promise(f"SIGTERM while the engine hangs, with --grace-s {_GRACE_S}: the process ends", 3, "s")
)
def _stop(store: Path) -> Figures:
    with _faulty(store, "--grace-s", str(_GRACE_S)) as (running, channel, mode):
        mode.write_text("hang")
        with contextlib.suppress(grpc.RpcError):
            embedding(channel, timeout_s=0.5)()
        running.process.send_signal(signal.SIGTERM)
        yield timed(lambda: running.process.wait(TIMEOUT_S))


@scenario(
    Promise(f"an engine that fails on {MOST_FAILURES} faces: until NOT_SERVING", 1.5, "s"),
    Promise("it is well again, and nobody calls: until SERVING", 1.5, "s"),
)
def _failing(store: Path) -> Figures:
    with _faulty(store) as (_, channel, mode):
        mode.write_text("fail")
        for _ in range(MOST_FAILURES):
            with contextlib.suppress(grpc.RpcError):
                embedding(channel)()
        yield timed(lambda: wait_until(lambda: not _serves(channel)))
        mode.write_text("")
        yield timed(lambda: wait_until(lambda: _serves(channel)))


@scenario(Promise("an aligned face while nobody reads the log: p99", 200, "ms"))
def _full_log(store: Path) -> Figures:
    flags = ("--log-level", "debug", "--log-format", "json")
    with (
        serving(store, *flags, log=subprocess.PIPE) as running,
        connected(running.address) as channel,
    ):
        assert running.process.stderr
        fcntl.fcntl(running.process.stderr, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        yield 1000 * p99([timed(embedding(channel)) for _ in range(_CALLS)])


SCENARIOS = (_stall, _stop, _failing, _full_log)
