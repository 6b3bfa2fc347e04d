"""Faces that are sent as aligned, and are looked at whether they are."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces import alignment, detectors, quality
from face_embedding_server.faces.alignment import TEMPLATE
from face_embedding_server.faces.detectors import Detector
from face_embedding_server.faces.face import Aligned, EncodedImage, Face
from face_embedding_server.faces.headers import ImageSize
from face_embedding_server.faces.images import Image
from face_embedding_server.faces.reader import FaceReader
from support import encode, info_of, person, running_server, small_settings, status_of

SIZE = ImageSize(112, 112)
PERSON = person()


@pytest.fixture(scope="module")
def stub(store: Store) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    with (
        running_server(small_settings(store)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture(scope="module")
def mtcnn() -> Detector:
    detector = detectors.load("mtcnn", None)
    assert detector
    return detector


def stretched(photograph: Image, detector: Detector) -> Image:
    """What is in the box of the only face, in the size of an aligned one."""
    (found,) = detectors.find(detector, photograph)
    left, top = (max(0, round(side)) for side in (found.box.left, found.box.top))
    right, bottom = round(left + found.box.width), round(top + found.box.height)
    crop: Image = cv2.resize(photograph[top:bottom, left:right], (112, 112))  # type: ignore[assignment]  # It is uint8.
    return crop


@pytest.fixture(scope="module")
def aligned(mtcnn: Detector) -> Image:
    """The astronaut's face, aligned."""
    return alignment.align(PERSON, detectors.find(mtcnn, PERSON)[0].landmarks, SIZE)


def reasons(
    stub: pb_grpc.FaceEmbeddingServiceStub, image: Image, *, check: bool = True
) -> list[pb.WarningReason]:
    """Why the server warns of a face that is sent as aligned."""
    face = pb.Face(encoded=encode(image), aligned=pb.Aligned(check_alignment=check))
    result = stub.Embed(pb.EmbedRequest(faces=[face]), timeout=30).results[0]
    return [warning.reason for warning in result.warnings]


def test_aligned(stub: pb_grpc.FaceEmbeddingServiceStub, aligned: Image) -> None:
    """An aligned face raises no warning."""
    assert pb.WARNING_REASON_MISALIGNED not in reasons(stub, aligned)


def test_stretched_box(stub: pb_grpc.FaceEmbeddingServiceStub, mtcnn: Detector) -> None:
    """A detector's box, stretched to the size of a face, is not aligned."""
    assert pb.WARNING_REASON_MISALIGNED in reasons(stub, stretched(PERSON, mtcnn))


def test_on_its_side(stub: pb_grpc.FaceEmbeddingServiceStub, aligned: Image) -> None:
    """Nor is an aligned face that is on its side."""
    sideways = np.ascontiguousarray(np.rot90(aligned))
    assert pb.WARNING_REASON_MISALIGNED in reasons(stub, sideways)


def test_off_by_default(stub: pb_grpc.FaceEmbeddingServiceStub, mtcnn: Detector) -> None:
    """Nobody looks unless it is asked for."""
    found = reasons(stub, stretched(PERSON, mtcnn), check=False)
    assert pb.WARNING_REASON_MISALIGNED not in found


def test_raw_pixels(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Pixels are looked at too; where there is no face, the warning has the side of the face."""
    raw = pb.RawImage(
        data=bytes(112 * 112 * 3), width=112, height=112, channel_order=pb.CHANNEL_ORDER_RGB
    )
    side = pb.CompareSide(face=pb.Face(raw=raw, aligned=pb.Aligned(check_alignment=True)))
    answer = stub.Compare(pb.CompareRequest(first=side, second=side), timeout=30)
    (warning,) = (
        each for each in answer.first.warnings if each.reason == pb.WARNING_REASON_MISALIGNED
    )
    assert (warning.value, warning.limit) == (112, 6.5)


def test_without_a_detector(store: Store, aligned: Image) -> None:
    """A server without a detector refuses to look, by the field that asks for it."""
    with (
        running_server(small_settings(store, detector="none")) as running,
        grpc.insecure_channel(running.address) as channel,
        pytest.raises(grpc.RpcError, match="cannot check an alignment") as refused,
    ):
        reasons(pb_grpc.FaceEmbeddingServiceStub(channel), aligned)
    info = info_of(status_of(refused.value))
    assert info.reason == "NO_DETECTOR"
    assert info.metadata["field"] == "faces[0].aligned.check_alignment"


@pytest.mark.parametrize("side", [112, 224])
def test_size_of_the_model(side: int, mtcnn: Detector) -> None:
    """Whatever size the model takes, its aligned face is aligned."""
    size = ImageSize(side, side)
    image = alignment.align(PERSON, detectors.find(mtcnn, PERSON)[0].landmarks, size)
    reader = FaceReader(size, detector=mtcnn)
    (read,) = reader.read(Face(EncodedImage(encode(image)), Aligned(check_alignment=True)))
    assert not read.warnings


@pytest.mark.parametrize(("x", "y", "warned"), [(8, 0, False), (0, 5, False), (0, 8, True)])
def test_shifted(x: float, y: float, warned: bool) -> None:
    """A shift to the side is no misalignment, and one up or down is."""
    assert bool(quality.of_alignment(TEMPLATE + np.array([x, y]))) == warned


@pytest.mark.slow
@pytest.mark.parametrize("name", detectors.NAMES)
def test_photographs(name: str, test_data: Path) -> None:
    """Of real photographs the aligned faces pass, and the stretched boxes do not."""
    model = test_data / "models" / "yunet_2026may.onnx" if name == "yunet" else None
    detector: Detector | None = detectors.load(name, model)
    assert detector
    reader = FaceReader(SIZE, detector=detector)
    for file in sorted((test_data / "faces" / "photos").glob("*.jpg")):
        photograph: Image = cv2.imread(str(file))  # type: ignore[assignment]  # It is uint8.
        crop = encode(stretched(photograph, detector))
        whole = (test_data / "faces" / "aligned" / f"{file.stem}.png").read_bytes()
        prepared = [
            reader.read(Face(EncodedImage(each), Aligned(check_alignment=True)))[0]
            for each in (whole, crop)
        ]
        assert [bool(each.warnings) for each in prepared] == [False, True], file
