"""Two images that are each within the limit, and together beyond that of a message."""

from collections.abc import Iterator

import pytest
from twins import Client

from face_embedding_client import InvalidRequestError
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import RunningServer, encode, running_server, small_settings

MIB = 1 << 20


@pytest.fixture(scope="module")
def narrow(store: Store) -> Iterator[RunningServer]:
    """A server whose messages hold one image of the largest size, and not two."""
    settings = small_settings(store, max_message_bytes=2 * MIB, max_encoded_bytes=3 * MIB // 2)
    with running_server(settings) as running:
        yield running


def padded(face: Face, size: int = 5 * MIB // 4) -> bytes:
    """A file with a face and, behind its end, zeros."""
    return encode(face).ljust(size, b"\0")


def test_compared(kind: type[Client], narrow: RunningServer, faces: list[Face]) -> None:
    """They are compared as small ones are, and their preparation is told."""
    client = kind(narrow.address)
    small = client.compare(encode(faces[0]), encode(faces[1]), threshold=0.2)
    large = client.compare(padded(faces[0]), padded(faces[1]), threshold=0.2)
    assert large.cosine_similarity == pytest.approx(small.cosine_similarity, abs=1e-6)
    assert (large.decision, large.first, large.second) == (
        small.decision,
        small.first,
        small.second,
    )


@pytest.mark.parametrize("junk", [b"junk".ljust(5 * MIB // 4), bytes(7 * MIB // 4)])
def test_refused(junk: bytes, kind: type[Client], narrow: RunningServer, faces: list[Face]) -> None:
    """What is wrong with one of them is told of that side, as for small ones."""
    with pytest.raises(InvalidRequestError, match=r"^second\.face\.encoded: the image") as caught:
        kind(narrow.address).compare(padded(faces[0]), junk)
    assert caught.value.field == "second.face.encoded"


def test_stored(kind: type[Client], narrow: RunningServer, faces: list[Face]) -> None:
    """A stored embedding stays one."""
    client = kind(narrow.address)
    stored = client.embed(encode(faces[0]))
    compared = client.compare(stored, padded(faces[0]))
    assert compared.first is None
    assert compared.second is not None
    assert compared.cosine_similarity == pytest.approx(1)
