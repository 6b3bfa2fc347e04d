"""The inference engines that can serve a model.

Each module in this package is one backend, named like its engine, with the functions

    load(model: StoredModel, precision: str) -> Backend
    precisions(model: StoredModel) -> Sequence[str]

Adding a backend is adding such a module, and its name to the table. Only that module imports the
engine, and only when the backend is asked for.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.formats import REFERENCE_BACKENDS
from face_embedding_models.manifest import ChannelOrder
from face_embedding_models.store.stored import StoredModel
from face_embedding_server.errors import OperatorError
from face_embedding_server.faces.images import Pixels, swap_red_and_blue

# Whether or not their engines are installed.
NAMES = ("mxnet", "onnxruntime", "openvino")


class BackendError(OperatorError):
    """A backend cannot be loaded; the message says why and what to do."""


@dataclass(frozen=True)
class BackendInfo:
    """What runs the model.

    Args:
        name: the backend's name, that of its module.
        version: the engine's version.
        device: the device as the engine names it.
        precision: the precision in effect, whatever was asked for.
        channel_order: the order of the channels that the engine's network takes.
    """

    name: str
    version: str
    device: str
    precision: str
    channel_order: ChannelOrder


class Backend(Protocol):
    """A loaded model that embeds faces. Safe to use from any thread."""

    @property
    def info(self) -> BackendInfo:
        """What runs the model."""
        ...

    def embed(self, face_bgr: Pixels) -> NDArray[np.float32]:
        """Embed one face.

        The calling thread waits. To embed many faces at once, call it from as many threads: the
        backend makes the most of the machine for one caller and for any number of them.

        Args:
            face_bgr: uint8 or float32 `[height, width, 3]`, channels BGR, 0 to 255, of the model's
                input size; may be read-only.

        Returns:
            The raw embedding, float32 `[size]`, owned by the caller.
        """
        ...

    def close(self) -> None:
        """Let go of the engine."""
        ...


def load(name: str, model: StoredModel, precision: str) -> Backend:
    """Load a model into a backend.

    Raises:
        BackendError: if the backend is unknown, its engine is not installed, or it cannot run the
            model at that precision.
        StoreError: if the model's files are missing or damaged.
    """
    with _module(name) as module:
        loader: Callable[[StoredModel, str], Backend] = module.load
        return loader(model, precision)


def precisions(name: str, model: StoredModel) -> Sequence[str]:
    """Return the precisions at which a backend runs a model on this machine, f32 first.

    Those that the processor only imitates are left out, and those that were not made.

    Raises:
        BackendError: if the backend is unknown, or its engine is not installed.
    """
    with _module(name) as module:
        known: Callable[[StoredModel], Sequence[str]] = module.precisions
        return known(model)


@contextmanager
def _module(name: str) -> Iterator[ModuleType]:
    """Yield a backend's module, which may import its engine later."""
    if name not in NAMES:
        raise BackendError(f"no backend is called '{name}'; known are {', '.join(NAMES)}")
    try:
        yield importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        raise BackendError(
            f"the engine of the backend '{name}' cannot be imported ({error}); install it, for "
            f"the engines of this package with pip install 'face-embedding[server,mxnet,onnx]'"
        ) from error


def check_reference(name: str, model: StoredModel, precision: str) -> None:
    """Check that a backend that runs weights as they came is asked for what it can do.

    Raises:
        BackendError: if it does not run the format of the model, or another precision than f32.
    """
    known = model.manifest
    if REFERENCE_BACKENDS[known.format] != name:
        raise BackendError(
            f"{name} does not run the format {known.format}, which {known.name} has; the backends "
            f"for it are openvino and {REFERENCE_BACKENDS[known.format]}"
        )
    if precision != "f32":
        raise BackendError(f"{name} runs at f32 only, not at '{precision}'")


def network_input(face_bgr: Pixels, channel_order: ChannelOrder) -> NDArray[np.float32]:
    """Return a face as a network takes it: float32 `[1, 3, height, width]`, 0 to 255.

    Args:
        face_bgr: `[height, width, 3]`, BGR.
        channel_order: the order of the channels that the network takes.
    """
    pixels = face_bgr.astype(np.float32)
    face = pixels if channel_order == "BGR" else swap_red_and_blue(pixels)
    return face.transpose(2, 0, 1)[np.newaxis]
