"""Operating points on a server."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import (
    Calibration,
    CalibrationError,
    Found,
    OperatingPoint,
)
from support import MOBILE, running_server, small_settings

POINT = OperatingPoint("fmr-1e-3", 0.5, 0.4, 0.6, 0.001, 0.002, 0.03, 0.04)


@pytest.fixture(scope="module")
def file(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of the stand-in's embedding space."""
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    operating_points.write(Calibration(store.get(MOBILE).embedding_space, 10, 1000, (POINT,)), path)
    return path


@pytest.fixture(scope="module")
def stub(store: Store, file: Path) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    with (
        running_server(small_settings(store, calibration=file)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


def compare(store: Store, similarity: float, name: str = POINT.name) -> pb.CompareRequest:
    """A comparison of two stored embeddings of a known similarity."""
    space = store.get(MOBILE).embedding_space
    vectors = np.zeros((2, 128))
    vectors[0, 0] = 1
    vectors[1, :2] = similarity, np.sqrt(1 - similarity**2)
    sides = [pb.CompareSide(embedding=pb.Embedding(values=v, space=space)) for v in vectors]
    return pb.CompareRequest(first=sides[0], second=sides[1], operating_point=name)


@pytest.mark.parametrize(
    ("similarity", "decision"),
    [
        (0.39, pb.DECISION_NO_MATCH),
        (0.41, pb.DECISION_UNDECIDED),
        (0.59, pb.DECISION_UNDECIDED),
        (0.61, pb.DECISION_MATCH),
    ],
)
def test_decision(
    similarity: float, decision: int, store: Store, stub: pb_grpc.FaceEmbeddingServiceStub
) -> None:
    """Near the threshold nothing is decided; the answer tells what it was decided by."""
    answer = stub.Compare(compare(store, similarity), timeout=10)
    assert answer.decision == decision
    assert answer.cosine_similarity == pytest.approx(similarity, abs=1e-6)
    assert (answer.threshold, answer.expected_false_match_rate) == (0.5, 0.001)


def test_unknown_point(store: Store, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Another name is NOT_FOUND, and the known ones are told."""
    with pytest.raises(
        grpc.RpcError, match="no operating point 'x'; known are: fmr-1e-3"
    ) as caught:
        stub.Compare(compare(store, 0.5, "x"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_no_calibration(store: Store, channel: grpc.Channel) -> None:
    """A server without a calibration has no operating point."""
    with pytest.raises(grpc.RpcError, match="this server has no calibration"):
        pb_grpc.FaceEmbeddingServiceStub(channel).Compare(compare(store, 0.5), timeout=10)


def test_info(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """GetModelInfo lists the operating points."""
    (point,) = stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=10).operating_points
    assert point.name == "fmr-1e-3"
    assert (point.threshold_low, point.threshold, point.threshold_high) == (0.4, 0.5, 0.6)


def test_info_of_the_faces(store: Store, tmp_path: Path) -> None:
    """GetModelInfo tells how the faces of a calibration were found, and which was taken."""
    space, path = store.get(MOBILE).embedding_space, tmp_path / "calibration.json"
    made = Calibration(space, 10, 1000, (POINT,), "yunet", "central", upright="auto")
    operating_points.write(made, path)
    with (
        running_server(small_settings(store, calibration=path)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        info = pb_grpc.FaceEmbeddingServiceStub(channel).GetModelInfo(pb.GetModelInfoRequest())
    (point,) = info.operating_points
    assert (point.detector, point.selection) == ("yunet", pb.FACE_SELECTION_CENTRAL)
    assert point.upright == pb.UPRIGHT_AUTO


def test_other_detector_at_start(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server whose detector is not that of its calibration says so in its log."""
    caplog.set_level(logging.WARNING)
    space, path = store.get(MOBILE).embedding_space, tmp_path / "calibration.json"
    operating_points.write(Calibration(space, 10, 1000, (POINT,), "yunet", "only"), path)
    with running_server(small_settings(store, calibration=path)):
        assert "made on faces found by yunet, and this server finds them by mtcnn" in caplog.text


@pytest.mark.parametrize(
    ("detector", "note", "served", "doubts"),
    [
        (None, "", "mtcnn", 0),
        ("mtcnn", "", "mtcnn", 0),
        ("", "", "", 0),
        ("", "", "mtcnn", 1),
        ("mtcnn", "", "", 1),
        ("mtcnn", "too few", "mtcnn", 1),
        ("yunet", "too few", "mtcnn", 2),
    ],
)
def test_doubts(detector: str | None, note: str, served: str, doubts: int) -> None:
    """A calibration is doubted for another detector and for too few pairs, not for its silence."""
    made = Calibration("a/b/c", 1, 1, (), detector, None, note)
    assert len(list(made.doubts(served))) == doubts


FOUND = Found("mtcnn", "central", "auto")


@pytest.mark.parametrize(
    ("made", "doubts"),
    [
        ((None, None, None), 0),
        (("mtcnn", "central", "auto"), 0),
        (("mtcnn", "central", None), 0),
        (("yunet", "central", "auto"), 1),
        (("mtcnn", "only", "auto"), 1),
        (("mtcnn", "central", "as_is"), 1),
        (("", "", ""), 1),
    ],
    ids=["unknown", "same", "earlier", "detector", "selection", "upright", "aligned"],
)
def test_doubts_of_found(made: tuple[Any, Any, Any], doubts: int) -> None:
    """A calibration is doubted where faces are found in another way, by all that it knows of it."""
    detector, selection, upright = made
    calibration = Calibration("a/b/c", 1, 1, (), detector, selection, upright=upright)
    assert len(list(calibration.doubts_of(FOUND))) == doubts


def test_too_much_left_out(tmp_path: Path) -> None:
    """A calibration that could not be read again is not written."""
    left_out = {f"{number:050}": "NO_FACE_FOUND" for number in range(20_000)}
    made = Calibration("a/b/c", 1, 1, (), left_out=left_out)
    with pytest.raises(CalibrationError, match="more than 1,048,576 bytes"):
        operating_points.write(made, tmp_path / "calibration.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"operating_points": [{}]}', "junk"])
def test_damaged(text: str, store: Store, tmp_path: Path) -> None:
    """A file that is no calibration stops the server at start, by its name."""
    path = tmp_path / "broken.json"
    path.write_text(text)
    with (
        pytest.raises(CalibrationError, match=r"broken\.json is not a calibration"),
        running_server(small_settings(store, calibration=path)),
    ):
        pass


def test_missing(store: Store, tmp_path: Path) -> None:
    """So does a file that is not there."""
    with (
        pytest.raises(CalibrationError, match=r"gone\.json cannot be read"),
        running_server(small_settings(store, calibration=tmp_path / "gone.json")),
    ):
        pass


def test_other_space(store: Store, tmp_path: Path) -> None:
    """A calibration of other weights stops the server at start."""
    path = tmp_path / "other.json"
    operating_points.write(Calibration("a/b/c", 1, 1, (POINT,)), path)
    with (
        pytest.raises(CalibrationError, match="is of the embedding space 'a/b/c'"),
        running_server(small_settings(store, calibration=path)),
    ):
        pass


def test_unwritable(tmp_path: Path) -> None:
    """A calibration that cannot be written is an error that names the file."""
    with pytest.raises(CalibrationError, match="cannot be written"):
        operating_points.write(Calibration("a/b/c", 1, 1, (POINT,)), tmp_path)
