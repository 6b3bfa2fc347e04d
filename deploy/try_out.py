"""Serve a model and check its answers: so a build of the image ends where something is missing."""

import re
import subprocess
import sys
import tempfile

MODEL = "face-recognition-mobilefacenet-arcface"


def main() -> None:
    """Make a stand-in, serve it, and let the client's conformance kit check the server."""
    with tempfile.TemporaryDirectory() as store:
        serving = ("--store", store, "--address", "127.0.0.1:0")
        run("face-embedding-server", "models", "synthesize", MODEL, "--store", store)
        command = ["face-embedding-server", "serve", "--model", MODEL, *serving]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                announced = server.stdout.readline() if server.stdout else ""
                address = re.search(r" on (\S+:\d+) ", announced)
                if not address:
                    sys.exit(f"the server did not start: {announced}")
                run("face-embedding", "conformance", "--address", address[1])
            finally:
                server.terminate()
        if server.returncode:
            sys.exit(f"the server ended with {server.returncode}")


def run(*command: str) -> None:
    """Run a command, which has to succeed."""
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
