"""The items of one stream of a caller, over all the streams that are opened for them.

Nothing here waits: each client has its own way to, and to keep others out meanwhile.
"""

import collections
import time
from collections.abc import Iterator
from typing import TypeAlias

import grpc

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import _messages
from face_embedding_client._errors import (
    ConnectionLostError,
    DeadlineExceededError,
    FaceEmbeddingError,
    IncompleteStreamError,
    ServerUnavailableError,
)
from face_embedding_client._messages import Options
from face_embedding_client._repeating import Attempts, Rule
from face_embedding_client._types import Face, ModelInfo

_Lost: TypeAlias = tuple[pb.EmbedStreamRequest, FaceEmbeddingError]

# Of a server that does not say how many items it takes at once.
_DEFAULT_WINDOW = 32
# The server ends a stream with it whose caller takes their time, which they may.
_CALLER_SILENT = "CALLER_SILENT"


class Items:
    """What is to be sent, and what is to be answered; at most as many as the server takes at once.

    Args:
        options: what each request carries.
        info: the server's limits.
        rule: what is done about items without an answer.
        address: the server, for errors.
    """

    def __init__(self, options: Options, info: ModelInfo, rule: Rule, address: str) -> None:
        self._options = options
        self._info = info
        self._rule = rule
        self._address = address
        self._window = info.max_stream_in_flight or _DEFAULT_WINDOW
        self._unsent: collections.deque[pb.EmbedStreamRequest] = collections.deque()
        # By id: one that is out already is not sent a second time before it is answered.
        self._sent: dict[str, pb.EmbedStreamRequest] = {}
        self._refused: collections.deque[tuple[str, FaceEmbeddingError]] = collections.deque()
        # Since the last answer; None before the first failure.
        self._attempts: Attempts | None = None
        self._asked = False
        self._since = 0.0
        # What the caller's own iterable raised, which ends the items.
        self.failure: BaseException | None = None
        self.all_taken = False
        # Whether there is something to lose, for which a server that is away is waited for.
        self.answered = False
        self.closed = False
        # Counts the streams, so that what sends for one stops with it.
        self.opened = 0

    @property
    def has_room(self) -> bool:
        """Whether the caller's next face may be taken."""
        return self.closed or len(self._unsent) + len(self._sent) < self._window

    @property
    def worth_opening(self) -> bool:
        """Whether there is something to send or to yield, or nothing is left to wait for."""
        return bool(self._unsent or self._refused) or self.all_taken

    @property
    def idle(self) -> bool:
        """Whether there is nothing to send yet."""
        return not self._unsent

    @property
    def done(self) -> bool:
        """Whether each item has its answer."""
        return self.all_taken and not self._unsent and not self._sent

    def make(self, item_id: str, face: Face) -> pb.EmbedStreamRequest | FaceEmbeddingError:
        """Return the request for a face, or why the server would not take it."""
        message = _messages.face_message(face)
        request = _messages.stream_request(item_id, message, self._options)
        return _messages.too_large(message, self._info) or request

    def take(self, item_id: str, made: pb.EmbedStreamRequest | FaceEmbeddingError) -> None:
        """Keep what became of a face until it is sent, or yielded."""
        if isinstance(made, pb.EmbedStreamRequest):
            self._unsent.append(made)
        else:
            self._refused.append((item_id, made))

    def take_refused(self) -> Iterator[tuple[str, FaceEmbeddingError]]:
        """Yield the faces that were refused since the last time."""
        while self._refused:
            yield self._refused.popleft()

    def may_send(self, stream: int) -> bool:
        """Whether what sends for a stream has something to do, or is done."""
        if self.closed or stream != self.opened:
            return True
        if not self._unsent:
            return self.all_taken
        return self._unsent[0].id not in self._sent

    def send(self, stream: int) -> pb.EmbedStreamRequest | None:
        """Return what is sent next, when it may be; None if that is nothing more."""
        if self.closed or stream != self.opened or not self._unsent:
            return None
        item = self._unsent.popleft()
        if not self._sent:
            self._since = time.monotonic()
        self._sent[item.id] = item
        return item

    def asking(self) -> None:
        """Note that the caller waits for an answer from now on."""
        self._since = time.monotonic()
        self._asked = True

    def received(self, response: pb.EmbedStreamResponse) -> pb.EmbedStreamRequest | None:
        """Note an answer, and return the item that it is for."""
        self._asked = False
        self._attempts = None
        self.answered = True
        if response.result.HasField("embedding"):
            self._rule.budget.earn()
        return self._sent.pop(response.id, None)

    @property
    def remaining_s(self) -> float:
        """Seconds until the server is late; not positive if it is."""
        if not self._sent or not self._asked:
            return self._rule.timeout_s
        return self._since + self._rule.timeout_s - time.monotonic()

    def late(self) -> DeadlineExceededError:
        """Return the error of a stream whose server is late."""
        return DeadlineExceededError(
            f"{self._address}: no answer in the stream for {self._rule.timeout_s:g} s",
            "",
            "",
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )

    def end(self, error: FaceEmbeddingError | None) -> tuple[list[_Lost], float]:
        """Note the end of a stream: with an error, or well.

        Returns:
            The items that are to be sent once more, each alone, with why; and the seconds to wait
            before the next stream. All others without an answer are sent there.

        Raises:
            FaceEmbeddingError: if there is no next stream.
        """
        self.opened += 1
        if error is None and self.done:
            return [], 0.0
        if error is None:
            error = self._unavailable(
                IncompleteStreamError,
                f"the stream ended with {len(self._sent)} faces unanswered; send those again",
            )
        if self._rule.retries == 0:
            raise error
        if isinstance(error, ConnectionLostError) and self._sent:
            suspects: list[_Lost] = [(item, error) for item in self._sent.values()]
            self._sent.clear()
            return suspects, 0.0
        if isinstance(error, ConnectionLostError) or error.reason == _CALLER_SILENT:
            # The server had nothing to do, or its caller took no answer: it was no item's fault.
            error = self._unavailable(ServerUnavailableError, error.message)
        self._attempts = self._attempts or Attempts(
            self._rule, "EmbedStream", outlast=self.answered
        )
        wait_s = self._attempts.wait_s(error)
        self._unsent.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        return [], wait_s

    def _unavailable(
        self, kind: type[ServerUnavailableError], message: str
    ) -> ServerUnavailableError:
        message = message.removeprefix(f"{self._address}: ")
        return kind(f"{self._address}: {message}", "", "", grpc.StatusCode.UNAVAILABLE)
