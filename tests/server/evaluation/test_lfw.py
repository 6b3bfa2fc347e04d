"""Reading files of pairs, and refusing what could harm."""

import os
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from face_embedding_server.evaluation import lfw
from face_embedding_server.evaluation.lfw import LfwFileError, read_pairs_bin

RANDOM = np.random.default_rng(0)
# One beyond 255 bytes, as it is written otherwise, and one of a single byte, which Python shares.
IMAGES = [b"\xff\xd8" + RANDOM.bytes(size) for size in (20, 100, 300, 90)] + [
    b"\xff",
    bytes(range(256)),
]
SAME = [True, False, True]
PROTOCOLS = range(6)


class Calls:
    """Is pickled as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def assert_read(data: bytes) -> None:
    found = read_pairs_bin(data)
    assert found.images == IMAGES
    assert found.same.tolist() == SAME
    assert found.same.dtype == np.bool_


def python_2_pickle() -> bytes:
    """What Python 2's cPickle writes of `(IMAGES, SAME)`, by protocol 2."""
    written, number = b"\x80\x02]q\x01(", 2
    for image in IMAGES:
        if len(image) < 256:
            written += b"U" + struct.pack("<B", len(image))
        else:
            written += b"T" + struct.pack("<i", len(image))
        written += image + b"q" + bytes([number])
        number += 1
    labels = b"".join(b"\x88" if same else b"\x89" for same in SAME)
    return (
        written + b"e]q" + bytes([number]) + b"(" + labels + b"e\x86q" + bytes([number + 1]) + b"."
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols(protocol: int) -> None:
    """Every protocol of Python 3 is read."""
    assert_read(pickle.dumps((IMAGES, SAME), protocol))


def test_python_2() -> None:
    """Strings of Python 2 are bytes."""
    assert_read(python_2_pickle())


def test_python_2_text() -> None:
    """Those of its protocol 0, which are written as text, are refused."""
    for image in (b"a", b"\\xff"):
        with pytest.raises(LfwFileError, match=r"STRING|damaged"):
            read_pairs_bin(b"((lp1\nS'" + image + b"'\np2\nag2\na(lp3\nI01\natp4\n.")


@pytest.mark.parametrize("content", [[IMAGES, SAME], (tuple(IMAGES), tuple(SAME))])
def test_lists_and_tuples(content: Any) -> None:
    """A list will do for a tuple, and a tuple for a list."""
    assert_read(pickle.dumps(content))


def test_trailing_bytes() -> None:
    """What follows the pickle does not matter."""
    assert_read(pickle.dumps((IMAGES, SAME)) + b"trailing")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_runs(protocol: int, tmp_path: Path) -> None:
    """A call of the shell is refused, and does not happen."""
    made = tmp_path / "made"
    data = pickle.dumps(([Calls(os.system, f"touch {made}"), b"b"], [True]), protocol)
    with pytest.raises(LfwFileError, match="nothing that runs code"):
        read_pairs_bin(data)
    assert not made.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unpickler_runs_nothing(protocol: int, tmp_path: Path) -> None:
    """The unpickler would refuse it as well, had the check overlooked it."""
    made = tmp_path / "made"
    with pytest.raises(LfwFileError, match=r"asks for (posix|os)\.system"):
        lfw._Reader(pickle.dumps(Calls(os.system, f"touch {made}"), protocol)).load()
    assert not made.exists()


@pytest.mark.parametrize(
    ("operations", "name"),
    [
        (b"cbuiltins\neval\n(V1\ntR.", "builtins.eval"),
        (b"c_codecs\ndecode\n(V1\ntR.", "_codecs.decode"),
        (b"ccodecs\nencode\n(V1\ntR.", "codecs.encode"),
        (b"\x8c\x07_codecs\x8c\x06encode\x93.", "STACK_GLOBAL"),
        (b"(V1\nios\nsystem\n.", "INST"),
        (b"(c_codecs\nencode\no.", "OBJ"),
        (b"c_codecs\nencode\n)\x81.", "NEWOBJ"),
        (b"c_codecs\nencode\n)}\x92.", "EMPTY_DICT"),
        (b"c_codecs\nencode\nNb.", "BUILD"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x01.", "EXT2"),
        (b"\x84\x01\x01\x01\x01.", "EXT4"),
        (b"P1\n.", "PERSID"),
        (b"NQ.", "BINPERSID"),
        (b"\x96\x01" + bytes(7) + b"a.", "BYTEARRAY8"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"N2.", "DUP"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operations_refused(operations: bytes, name: str) -> None:
    """Whatever is more than data is refused by its name."""
    with pytest.raises(LfwFileError, match=f"asks for .*{name};"):
        read_pairs_bin(operations)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_refused(protocol: int) -> None:
    """Images as NumPy arrays are refused in words."""
    images = [np.frombuffer(image, np.uint8) for image in IMAGES]
    with pytest.raises(LfwFileError, match="no NumPy arrays"):
        read_pairs_bin(pickle.dumps((images, SAME), protocol))


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (b"\x8e" + struct.pack("<Q", 2**40) + b"a.", "damaged"),
        (b"B" + struct.pack("<I", 2**32 - 1) + b"a.", "damaged"),
        (b"\x8d" + struct.pack("<Q", 2**63) + b"a.", "damaged"),
        (b"Nr" + struct.pack("<I", 2**31) + b".", "unsafe"),
        (b"Np2147483648\n.", "unsafe"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.", "damaged"),
    ],
    ids=["bytes", "short bytes", "text", "number", "number in text", "frame"],
)
def test_no_memory_for_lies(operations: bytes, message: str) -> None:
    """A length or number far beyond the file is refused before memory is reserved for it."""
    started = time.monotonic()
    with pytest.raises(LfwFileError, match=message):
        read_pairs_bin(operations)
    assert time.monotonic() - started < 1


def test_no_memory_for_copies() -> None:
    """Bytes that are made of one text again and again are refused."""
    text = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6
    copies = b"h\x00h\x01h\x02\x86R" * 10**5
    program = b"\x80\x02](c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\0\0\0latin1q\x02"
    with pytest.raises(LfwFileError, match="makes more bytes than it holds"):
        read_pairs_bin(program + copies + b"e.")


@pytest.mark.parametrize(
    "call",
    [b"(V\\u1234\nVlatin1\nt", b"(Va\nVutf-8\nt", b"(I1\nVlatin1\nt", b"(Va\nt", b"(t"],
    ids=["beyond latin1", "another encoding", "no text", "no encoding", "nothing"],
)
def test_only_latin1(call: bytes) -> None:
    """Bytes are made of latin1 text and of nothing else."""
    with pytest.raises(LfwFileError, match="damaged"):
        read_pairs_bin(b"c_codecs\nencode\n" + call + b"R.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the file is of type NoneType, not a list"),
        (b"bytes", "the file is of type bytes, not a list"),
        ((IMAGES,), "holds 1 parts, not 2"),
        ((IMAGES, SAME, SAME), "holds 3 parts, not 2"),
        ((b"bytes", SAME), "the first part is of type bytes"),
        ((IMAGES, True), "the second part is of type bool"),
        (([], []), "holds no pairs"),
        ((IMAGES[:5], SAME), "holds 5 images for 3 labels, not two for each"),
        ((IMAGES, SAME[:2]), "holds 6 images for 2 labels, not two for each"),
        (([b"a", "b"], [True]), "image 1 is of type str, not bytes"),
        (([b"a", [b"b"]], [True]), "image 1 is of type list, not bytes"),
        (([b"a", b"b"], [1]), "label 0 is of type int, not bool"),
        (([b"a", b"b"], [None]), "label 0 is of type NoneType, not bool"),
    ],
)
def test_structure_refused(content: Any, message: str) -> None:
    """What does not hold pairs is refused in words."""
    with pytest.raises(LfwFileError, match=message):
        read_pairs_bin(pickle.dumps(content))


def test_nested_deeply() -> None:
    """Lists in lists in lists do not exhaust the stack."""
    with pytest.raises(LfwFileError, match="holds 1 parts"):
        read_pairs_bin(b"]" * 10**5 + b"a" * (10**5 - 1) + b".")


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "Python 2"])
def test_truncated(protocol: int | str) -> None:
    """A file that was cut short anywhere is refused."""
    data = (
        pickle.dumps((IMAGES, SAME), protocol) if isinstance(protocol, int) else python_2_pickle()
    )
    for length in [*range(0, len(data), 50), len(data) - 1]:
        with pytest.raises(LfwFileError, match="damaged"):
            read_pairs_bin(data[:length])


def test_garbage() -> None:
    """Random bytes are refused, whatever they happen to begin."""
    random = np.random.default_rng(1)
    for size in random.integers(1, 300, 3000):
        with pytest.raises(LfwFileError):
            read_pairs_bin(random.bytes(int(size)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damaged(protocol: int) -> None:
    """A file with changed bytes is read or refused, and fails in no other way."""
    random = np.random.default_rng(2)
    original = np.frombuffer(pickle.dumps((IMAGES, SAME), protocol), np.uint8)
    messages = []
    for _ in range(1000):
        data = original.copy()
        data[random.integers(0, len(data), 8)] = random.integers(0, 256, 8)
        try:
            assert len(read_pairs_bin(data.tobytes()).images) % 2 == 0
        except LfwFileError as error:
            messages.append(str(error))
    assert 0 < max(map(len, messages)) < 400
