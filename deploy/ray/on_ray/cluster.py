"""Which cluster and which model a program uses, and how it reaches the cluster."""

import argparse
import os
import socket
from pathlib import Path
from typing import Any

import ray
import ray.cloudpickle

import on_ray
from face_embedding_server import settings
from face_embedding_server.errors import OperatorError
from face_embedding_server.settings import Settings

# Of a cluster that is made here: nothing large is handed from process to process.
_OBJECT_STORE_BYTES = 100 << 20
_LISTENS_S = 10


class ClusterError(OperatorError):
    """The cluster cannot do what it was told; the message says why."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the model and the cluster."""
    model = parser.add_argument_group("the model, as for face-embedding-server serve")
    model.add_argument("--model", help="its name")
    model.add_argument("--store", type=Path, help="the folder with the models, on every node")
    model.add_argument("--backend", help="the inference engine")
    model.add_argument("--precision", help="f32, bf16, int8 or auto")
    model.add_argument("--detector", help="what finds the faces")
    model.add_argument("--detector-precision", help="the precision of the detector's networks")
    model.add_argument("--detector-model", type=Path, help="the detector's model")
    cluster = parser.add_argument_group("the cluster")
    cluster.add_argument(
        "--address", help="HOST:PORT of it (default: RAY_ADDRESS, or one made here meanwhile)"
    )
    cluster.add_argument(
        "--cpus", type=positive, default=2, help="the processors of each worker (default: 2)"
    )
    cluster.add_argument(
        "--workers", type=positive, help="the most workers (default: as many as fit now)"
    )


def positive(text: str) -> int:
    """Return a number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def port(text: str) -> int:
    """Return a port that can be asked for."""
    number = positive(text)
    if number >= 1 << 16:
        raise ValueError(text)
    return number


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings of a worker: the model's options, and what the environment says.

    Raises:
        SettingsError: if one is wrong or missing.
    """
    flags = {name: getattr(options, name, None) for name in Settings.model_fields}
    chosen = settings.load(flags | {"address": None})  # That of the cluster is another one.
    # A worker has another working directory.
    paths = {
        name: path.absolute()
        for name in ("store", "detector_model", "calibration")
        if (path := getattr(chosen, name))
    }
    return chosen.model_copy(update=paths)


def connect(options: argparse.Namespace) -> int:
    """Connect to the cluster, or make one; return how many workers it is to have at most.

    Raises:
        ClusterError: if there is none, or no node has room for a worker.
    """
    ray.cloudpickle.register_pickle_by_value(on_ray)
    address = options.address or os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {"object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    try:
        if address:
            _check_listens(address)
        ray.init(address or "local", **({} if address else own))
    except Exception as error:  # Ray has no kind of its own for this.
        what = f"the cluster {address} cannot be reached" if address else "Ray cannot be started"
        raise ClusterError(f"{what}: {error}") from error
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    rooms = sum(each // options.cpus for each in cpus)
    if not rooms:
        raise ClusterError(
            f"no node of the cluster has the {options.cpus} processors of a worker, they have "
            f"{', '.join(map(str, cpus))}: give --cpus fewer"
        )
    workers: int = options.workers or rooms
    return workers


def _check_listens(address: str) -> None:
    """Find out in seconds whether anybody listens there, for which Ray takes minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), _LISTENS_S).close()
