"""ONNX files that are refused: by what message, and with nothing left in the store."""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import pytest

from face_embedding_models.installing import sources
from face_embedding_models.openvino import making
from face_embedding_models.store import Store
from support.broken_onnx import (
    LAST,
    MANIFEST,
    cut_half,
    graph,
    last,
    of_type,
    outside_in_branch,
    outside_in_constant,
    outside_in_function,
    short,
    with_values,
    zipped,
)

Take: TypeAlias = Callable[..., tuple[int, str]]
Refuse: TypeAlias = Callable[..., None]

WHOLE = graph().SerializeToString()
NO_ONNX = "mine: the file is no ONNX, or a damaged one"
ELSEWHERE = (
    "mine: the values of '{}' are in another file (external data), which is not read; save the "
    "model as one file"
)
FACE = "a batch of one face of the manifest is [1, 3, 112, 112]"
MEMORY = "mine: converting it needs more than 2048 MiB of memory; is the file damaged?"
ONES = np.ones(12, np.float32)
REFUSED: dict[str, tuple[bytes | onnx.ModelProto, str]] = {
    "empty": (b"", "mine: the file is no ONNX: it holds no graph with operators"),
    "text": (b"This is no network.\n" * 100, NO_ONNX),
    "truncated": (WHOLE[:-20], NO_ONNX),
    "random": (random.Random(0).randbytes(10_000), NO_ONNX),
    "archive without ONNX": (zipped(), "DIR/model.onnx holds 0 files *.onnx, not one"),
    "no archive": (
        b"PK" + WHOLE,
        "DIR/model.onnx is not a readable zip archive: File is not a zip file",
    ),
    "external data": (with_values("Add", ONES, elsewhere=True), ELSEWHERE.format("w")),
    "external data in a constant": (outside_in_constant(), ELSEWHERE.format("inside")),
    "external data in zeros": (outside_in_constant(sparse=True), ELSEWHERE.format("inside")),
    "external data in a branch": (outside_in_branch(), ELSEWHERE.format("inside")),
    "external data in a function": (outside_in_function(), ELSEWHERE.format("inside")),
    "two inputs": (
        graph(("112] data)", "112] data, float[N,12] mask)")),
        "mine: the network has 2 inputs ('data', 'mask'), and one is expected",
    ),
    "no input": (
        graph(("float[N,3,112,112] data)", ")"), ("(data)", "()")),
        "mine: the network has 0 inputs (none), and one is expected",
    ),
    "pixels": (
        graph(("float[N,3", "uint8[N,3")),
        "mine: the input 'data' is of the type uint8, not float or float16",
    ),
    "unknown type": (
        of_type(99),
        "mine: the input 'data' is of the type 99, not float or float16",
    ),
    "channels last": (
        graph(("[N,3,112,112]", "[N,112,112,3]")),
        f"mine: the input 'data' has the shape [?,112,112,3]; {FACE}",
    ),
    "larger": (
        graph(("[N,3,112,112]", "[N,3,224,224]")),
        f"mine: the input 'data' has the shape [?,3,224,224]; {FACE}",
    ),
    "no batch": (
        graph(("[N,3,112,112]", "[3,112,112]")),
        f"mine: the input 'data' has the shape [3,112,112]; {FACE}",
    ),
    "two outputs": (
        graph(("12] row)", "12] row, float[N,3,2,2] pooled)")),
        "mine: the network has 2 outputs ('row', 'pooled'); the manifest has to name one as "
        "[output] name",
    ),
    "other size": (
        graph(("[56, 56]", "[28, 28]")),
        "mine: the output 'row' has the shape [?,48]; the manifest says [?,12]",
    ),
    "planes": (
        graph((LAST, ""), ("float[N,12] row", "float[N,3,2,2] pooled")),
        "mine: the output 'pooled' has the shape [?,3,2,2]; the manifest says [?,12]",
    ),
    "integers": (
        last("flat = Flatten(pooled)", "row = Cast <to = 7> (flat)"),
        "mine: the output 'row' is of the type i64, not float",
    ),
    "unknown operator": (
        graph(("Flatten", "Flattten")),
        "mine: OpenVINO does not have the operators Flattten-13",
    ),
    "operator of somebody's": (
        graph(("Flatten", "mine.Flatten"), ("13]", '13, "mine" : 1]')),
        "mine: OpenVINO does not have the operators mine.Flatten",
    ),
    "dangling": (
        graph(("(pooled)", "(nothing)")),
        "mine: Flatten 'row' takes 'nothing', which nothing before it gives",
    ),
    "cycle": (
        graph(("(data)", "(row)")),
        "mine: AveragePool 'pooled' takes 'row', which nothing before it gives",
    ),
    "given twice": (
        graph(("row = Flatten", "pooled = Flatten")),
        "mine: Flatten 'pooled' gives 'pooled', which is there already",
    ),
    "output of nothing": (
        graph((LAST, "")),
        "mine: no operator gives the output 'row'",
    ),
    "opset of the future": (
        graph((": 13]", ": 99]")),
        f"mine: the file is of opset 99; those from 1 to {onnx.defs.onnx_opset_version()} are "
        f"known, so export the network with one of them",
    ),
    "no opset": (
        graph(('"" : 13]', '"mine" : 13]')),
        "mine: the file is no ONNX: it names no version of the operators",
    ),
    "window": (
        graph(("strides = [56, 56]", "strides = [0, 56]")),
        "mine: OpenVINO cannot read the network: AveragePool-13: Strides has zero dimension(s). "
        "Strides{0, 56}",
    ),
    "half a value": (
        cut_half(),
        "mine: the file cannot be converted: buffer size must be a multiple of element size",
    ),
    "values missing": (
        short(),
        "mine: OpenVINO cannot read the network: The size of the initializer does not match the "
        "number of elements implied by its shape for tensor 'w' in the model",
    ),
    "memory": (
        last(
            "shape = Constant <value = int64[3] {2000, 1024, 1024}> ()",
            "vast = ConstantOfShape(shape)",
            "most = ReduceMax <keepdims = 0> (vast)",
            "flat = Flatten(pooled)",
            "row = Add(flat, most)",
        ),
        MEMORY,
    ),
    "not finite": (
        with_values("Add", ONES * np.nan),
        "mine: the embedding of drawn-0 holds values that are not finite",
    ),
    "zero": (with_values("Mul", ONES * 0), "mine: the embedding of drawn-0 is zero"),
    "the same": (
        with_values("Add", ONES * 1e6),
        "mine: the embeddings of faces that have nothing in common are the same, with cosines of "
        "1.0000 and above; is the network trained, and fed as its manifest says (mean, scale)?",
    ),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_file(given: bytes | onnx.ModelProto, message: str, expect_refusal: Refuse) -> None:
    """A file that is no network of the manifest is refused with what is wrong."""
    data = given if isinstance(given, bytes) else given.SerializeToString()
    expect_refusal(message, data)


def test_good(take: Take, tmp_path: Path) -> None:
    """What all of these are made from is taken."""
    assert take(WHOLE)[0] == 0
    assert Store(tmp_path / "store").names() == ["mine"]


NAMES = {
    "input": (
        ("[output]", 'name = "pixels"\n[output]'),
        "mine: the network's input is called 'data'; the manifest says 'pixels'",
    ),
    "output": (
        ("size = 12", 'size = 12\nname = "fc1"'),
        "mine: the network has no output 'fc1'; its outputs are 'row'",
    ),
}


@pytest.mark.parametrize(("change", "message"), NAMES.values(), ids=NAMES)
def test_names(change: tuple[str, str], message: str, expect_refusal: Refuse) -> None:
    """Ends that the manifest calls otherwise are refused with both names."""
    expect_refusal(message, WHOLE, MANIFEST.replace(*change))


def test_too_large(expect_refusal: Refuse, tmp_path: Path) -> None:
    """A file over the limit is refused by its size, unread."""
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(sources.MAX_FILE_BYTES + 1)
    message = "[Errno 27] has more than 1,073,741,824 bytes: 'DIR/model.onnx'"
    expect_refusal(f"DIR/model.onnx cannot be read: {message}")


def test_chain(expect_refusal: Refuse) -> None:
    """A network of very many operators is refused by their number."""
    nodes = [f"r{i} = Relu({f'r{i - 1}' if i else 'pooled'})" for i in range(7000)]
    model = last(*nodes, "row = Flatten(r6999)")
    count = len(model.graph.node)
    message = f"mine: the network has {count:,} operators, at most 6,000 are read"
    expect_refusal(message, model.SerializeToString())


def test_memory_at_inference(take: Take, tmp_path: Path) -> None:
    """A network that needs too much memory only once it runs is refused before it does."""
    model = last(
        "shape = Constant <value = int64[5] {100000000, 1, 3, 2, 2}> ()",
        "vast = Expand(pooled, shape)",
        "most = ReduceMax <axes = [0], keepdims = 0> (vast)",
        "row = Flatten(most)",
    )
    status, told = take(model.SerializeToString())
    assert status == 2
    assert "'vast': its result for a face has the shape [100000000, 1, 3, 2, 2], and at" in told
    assert not list((tmp_path / "store").rglob("*"))


def test_without_onnx(
    expect_refusal: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the package `onnx` is not installed, the error names the extra to install."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "onnx.py").write_text("raise ImportError('no onnx')")
    places = [str(tmp_path / "packages"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    message = (
        "mine: what reads ONNX files cannot be imported (no onnx); install it with pip install "
        "'face-embedding[server,onnx]'"
    )
    expect_refusal(message, WHOLE)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot be kept from it")
def test_surroundings(take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported from the folder that the command is called in."""
    (tmp_path / "onnx.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path)
    assert take(WHOLE)[0] == 0


@pytest.mark.slow
def test_time(expect_refusal: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that computes for ever is given up at the time limit."""
    monkeypatch.setattr(making, "BASE_PROCESSOR_S", 3)
    # A machine that does much else takes longer than four times that.
    monkeypatch.setattr(making, "WALL_PER_PROCESSOR", 60)
    model = last(
        "times = Constant <value = int64 {1000000000000}> ()",
        "yes = Constant <value = bool {1}> ()",
        "turned = Loop(times, yes, pooled) <body = b (int64 i, bool c, float[N,3,2,2] v) =>"
        " (bool d, float[N,3,2,2] w) { d = Identity(c) w = Abs(v) }>",
        "row = Flatten(turned)",
    )
    message = "mine: converting it took more than 3 s of processor time; is the file damaged?"
    expect_refusal(message, model.SerializeToString())
