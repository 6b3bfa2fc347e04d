"""The servicer under Ray Serve, with another engine: `ray_replicas.py ENGINE MODEL STORE REPLICAS`.

The engines are those of `with_engine.py`. The number of replicas is fixed, and the cluster is one
that is made here, whose processors are only counted: no engine keeps one busy.
"""

import contextlib
import socket
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "deploy" / "ray"))

import numpy as np
import on_ray
import ray
import ray.cloudpickle
import serve as deployed
import with_engine
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions

from face_embedding_models import manifest
from face_embedding_server.inference.backends.openvino import OpenVinoBackend
from face_embedding_server.settings import Settings

# Ray's own proxy and controller count too.
_CPUS_BESIDE = 2
_IN_FLIGHT = 32
_OBJECT_STORE_BYTES = 100 << 20


class Replica(deployed.Replica):
    """A replica whose engine is another."""

    def __init__(self, chosen: Settings, engine: str) -> None:
        super().__init__(chosen, 1)
        embedding = np.linspace(-1, 1, manifest.load(chosen.model).output.size, dtype=np.float32)
        OpenVinoBackend.embed = with_engine.ENGINES[engine](embedding)  # type: ignore[method-assign]


def main(engine: str, model: str, store: str, replicas: str) -> None:
    """Serve until told to stop."""
    # What Ray tells is not what is read here: that is one line, of where it serves.
    with contextlib.redirect_stdout(sys.stderr):
        port = start(engine, model, store, int(replicas))
    print(f"serving {replicas} replicas on 127.0.0.1:{port} ", flush=True)
    threading.Event().wait()


def start(engine: str, model: str, store: str, replicas: int) -> int:
    """Make a cluster and have it serve; return the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    for module in (on_ray, deployed, with_engine):
        ray.cloudpickle.register_pickle_by_value(module)
    ray.init(
        num_cpus=replicas + _CPUS_BESIDE,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
    )
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=0),
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=deployed._SERVICERS),
    )
    chosen = Settings(model=model, store=Path(store), detector="none")
    made = serve.deployment(
        Replica,
        num_replicas=replicas,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=_IN_FLIGHT,
    )
    serve.run(made.bind(chosen, engine), name="face-embedding")
    return port


if __name__ == "__main__":
    main(*sys.argv[1:])
