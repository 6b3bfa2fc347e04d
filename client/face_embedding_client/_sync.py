"""The client for threads."""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _answers, _lines
from face_embedding_client._channel import (
    DEFAULT_OUTAGE_S,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_S,
    Connection,
)
from face_embedding_client._errors import FaceEmbeddingError, ServerUnavailableError
from face_embedding_client._lines import DEFAULT_CONNECTIONS, Line, Lines
from face_embedding_client._operations import Call, Operation, Operations, Outcome, Wait
from face_embedding_client._repeating import Rule
from face_embedding_client._streaming import Items
from face_embedding_client._types import (
    Comparison,
    Detections,
    EmbeddedFaces,
    Embedding,
    Face,
    ModelInfo,
    ModelSummary,
    RawFace,
    Tls,
    Upright,
)

T = TypeVar("T")


class FaceEmbeddingClient:
    """Talks to a server. Safe to share between threads; close it, or use it in a `with`.

    Args:
        address: `HOST:PORT`, or a name in gRPC's syntax, such as `dns:///HOST:PORT` or
            `ipv4:HOST:PORT,HOST:PORT`.
        model: the model's name; the server's own if empty.
        timeout_s: the deadline of each call in seconds, with its repetitions; in a stream, of each
            answer.
        tls: speak TLS, and how; None speaks plaintext.
        token: the caller's token, sent with every call.
        allow_plaintext_token: send the token without TLS too, for a network that is trusted.
        round_robin: spread calls over all the servers that the address stands for and whose health
            is SERVING, instead of using one of them.
        retries: how often, 0 to 4, a call or a stream is repeated that a server did not take, after
            waiting 0.05 s at first and then twice as long each time. With 0 nothing is repeated;
            else what an overloaded server refused is sent again as its deadline and a budget
            allow, and what was under way on a connection that was lost once more, alone.
        connections: the most connections that are opened to a server; more than one only while
            more than four calls are under way on each, of which a stream fills one alone. A server
            with several processes needs them to have them all called.
        outage_s: for how many seconds in a row a stream and `embed_many` that have answers to lose
            wait for a server that is away, as it is while it is started anew; other calls do if
            they are told to outlast it.

    Every method raises a `FaceEmbeddingError` if the call fails.

    Raises:
        ValueError: if there is a token without TLS that is not allowed, or it, `retries`,
            `connections` or `outage_s` is not of its form.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tls: Tls | None = None,
        token: str = "",
        allow_plaintext_token: bool = False,
        round_robin: bool = False,
        retries: int = DEFAULT_RETRIES,
        connections: int = DEFAULT_CONNECTIONS,
        outage_s: float = DEFAULT_OUTAGE_S,
    ) -> None:
        self._rule = Rule(timeout_s, retries, outage_s)
        self._connection = Connection(
            address, tls, token, allow_plaintext_token, round_robin, repeating=retries > 0
        )
        self._lines = Lines(
            lambda: self._connection.channel(balanced=True),
            self._connection.channel(balanced=False),
            connections,
        )
        self._operations = Operations(model, self._rule, balanced=round_robin)

    def embed(self, face: Face, *, raw: bool = False, outlast: bool = False) -> Embedding:
        """Embed one face.

        Args:
            face: an aligned face, which is the bytes of an image file or pixels; or a
                `Photograph`, which the server aligns.
            raw: keep the values as the network gave them instead of dividing by their norm.
            outlast: wait for a server that is away, up to `outage_s`.
        """
        return self._run(self._operations.embed(face, raw, outlast))

    def embed_many(
        self, faces: Iterable[Face], *, raw: bool = False
    ) -> list[Embedding | FaceEmbeddingError]:
        """Embed faces in as few calls as the server's limits allow.

        Returns:
            For each face, in order, its embedding, or the error that there is instead. That is the
            error of a call too, if it failed when some faces were embedded already.
        """
        return self._run(self._operations.embed_many(faces, raw))

    def embed_stream(
        self, faces: Iterable[tuple[str, Face]], *, raw: bool = False
    ) -> Iterator[tuple[str, Embedding | FaceEmbeddingError]]:
        """Embed any number of faces, each with an id of the caller's choice.

        Faces are taken as the server has room for them, by another thread. Yields each id with
        its embedding, or the error that there is instead, in the order in which they are done. If
        `faces` raises, that comes out after the answers to what was taken before.
        """
        options, info = self._operations.options(raw), self._run(self._operations.known_info())
        items = Items(options, info, self._rule, self._connection.address)
        changed = threading.Condition()
        taking = threading.Thread(target=_take, args=(items, changed, faces), daemon=True)
        taking.start()
        try:
            while True:
                with changed:
                    changed.wait_for(lambda: items.worth_opening)
                done = items.done
                yield from items.take_refused()
                if done:
                    break
                if not items.idle:
                    with self._lines.taken(_lines.FULL) as line:
                        yield from self._one_stream(line, items, changed)
        finally:
            with changed:
                items.closed = True
                changed.notify_all()
        if items.failure:
            raise items.failure

    def _one_stream(
        self, line: Line[grpc.Channel], items: Items, changed: threading.Condition
    ) -> Iterator[tuple[str, Outcome]]:
        """Send items by one stream; yield their answers, and those to what was lost with it."""
        failure: FaceEmbeddingError | None = None
        call = line.stub.EmbedStream(_requests(items, changed), metadata=self._connection.metadata)
        try:
            with _watching(call, items) as late:
                items.asking()
                for response in call:
                    with changed:
                        item = items.received(response)
                        changed.notify_all()
                    item_id, outcome = _answers.stream_item(response)
                    if item and isinstance(outcome, ServerUnavailableError):
                        outcome = self._run(
                            self._operations.embed_item(item, outcome, items.answered)
                        )
                    yield item_id, outcome
                    yield from items.take_refused()
                    items.asking()
        except grpc.RpcError as error:
            if late.is_set():
                raise items.late() from error
            failure = self._connection.error(error)
        finally:
            call.cancel()
        with changed:
            suspects, wait_s = items.end(failure)
            changed.notify_all()
        time.sleep(wait_s)
        for item, lost in suspects:
            yield item.id, self._run(self._operations.embed_item(item, lost, items.answered))

    def embed_faces(
        self,
        image: bytes | RawFace,
        *,
        raw: bool = False,
        upright: Upright = "as_is",
        outlast: bool = False,
    ) -> EmbeddedFaces:
        """Embed all faces of one image, those with larger boxes first.

        They are at most `ModelInfo.max_faces_per_request`: if there are more, the `missing` of what
        is returned says how many. An image without any is refused.

        Args:
            image: the bytes of an image file, or pixels.
            raw: keep the values as the network gave them instead of dividing by their norm.
            upright: what to do about an image that is sideways; see `Photograph`.
            outlast: wait for a server that is away, up to `outage_s`.
        """
        return self._run(self._operations.embed_faces(image, raw, upright, outlast))

    def detect(
        self, image: bytes | RawFace, *, upright: Upright = "as_is", outlast: bool = False
    ) -> Detections:
        """Find the faces of one image, without embedding them. None is no error.

        Args:
            image: the bytes of an image file, or pixels.
            upright: what to do about an image that is sideways; see `Photograph`.
            outlast: wait for a server that is away, up to `outage_s`.
        """
        return self._run(self._operations.detect(image, upright, outlast))

    def compare(
        self,
        first: Face | Embedding,
        second: Face | Embedding,
        *,
        threshold: float | None = None,
        operating_point: str | None = None,
    ) -> Comparison:
        """Compare two faces, each an image or an embedding from an earlier call.

        Args:
            first: one side.
            second: the other side.
            threshold: the cosine similarity from which they match.
            operating_point: instead of a threshold, the name of one that the server's calibration
                has, as `ModelInfo.operating_points` lists them. With neither there is no decision.

        Raises:
            ValueError: if both a threshold and an operating point are given.
        """
        operation = self._operations.compare(first, second, threshold, operating_point)
        return self._run(operation)

    def model_info(self) -> ModelInfo:
        """Describe the served model."""
        return self._run(self._operations.model_info())

    def list_models(self) -> list[ModelSummary]:
        """List the models that the server serves, the default one first.

        Raises:
            ServerError: if the server is too old to know; `ModelInfo.served_models` has the names.
        """
        return self._run(self._operations.list_models())

    def is_serving(self) -> bool:
        """Return whether the server's health is SERVING; with `round_robin`, that of any."""
        return self._run(self._operations.is_serving())

    def close(self) -> None:
        """Close the connections."""
        for channel in self._lines.channels:
            channel.close()

    def __enter__(self) -> "FaceEmbeddingClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                try:
                    response = self._perform(step)
                except FaceEmbeddingError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: Call | Wait) -> Any:
        if isinstance(step, Wait):
            time.sleep(step.seconds)
            return None
        try:
            with self._lines.taken() as line:
                return line.methods[step.method](
                    step.request, timeout=step.timeout_s, metadata=self._connection.metadata
                )
        except grpc.RpcError as error:
            raise self._connection.error(error) from error

    def call(self, method: str, request: Any) -> Any:
        """Make one unary call of the contract with a message of one's own, and return the answer.

        Args:
            method: its name, such as `Embed`.
            request: the message that it takes.
        """
        return self._run(self._operations.call(method, request))


def _take(items: Items, changed: threading.Condition, faces: Iterable[tuple[str, Face]]) -> None:
    """Take a caller's faces as there is room for them."""
    try:
        for item_id, face in faces:
            made = items.make(item_id, face)
            with changed:
                items.take(item_id, made)
                changed.notify_all()
                changed.wait_for(lambda: items.has_room)
            if items.closed:
                return
    except BaseException as error:
        # The items end here; what was taken is still answered.
        items.failure = error
    with changed:
        items.all_taken = True
        changed.notify_all()


def _requests(items: Items, changed: threading.Condition) -> Iterator[pb.EmbedStreamRequest]:
    """Yield what a stream sends, until there is nothing more or it is over."""
    stream = items.opened
    while True:
        with changed:
            changed.wait_for(lambda: items.may_send(stream))
            request = items.send(stream)
        if request is None:
            return
        yield request


@contextlib.contextmanager
def _watching(call: "grpc.Call", items: Items) -> Iterator[threading.Event]:
    """Cancel a stream when its server is late, and set the event that is yielded."""
    over, late = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(max(items.remaining_s, 0)):
            if items.remaining_s <= 0:
                late.set()
                call.cancel()
                return

    threading.Thread(target=watch, name="face-embedding-stream", daemon=True).start()
    try:
        yield late
    finally:
        over.set()
