"""Reading and writing of MXNet's parameter files."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from face_embedding_models.errors import CheckpointError
from face_embedding_models.mxnet import params

HEADER = struct.pack("<QQQ", 0x112, 0, 1)
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = struct.pack("<i", 0)
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")


def tail(flag: int = 0) -> bytes:
    """Return context, dtype and data of VALUES, and the list of its name."""
    return struct.pack("<iii", 1, 0, flag) + VALUES.tobytes() + names("arg:a")


def names(*texts: str) -> bytes:
    encoded = [text.encode() for text in texts]
    parts = [struct.pack("<Q", len(text)) + text for text in encoded]
    return struct.pack("<Q", len(texts)) + b"".join(parts)


def form(magic: int, *dimensions: int) -> bytes:
    """Return the start of an array in the current form or a version of it."""
    storage = b"" if magic == V1 else DENSE
    shape = struct.pack(f"<I{len(dimensions)}q", len(dimensions), *dimensions)
    return HEADER + struct.pack("<I", magic) + storage + shape


OLDEST = HEADER + struct.pack("<III", 2, 2, 3) + tail()
FORMS = {
    "oldest": OLDEST,
    "version-1": form(V1, 2, 3) + tail(),
    "version-2": form(V2, 2, 3) + tail(),
    "version-3": form(V3, 2, 3) + tail(),
}


def arrays_of_every_dtype() -> dict[str, NDArray[np.generic]]:
    return {f"arg:{dtype}": np.arange(6).reshape(3, 1, 2).astype(dtype) for dtype in DTYPES}


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_forms(data: bytes) -> None:
    """Every form that an array ever had is read."""
    np.testing.assert_array_equal(params.parse(data)["arg:a"], VALUES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(dtype: str) -> None:
    """An array is read as it was written, in its dtype."""
    name = f"arg:{dtype}"
    array = arrays_of_every_dtype()[name]
    read = params.parse(params.dump({name: array}))[name]
    np.testing.assert_array_equal(read, array, strict=True)


def test_memory_order() -> None:
    """An array that is not contiguous is written in its logical order."""
    read = params.parse(params.dump({"arg:a": VALUES.T}))["arg:a"]
    np.testing.assert_array_equal(read, VALUES.T)


def test_views_are_read_only() -> None:
    """An array that was read cannot be written to."""
    assert not params.parse(OLDEST)["arg:a"].flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_mxnet(mxnet: Any, tmp_path: Path, dtype: str) -> None:
    """A file that MXNet wrote is read."""
    array = arrays_of_every_dtype()[f"arg:{dtype}"]
    file = tmp_path / "model-0000.params"
    mxnet.nd.save(str(file), {"arg:a": mxnet.nd.array(array, dtype=dtype)})
    np.testing.assert_array_equal(params.parse(file.read_bytes())["arg:a"], array, strict=True)


def test_mxnet_reads(mxnet: Any) -> None:
    """MXNet reads what is written here."""
    arrays = arrays_of_every_dtype()
    read = {k: v.asnumpy() for k, v in mxnet.nd.load_frombuffer(params.dump(arrays)).items()}
    np.testing.assert_equal(read, arrays)


def test_unknown_dtype_is_not_written() -> None:
    """A dtype that the format lacks is refused with the array's name."""
    with pytest.raises(CheckpointError, match="array 'arg:a' has dtype complex64"):
        params.dump({"arg:a": np.zeros(1, np.complex64)})


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_truncation(data: bytes) -> None:
    """A file cut at any byte is refused as cut short."""
    for length in range(len(data)):
        with pytest.raises(CheckpointError, match=r"cut short: .* needs bytes \d+ to \d+"):
            params.parse(data[:length])


WHERE = "array 0 of the .params file"
TWO = HEADER[:16] + struct.pack("<Q", 2) + 2 * OLDEST[24:-21]
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut short: header needs bytes 0 to 24, the file has 0"),
    "magic": (b"PK" + OLDEST, r"not an MXNet \.params file: its first bytes are wrong"),
    "sparse": (HEADER + struct.pack("<Ii", V2, 1), f"{WHERE} is sparse; only dense ones fit"),
    "dtype": (form(V2, 2, 3) + tail(12), f"{WHERE} has the unknown type 12"),
    "negative-dtype": (form(V2, 2, 3) + tail(-1), f"{WHERE} has the unknown type -1"),
    "no-dimensions": (form(V2) + tail(), f"{WHERE} has 0 dimensions"),
    "dimensions": (form(V2, *[1] * 33) + tail(), f"{WHERE} has 33 dimensions"),
    "array-magic": (HEADER + b"\xff" * 99, f"{WHERE} has 4294967295 dimensions"),
    "negative-shape": (form(V2, 2, -3) + tail(), rf"{WHERE} has the shape \(2, -3\)"),
    "huge-shape": (
        form(V2, 2**62, 2**62) + tail(),
        rf"cut short: array 0 of shape \({2**62}, {2**62}\) needs bytes 64 to {64 + 2**126}, ",
    ),
    "huge-empty-shape": (
        form(V2, 0, 2**62, 2**62) + tail(),
        rf"{WHERE} has the shape \(0, {2**62}, {2**62}\)",
    ),
    "huge-count": (
        HEADER[:16] + b"\xff" * 8 + OLDEST[24:-21],
        f"has {2**64 - 1:,} arrays, at most 20,000 are read",
    ),
    "larger-count": (
        HEADER[:16] + struct.pack("<Q", 20_000) + OLDEST[24:-21],
        "cut short: array 1 needs bytes 72 to 76",
    ),
    "fewer-names": (OLDEST[:-21] + names(), "has 1 arrays but 0 names"),
    "huge-name": (OLDEST[:-13] + b"\xff" * 8, f"cut short: a name needs bytes 88 to {87 + 2**64}"),
    "duplicate-name": (TWO + names("arg:a", "arg:a"), "has two arrays called 'arg:a'"),
    "name": (OLDEST[:-1] + b"\xff", "a name in the .params file is not UTF-8: 'utf-8' codec"),
    "trailing": (OLDEST + b"\0\0", "the .params file has 2 bytes after its end"),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damage(data: bytes, message: str) -> None:
    """A damaged file is refused with what is wrong in it."""
    with pytest.raises(CheckpointError, match=message):
        params.parse(data)
