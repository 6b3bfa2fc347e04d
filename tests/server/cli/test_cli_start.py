"""What the command line costs before it does anything."""

import subprocess
import sys

import pytest

from face_embedding_server.cli.main import COMMANDS

HEAVY = ("openvino", "cv2", "mxnet", "onnx", "grpc", "numpy")
PROGRAM = """
import sys
from face_embedding_server.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(",".join(sys.modules))
"""


def imported(*arguments: str) -> set[str]:
    """Return the names of the modules that a command has imported when it ends."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return set(out.splitlines()[-1].split(","))


def test_help() -> None:
    """The list of commands needs no engine, and no library for images or calls."""
    assert not imported("--help") & set(HEAVY)


@pytest.mark.parametrize(
    "command", [("models", "list", "--store", "none"), ("token",), ("models", "--help")], ids=str
)
def test_light_commands(command: tuple[str, ...]) -> None:
    """What looks after files imports no engine."""
    assert not imported(*command) & {"openvino", "cv2", "mxnet", "onnx"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(name: str) -> None:
    """Every command has help."""
    done = subprocess.run(
        [sys.executable, "-m", "face_embedding_server", name, "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert COMMANDS[name].summary.split()[0] in done.stdout
