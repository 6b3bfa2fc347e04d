"""A server in a process of its own, which dies and comes back."""

import subprocess
import sys
import threading
from pathlib import Path

import mortal

from support import wait_until

# Longer than the retries of a client, which are over after 0.35 s.
AWAY_S = 1.0


class Supervised:
    """One server of `mortal`, at the same address whenever it is started."""

    def __init__(self, folder: Path) -> None:
        self._asked = folder / "asked"
        self._asked.touch()
        self._port = "0"
        self._over = threading.Event()
        self._nurse = threading.Thread(target=self._raise)
        self.start()
        self._port = self._asked.read_text().split()[0]
        self.address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        before = self._asked.stat().st_size
        with self._asked.open("ab") as file:
            command = [sys.executable, mortal.__file__, self._port]
            process = subprocess.Popen(command, stdout=file)
        wait_until(lambda: self._asked.stat().st_size > before)
        if self._port != "0":
            self._process.wait()
        self._process = process

    def _raise(self) -> None:
        while True:
            self._process.wait()
            if self._over.wait(AWAY_S):
                return
            self.start()

    def supervise(self) -> None:
        """Have it started anew a while after each of its deaths."""
        self._nurse.start()

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()

    def end(self) -> None:
        """End it for good."""
        self._over.set()
        self._process.kill()
        if self._nurse.ident:
            self._nurse.join()
        self._process.kill()
        self._process.wait()

    def asked_for(self, face: bytes) -> int:
        """How often it was asked for a face."""
        return self._asked.read_text().split().count(face.decode())
