"""MXNet is imported on the NumPy that is there, which is afterwards as it was."""

import importlib
import json
import subprocess
import sys
from typing import NoReturn

import numpy as np
import pytest

from face_embedding_server.inference.backends import mxnet
from support import needs_mxnet

# In a process of its own, as another test may have imported MXNet.
PROGRAM = """
import json, types
import numpy as np
from face_embedding_server.inference.backends import mxnet
before = set(vars(np))
imported = mxnet._import_mxnet()
added = {name: vars(np)[name] for name in vars(np).keys() - before}
# NumPy imports some of its own modules when they are first named.
left = [name for name, value in added.items() if not isinstance(value, types.ModuleType)]
print(json.dumps([imported.__version__, left]))
"""


@needs_mxnet
def test_import_leaves_numpy_as_it_was() -> None:
    """MXNet is imported, and NumPy has no name afterwards that it did not have before."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(result.stdout) == ["1.9.1", []]
    assert result.stderr == ""


def test_failed_import_leaves_numpy_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are there while MXNet is imported, and gone after an import that fails."""
    before = set(vars(np))

    def fail(_: str) -> NoReturn:
        assert all(hasattr(np, name) for name in mxnet._DROPPED)
        raise ImportError

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ImportError):
        mxnet._import_mxnet()
    assert set(vars(np)) == before


# NumPy 1 warns whoever asks for a name that it has dropped.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_names_of_numpy_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that NumPy has is left alone."""
    own = object()
    monkeypatch.setattr(np, "NaN", own, raising=False)
    with mxnet._dropped_names():
        assert vars(np)["NaN"] is own
    assert vars(np)["NaN"] is own
