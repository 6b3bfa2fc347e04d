"""What the tests of model files share."""

from typing import Any

import pytest

from face_embedding_server.backends import mxnet as mxnet_backend
from support import WITH_MXNET


@pytest.fixture(scope="session", params=[WITH_MXNET])
def mxnet() -> Any:
    """MXNet itself, the reference."""
    # What MXNet needs of its surroundings is known in one place only.
    return mxnet_backend._import_mxnet()
