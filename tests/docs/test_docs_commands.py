"""The commands in the documentation exist, with these options."""

import argparse
import re
import shlex

import pytest
from docs_pages import PAGES, ROOT, blocks

from face_embedding_client.cli import main as client_cli
from face_embedding_server import settings
from face_embedding_server.cli.main import COMMANDS as SERVER_COMMANDS
from face_embedding_server.cli.main import build_parser
from face_embedding_server.settings import Settings

PARSERS = {
    "face-embedding": client_cli._parser(),
    "face-embedding-server": build_parser(list(SERVER_COMMANDS)),
}
COMMANDS = [line for block in blocks("sh") for line in block.text.splitlines() if line]
# What is shown without being run here, such as what needs Docker, may call these as well.
SHOWN = [
    line[line.index("face-embedding") :]
    for block in blocks("text")
    for line in block.text.splitlines()
    if re.match(r"(OTEL_\S+ )?face-embedding(-server)? ", line)
]


def parse(command: str) -> argparse.Namespace:
    program, *arguments = shlex.split(command, comments=True)
    try:
        return PARSERS[program].parse_args(arguments)
    except SystemExit as error:
        pytest.fail(f"{command}: exit status {error.code}")


@pytest.mark.parametrize("command", [*COMMANDS, *SHOWN])
def test_command(command: str) -> None:
    """A command is a target of make, or is understood by the program; settings go together."""
    if command.startswith("make "):
        targets = re.findall(
            r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE
        )
        assert command.split()[1] in targets
        return
    options = vars(parse(command))
    flags = {name: options.get(name) for name in Settings.model_fields}
    if " serve " in command and not options["config"]:
        assert settings.load(flags, {}).model


def test_paths() -> None:
    """The files and folders of the repository that the documentation names are there."""
    roots = "benchmarks|client|deploy|examples|models|protos|server"
    named = {
        path
        for page in PAGES
        for path in re.findall(rf"`((?:{roots})(?:/[\w.-]+)+)`", page.read_text("utf-8"))
    }
    assert named
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]
