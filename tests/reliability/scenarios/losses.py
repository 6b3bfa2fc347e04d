"""Servers that end under load, and callers who use the client."""

import contextlib
import signal
import threading
import time
from pathlib import Path

from mixed_load import ALIGNED
from promises import Figures, Noted, Promise, Scenario

from face_embedding_client import FaceEmbeddingClient, FaceEmbeddingError
from support.processes import serving

_SERVERS = 4
_CALLERS = 8
# From one end of a server to the next.
_PAUSE_S = 1.5


def _lost(store: Path, end: signal.Signals) -> Noted:
    """Return how many calls fail while all servers but one end, one after the other."""
    answered: list[None] = []
    failed: list[FaceEmbeddingError] = []
    over = threading.Event()

    def call(client: FaceEmbeddingClient) -> None:
        while not over.is_set():
            try:
                client.embed(ALIGNED.encoded)
            except FaceEmbeddingError as error:
                failed.append(error)
            else:
                answered.append(None)

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(store, "--drain-s", "0.5")) for _ in range(_SERVERS)]
        address = "ipv4:" + ",".join(server.address for server in servers)
        client = stack.enter_context(FaceEmbeddingClient(address, round_robin=True))
        threads = [threading.Thread(target=call, args=[client]) for _ in range(_CALLERS)]
        for thread in threads:
            thread.start()
        for server in servers[1:]:
            time.sleep(_PAUSE_S)
            server.process.send_signal(end)
        time.sleep(_PAUSE_S)
        over.set()
        for thread in threads:
            thread.join()
    return Noted(len(failed), ", ".join((f"of {len(answered):,}", *sorted(map(str, failed))[:1])))


def _scenario(text: str, end: signal.Signals) -> Scenario:
    def figures(store: Path) -> Figures:
        yield _lost(store, end)

    promise = Promise(f"calls lost while three servers of four end by {text}", 0)
    return Scenario((promise,), figures)


SCENARIOS = (_scenario("kill -9", signal.SIGKILL), _scenario("SIGTERM", signal.SIGTERM))
