"""Serves the contract on a Ray cluster, with as many replicas as the calls need.

    python deploy/ray/serve.py --model NAME --port 50051

Ray Serve's gRPC proxy takes the calls, on every node, and hands each to a replica with the model in
its process. TLS and permissions are not there: see docs/ray.md.
"""

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Before Ray is imported: it would send its makers what it is used for.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import grpc
import ray
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from on_ray import cluster, cores
from on_ray.cluster import ClusterError
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, ProxyLocation, gRPCOptions
from ray.serve.grpc_util import RayServegRPCContext

from face_embedding_models.errors import ModelError
from face_embedding_models.store import Store
from face_embedding_server.errors import OperatorError
from face_embedding_server.inference import threads
from face_embedding_server.inference.registry import Registry
from face_embedding_server.inference.workers import Workers
from face_embedding_server.rpc import status
from face_embedding_server.rpc.admission import Admission
from face_embedding_server.rpc.face_embedding import METHODS, FaceEmbeddingService
from face_embedding_server.rpc.methods import AnyMethod, Method, StreamMethod
from face_embedding_server.rpc.patience import Patience
from face_embedding_server.settings import Settings
from face_embedding_server.telemetry.metrics import Metrics

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130
_SERVICERS = [
    "face_embedding.v1.face_embedding_pb2_grpc.add_FaceEmbeddingServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
]
# Until there are more replicas, each takes so many times its calls.
_REPLICA_CALLS = 4
# Seconds of more calls than that before there is another one.
_MORE_AFTER_S = 5
# What decides who may call, which nobody asks here.
_NOT_HERE = ("access", "tls_certificate", "tls_client_ca", "processes")


class Replica:
    """The contract's methods, by the model in this process. Ray Serve calls them by their names."""

    def __init__(self, chosen: Settings, cpus: int) -> None:
        cores.claim(cpus)
        registry = Registry(chosen, Metrics())
        registry.load()
        admission = Admission(
            chosen.max_bytes_in_flight, Patience(chosen.patience_s), chosen.stream_idle_s
        )
        self._service = FaceEmbeddingService(registry, admission, chosen, Workers())
        self._calls = ThreadPoolExecutor(threads.handlers())
        self._streams = ThreadPoolExecutor(threads.STREAMS)

    async def answer(self, method: Method, request: Message, call: RayServegRPCContext) -> Message:
        """Answer a call of a method, or end it with a status that has its reason."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._calls, method.answer, self._service, request)
        except Exception as error:
            _refuse(call, error)
            return Empty()

    async def answer_stream(
        self, method: StreamMethod, requests: AsyncIterator[Message], call: RayServegRPCContext
    ) -> AsyncIterator[Message]:
        """Answer a stream of a method."""
        loop = asyncio.get_running_loop()

        async def following() -> Message | None:
            return await anext(requests, None)

        def items() -> Iterator[bytes]:
            while item := asyncio.run_coroutine_threadsafe(following(), loop).result():
                yield item.SerializeToString()

        stream = _StreamCall()
        answers = method.answer(self._service, items(), stream)  # type: ignore[arg-type]  # Enough.
        taken = self._streams.submit(next, answers, None)
        try:
            while answer := await asyncio.wrap_future(taken):
                yield answer
                taken = self._streams.submit(next, answers, None)
        except Exception as error:
            _refuse(call, error)
            # Without an error a stream ends as if all were well.
            raise
        finally:
            stream.end()
            # A thread may be inside them.
            taken.add_done_callback(lambda _: answers.close())

    async def Check(self, _: health_pb2.HealthCheckRequest) -> Message:  # noqa: N802  # Its name.
        """Say that the model is loaded, as it is."""
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def Watch(  # noqa: N802  # Its name.
        self, _: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[Message]:
        """Say that this is not there: a client that balances then calls without it."""
        grpc_context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        raise NotImplementedError("Watch")
        yield


class _StreamCall:
    """What a stream wants of its call."""

    def __init__(self) -> None:
        self.end: Callable[[], None] = lambda: None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Have a function called when the call is over, which it is not."""
        self.end = callback
        return True

    def cancel(self) -> None:
        """Do without: Ray Serve takes the answers, however slow a caller is."""


def _refuse(call: RayServegRPCContext, error: Exception) -> None:
    refusal = status.report(error)
    told = status.status_of(refusal)
    call.set_code(status.code_of(refusal))
    call.set_details(told.message)
    call.set_trailing_metadata([(status.STATUS_DETAILS_KEY, told.SerializeToString())])


def _of(method: AnyMethod) -> Any:
    """Return a method of the contract in the form in which Ray Serve calls it."""
    if isinstance(method, Method):

        async def answer(self: Replica, request: Any, grpc_context: RayServegRPCContext) -> Message:
            return await self.answer(method, request, grpc_context)

        return answer

    async def answers(
        self: Replica, requests: Any, grpc_context: RayServegRPCContext
    ) -> AsyncIterator[Message]:
        async for each in self.answer_stream(method, requests, grpc_context):
            yield each

    return answers


for _method in METHODS:
    setattr(Replica, _method.name, _of(_method))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop, and return the exit status."""
    known = parser()
    options = known.parse_args(arguments)
    try:
        _serve(options)
    except (OperatorError, ModelError) as error:
        print(f"{known.prog}: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what knows the options."""
    known = argparse.ArgumentParser("serve.py", description=__doc__.splitlines()[0])
    known.add_argument(
        "--port", type=cluster.port, default=50051, help="of every node (default: 50051)"
    )
    known.add_argument(
        "--in-flight",
        type=cluster.positive,
        default=8,
        help="calls at a time at each worker, for which their number is chosen (default: 8)",
    )
    cluster.add_options(known)
    return known


def _serve(options: argparse.Namespace) -> None:
    chosen = cluster.settings_of(options)
    for name in _NOT_HERE:
        if getattr(chosen, name) != Settings.model_fields[name].default:
            raise ClusterError(f"{name} has no effect on Ray, where nobody asks who calls")
    Store(chosen.store).get(chosen.model)
    most = cluster.connect(options)
    replicas = serve.deployment(
        Replica,
        name="face-embedding",
        ray_actor_options={"num_cpus": options.cpus},
        max_ongoing_requests=_REPLICA_CALLS * options.in_flight,
        max_queued_requests=threads.WAITING,
        autoscaling_config=AutoscalingConfig(
            min_replicas=1,
            max_replicas=most,
            target_ongoing_requests=options.in_flight,
            upscale_delay_s=_MORE_AFTER_S,
            look_back_period_s=_MORE_AFTER_S,
            metrics_interval_s=1,
        ),
    )
    try:
        serve.start(
            proxy_location=ProxyLocation.EveryNode,
            http_options=HTTPOptions(host="127.0.0.1", port=0),
            grpc_options=gRPCOptions(port=options.port, grpc_servicer_functions=_SERVICERS),
        )
        serve.run(replicas.bind(chosen, options.cpus), name="face-embedding")
        print(f"serving {chosen.model} on port {options.port} of every node", flush=True)
        threading.Event().wait()
    except (ray.exceptions.RayError, RuntimeError) as error:
        # It is a trace, which stands above; its last line says what it was.
        raise ClusterError(f"Ray Serve cannot start: {str(error).splitlines()[-1]}") from error
    finally:
        serve.shutdown()


if __name__ == "__main__":
    sys.exit(main())
