"""MXNet: runs the original checkpoint. The reference.

MXNet 1.9.1 is the last release and is kept alive here: what it needs of its surroundings is done
in this module and nowhere else.
"""

import importlib
import os
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet import checkpoint, conversion
from face_embedding_models.store.stored import StoredModel
from face_embedding_server.faces.images import Pixels
from face_embedding_server.inference.backends import (
    BackendError,
    BackendInfo,
    check_reference,
    network_input,
)
from face_embedding_server.inference.threads import available_cpus

P = ParamSpec("P")
T = TypeVar("T")

# MXNet is not thread-safe: this is the one thread that ever touches it, whatever the model.
_THREAD = ThreadPoolExecutor(1, "mxnet")
# Networks that nobody uses any more, in boxes that are emptied by that thread.
_UNUSED: deque[list[Any]] = deque()


class MxnetBackend:
    """A bound network."""

    def __init__(self, model: StoredModel) -> None:
        symbol_bytes, params_bytes = model.read_checkpoint_files()
        # MXNet ends the process when a graph or a shape is malformed, so it only sees networks that
        # the converter understands.
        conversion.convert(checkpoint.parse(symbol_bytes, params_bytes), model.manifest)
        self._box, version = _run(_bind, model.manifest, symbol_bytes, params_bytes)
        # Not told to the thread from here: this may run while that very thing is done.
        weakref.finalize(self, _UNUSED.append, self._box)
        order = model.manifest.input.channel_order
        self.info = BackendInfo("mxnet", version, "cpu(0)", "f32", order)

    def embed(self, face_bgr: Pixels) -> NDArray[np.float32]:
        """Embed one face; see `Backend.embed`."""
        return _run(self._infer, face_bgr)

    def close(self) -> None:
        """Let go of the engine; see `Backend.close`."""
        _run(self._box.clear)

    def _infer(self, face_bgr: Pixels) -> NDArray[np.float32]:
        data = network_input(face_bgr, self.info.channel_order)
        (network,) = self._box
        outputs = network.forward(is_train=False, data=data)
        embedding: NDArray[np.float32] = outputs[0].asnumpy()[0]
        return embedding


def load(model: StoredModel, precision: str) -> MxnetBackend:
    """Load the model's checkpoint; see `backends.load`."""
    check_reference("mxnet", model, precision)
    return MxnetBackend(model)


def precisions(_: StoredModel) -> tuple[str, ...]:
    """Return the only precision of a reference; see `backends.precisions`."""
    return ("f32",)


def _run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in the thread for MXNet, where what is not used any more is freed first."""

    def run() -> T:
        while _UNUSED:
            _UNUSED.popleft().clear()
        try:
            return work(*args, **kwargs)
        except Exception as error:
            # Its frames hold what MXNet made, which whoever drops the error would free.
            for each in filter(None, (error, error.__context__)):
                traceback.clear_frames(each.__traceback__)
            raise

    return _THREAD.submit(run).result()


def _bind(known: Manifest, symbol_bytes: bytes, params_bytes: bytes) -> tuple[list[Any], str]:
    """Return a box with an MXNet executor of a model for one face, and MXNet's version."""
    mxnet = _import_mxnet()
    try:
        internals = mxnet.sym.load_json(symbol_bytes.decode()).get_internals()
        network = internals[f"{known.output.name}_output"]
        arrays = {
            name.partition(":")[2]: array
            for name, array in mxnet.nd.load_frombuffer(params_bytes).items()
        }
        arrays[known.input.name] = mxnet.nd.zeros((1, 3, known.input.height, known.input.width))
        executor = network.bind(
            mxnet.cpu(),
            args={name: arrays[name] for name in network.list_arguments()},
            aux_states={name: arrays[name] for name in network.list_auxiliary_states()},
            grad_req="null",
        )
        executor.forward(is_train=False)[0].wait_to_read()
    except (mxnet.MXNetError, ValueError) as error:
        # Its messages carry a trace of C++; the last line says what is wrong.
        reason = str(error).strip().splitlines()[-1]
        raise BackendError(f"MXNet cannot load {known.name}: {reason}") from error
    except KeyError as error:
        raise BackendError(f"the checkpoint of {known.name} lacks the array {error}") from error
    return [executor], mxnet.__version__


def _import_mxnet() -> Any:
    # Its fusion of operators into subgraphs fails on the second forward of MobileFaceNet ("We
    # can't generate TBlob for MKLDNN data"). Read by MXNet once, at import.
    os.environ.setdefault("MXNET_SUBGRAPH_BACKEND", "NONE")
    # Unasked, it leaves a processor to itself: on two, one image took 1.6 times as long.
    os.environ.setdefault("OMP_NUM_THREADS", str(available_cpus()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _dropped_names():
            return importlib.import_module("mxnet")


def _dropped(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError("NumPy has no such function any more")


# What MXNet takes from NumPy when it is imported, and what NumPy has dropped since. It goes into
# mxnet.np, which nothing here uses: the functions are never called.
_DROPPED = {
    # By 1.24.
    "bool": np.bool_,
    # By 1.20, the functions of finance.
    **dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate"), _dropped),
    # By 2.0, second names of constants and functions.
    **dict.fromkeys(("NaN", "NAN"), np.nan),
    **dict.fromkeys(("Inf", "PINF"), np.inf),
    "NINF": -np.inf,
    "PZERO": 0.0,
    "NZERO": -0.0,
    **dict.fromkeys(("alltrue", "sometrue", "product", "round_", "msort"), _dropped),
    # By 2.4.
    **dict.fromkeys(("in1d", "trapz"), _dropped),
}


@contextmanager
def _dropped_names() -> Iterator[None]:
    """Give NumPy the names back that it lacks, until the block ends."""
    lacking = {name: value for name, value in _DROPPED.items() if not hasattr(np, name)}
    vars(np).update(lacking)
    try:
        yield
    finally:
        for name in lacking:
            delattr(np, name)
