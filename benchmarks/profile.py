"""A profile of the server under load: a flame graph of the threads that hold Python's lock."""

import argparse
import subprocess
import sys
from pathlib import Path

from bench import FOLDER, run, serving


def main() -> None:
    """Run a server and a load, and record the server."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    with serving(options.store, options.model, "f32") as server:
        record = [
            Path(sys.executable).with_name("py-spy"),
            "record",
            "--gil",
            "--rate",
            1000,
            "--pid",
            server.pid,
        ]
        record += ["--duration", options.seconds, "--output", options.output]
        with subprocess.Popen([*map(str, record)]):  # noqa: S603  # our own command
            print(
                run(
                    FOLDER / "load.py", server.address, "unary", 16, options.seconds + 2, server.pid
                ),
                end="",
            )


if __name__ == "__main__":
    main()
