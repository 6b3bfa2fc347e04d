"""Photographs that are sideways or upside down, and do not say so."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import grpc
import numpy as np
import onnx
import pytest
from skimage import data

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces import alignment, detectors, turning
from face_embedding_server.faces.detectors import CountingDetector, Detector
from face_embedding_server.faces.face import LANDMARKS
from face_embedding_server.faces.images import Image
from support import encode, person, running_server, small_settings
from support.white_cells import white_cells, with_cells

# Not square, so that width and height are told apart.
PERSON = person()[:400]
CAT = cv2.cvtColor(data.chelsea(), cv2.COLOR_RGB2BGR)
# How far the photograph has to be turned clockwise, by how OpenCV turns it before.
TURNS = {
    270: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


@pytest.fixture(scope="module")
def stub(store: Store) -> Iterator[pb_grpc.FaceEmbeddingServiceStub]:
    limits = {"max_encoded_bytes": 4 << 20, "max_message_bytes": 16 << 20}
    with (
        running_server(small_settings(store, **limits)) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        yield pb_grpc.FaceEmbeddingServiceStub(channel)


def turned(image: Image, degrees: int) -> Image:
    """An image that has to be turned clockwise by so much to be as it was."""
    rotated: Image = cv2.rotate(image, TURNS[degrees])  # type: ignore[assignment]  # It is uint8.
    return rotated


def face_of(image: Image, upright: pb.Upright = pb.UPRIGHT_AUTO, select: int = 0) -> pb.Face:
    detect = pb.DetectFace(upright=upright, selection=select)  # type: ignore[arg-type]
    return pb.Face(encoded=encode(image), detect=detect)


def embed(stub: pb_grpc.FaceEmbeddingServiceStub, face: pb.Face) -> pb.EmbedResult:
    return stub.Embed(pb.EmbedRequest(faces=[face]), timeout=30).results[0]


def points(found: pb.Detection) -> np.ndarray:
    each = [getattr(found.landmarks, name) for name in LANDMARKS]
    return np.array([(point.x, point.y) for point in each])


def moved(places: np.ndarray, degrees: int) -> np.ndarray:
    """Where places of the photograph are once it is turned as `turned` does."""
    height, width = PERSON.shape[:2]
    x, y = places.T
    return np.column_stack(
        {
            270: (height - 1 - y, x),
            180: (width - 1 - x, height - 1 - y),
            90: (y, width - 1 - x),
        }[degrees]
    )


@pytest.fixture(scope="module")
def upright(stub: pb_grpc.FaceEmbeddingServiceStub) -> pb.EmbedResult:
    """The face of the photograph as it is."""
    return embed(stub, face_of(PERSON, pb.UPRIGHT_AS_IS))


@pytest.mark.parametrize("degrees", TURNS)
def test_turned(
    degrees: int, stub: pb_grpc.FaceEmbeddingServiceStub, upright: pb.EmbedResult
) -> None:
    """The face of a turned photograph has the embedding of the upright one, and no warning."""
    result = embed(stub, face_of(turned(PERSON, degrees)))
    assert result.detection.turned_degrees == degrees
    assert np.dot(result.embedding.values, upright.embedding.values) > 0.999
    assert list(result.warnings) == list(upright.warnings)


@pytest.mark.parametrize("degrees", TURNS)
def test_places(
    degrees: int, stub: pb_grpc.FaceEmbeddingServiceStub, upright: pb.EmbedResult
) -> None:
    """Box and landmarks are in the photograph as it was sent."""
    found = embed(stub, face_of(turned(PERSON, degrees))).detection
    np.testing.assert_allclose(points(found), moved(points(upright.detection), degrees), atol=0.1)
    before, box = upright.detection.box, found.box
    middle = np.array([(before.left + before.width / 2, before.top + before.height / 2)])
    expected = moved(middle, degrees)[0]
    assert (box.left + box.width / 2, box.top + box.height / 2) == pytest.approx(expected, abs=0.1)
    sides = (before.width, before.height) if degrees == 180 else (before.height, before.width)
    assert (box.width, box.height) == pytest.approx(sides, abs=0.1)


def test_large_photograph(stub: pb_grpc.FaceEmbeddingServiceStub, upright: pb.EmbedResult) -> None:
    """A photograph that is searched smaller than it is has its landmarks where they are."""
    large = cv2.resize(turned(PERSON, 90), None, fx=2, fy=2)
    found = embed(stub, face_of(large)).detection  # type: ignore[arg-type]  # It is uint8.
    np.testing.assert_allclose(points(found) / 2, moved(points(upright.detection), 90), atol=2)


def test_upright_photograph(
    stub: pb_grpc.FaceEmbeddingServiceStub, upright: pb.EmbedResult
) -> None:
    """An upright photograph stays as it is."""
    assert embed(stub, face_of(PERSON)) == upright
    assert upright.detection.turned_degrees == 0


def test_off_by_default(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Nothing is turned unless it is asked for."""
    with pytest.raises(grpc.RpcError, match="no face was found"):
        embed(stub, face_of(turned(PERSON, 90), pb.UPRIGHT_UNSPECIFIED))


def test_no_face(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Where no quarter has a face, there is none."""
    with pytest.raises(grpc.RpcError, match="whichever side is up"):
        embed(stub, face_of(CAT))


def test_detect(stub: pb_grpc.FaceEmbeddingServiceStub, upright: pb.EmbedResult) -> None:
    """Detect turns the photograph too, and tells its size as it was sent."""
    image = turned(PERSON, 270)
    answer = stub.Detect(pb.DetectRequest(encoded=encode(image), upright=pb.UPRIGHT_AUTO))
    assert (answer.height, answer.width) == image.shape[:2]
    (found,) = answer.detections
    assert found.turned_degrees == 270
    np.testing.assert_allclose(points(found), moved(points(upright.detection), 270), atol=0.1)


def test_unknown_for_detect(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """What Detect does not know is refused, with its field."""
    request = pb.DetectRequest(encoded=encode(PERSON), upright=99)  # type: ignore[arg-type]
    with pytest.raises(grpc.RpcError, match="upright: 99 is not an Upright"):
        stub.Detect(request)


def test_all_faces(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """All faces of a photograph are of the quarter that has the best."""
    two = np.hstack([PERSON, PERSON])
    result = embed(stub, face_of(turned(two, 180), select=pb.FACE_SELECTION_ALL))
    assert [face.detection.turned_degrees for face in result.faces.faces] == [180, 180]


def test_compare(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """A comparison tells the turn of each side."""
    sides = {
        "first": pb.CompareSide(face=face_of(PERSON)),
        "second": pb.CompareSide(face=face_of(turned(PERSON, 90))),
    }
    answer = stub.Compare(pb.CompareRequest(**sides))
    assert answer.cosine_similarity > 0.999
    assert answer.first.detection.turned_degrees == 0
    assert answer.second.detection.turned_degrees == 90


def test_searched_once(tmp_path: Path) -> None:
    """A photograph with a good face is searched once, and one that has none four times."""
    onnx.save(white_cells(), tmp_path / "white.onnx")
    yunet = detectors.load("yunet", tmp_path / "white.onnx")
    assert yunet
    detector = CountingDetector(yunet)
    turning.find(detector, with_cells(320, 160, (10, 6)))
    assert detector.ended == 1
    turning.find(detector, with_cells(320, 160))
    assert detector.ended == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", detectors.NAMES)
def test_photographs(name: str, test_data: Path) -> None:
    """Of real photographs, each is turned as it has to be, and those that are upright are not."""
    model = test_data / "models" / "yunet_2026may.onnx" if name == "yunet" else None
    detector: Detector | None = detectors.load(name, model)
    assert detector
    for file in sorted((test_data / "faces" / "photos").glob("*.jpg")):
        photograph: Image = cv2.imread(str(file))  # type: ignore[assignment]  # It is uint8.
        assert [face.turned_degrees for face in turning.find(detector, photograph)] == [0], file
        for degrees in TURNS:
            (found,) = turning.find(detector, turned(photograph, degrees))
            assert found.turned_degrees == degrees, file
            upwards = alignment.turn_degrees(found.landmarks) + degrees
            assert abs((upwards + 180) % 360 - 180) < 20, file
