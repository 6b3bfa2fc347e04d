"""Manifests of one's own that are refused at an import."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from support.broken_onnx import MANIFEST

Refuse: TypeAlias = Callable[..., None]
MANIFESTS: dict[str, tuple[str | None, str, str]] = {
    "missing": (
        None,
        "mine",
        "the manifest DIR/manifest.toml cannot be read: [Errno 2] No such file or directory: "
        "'DIR/manifest.toml'",
    ),
    "no TOML": (
        "name: mine",
        "mine",
        "DIR/manifest.toml: the manifest is no TOML: Expected '=' after a key in a key/value pair "
        "(at line 1, column 5)",
    ),
    "missing key": (
        MANIFEST.replace("size = 12", ""),
        "mine",
        "DIR/manifest.toml: [output] of the manifest: the key 'size' is missing",
    ),
    "other name": (
        MANIFEST,
        "yours",
        "DIR/manifest.toml is the manifest of 'mine', not of 'yours'",
    ),
    "shipped name": (
        MANIFEST.replace('"mine"\ndescription', '"buffalo_l"\ndescription'),
        "buffalo_l",
        "DIR/manifest.toml: 'buffalo_l' is a name that comes with this program and cannot be given "
        "to another model; choose another name",
    ),
    "name of a detector": (
        MANIFEST.replace('"mine"\ndescription', '"yunet"\ndescription'),
        "yunet",
        "DIR/manifest.toml: 'yunet' is a name that comes with this program and cannot be given to "
        "another model; choose another name",
    ),
}


@pytest.mark.parametrize(("text", "name", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_manifest(text: str | None, name: str, message: str, expect_refusal: Refuse) -> None:
    """A manifest that cannot be of the model is refused before its file is read."""
    expect_refusal(message, None, text, name)
