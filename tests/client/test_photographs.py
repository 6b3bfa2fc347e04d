"""The clients with photographs, which the server aligns, and with calibrated decisions."""

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from twins import Client

from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_client import (
    AlignedFace,
    Box,
    Detection,
    Embedding,
    Face,
    FaceEmbeddingClient,
    FaceWarning,
    InvalidRequestError,
    Landmarks,
    OperatingPoint,
    Photograph,
    PreparedFace,
    RawFace,
    ServerError,
)
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Pixels
from support import RunningServer, encode, running_server, small_settings

NAME = "person02_00"
POINTS = {
    "left_eye": pb.Point(x=1, y=2),
    "right_eye": pb.Point(x=3, y=4),
    "nose": pb.Point(x=5, y=6),
    "left_mouth": pb.Point(x=7, y=8),
    "right_mouth": pb.Point(x=9, y=10),
}
FOUND = pb.Detection(
    box=pb.Box(left=-1, top=2, width=3, height=4), landmarks=pb.Landmarks(**POINTS), score=0.5
)
POINT = {
    "name": "fmr-1e-3",
    "threshold": 0.5,
    "threshold_low": 0.25,
    "threshold_high": 0.75,
    "false_match_rate": 0.001,
    "false_match_rate_high": 0.002,
    "false_non_match_rate": 0.003,
    "false_non_match_rate_high": 0.004,
}


class Scripted(pb_grpc.FaceEmbeddingServiceServicer):
    """A server with a calibration, which knows one comparison and a warning of the future."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        limits = pb.Limits(max_encoded_bytes=1 << 20, max_message_bytes=1 << 20, max_image_pixels=9)
        points = [pb.OperatingPoint(**POINT)]
        return pb.GetModelInfoResponse(limits=limits, detector="eyes", operating_points=points)

    def Compare(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.requests.append(request)
        warnings = [pb.Warning(reason=4, value=5, limit=25), pb.Warning(reason=99, value=1)]
        return pb.CompareResponse(
            cosine_similarity=0.5,
            decision=pb.DECISION_UNDECIDED,
            threshold=0.5,
            expected_false_match_rate=0.001,
            first=pb.PreparedFace(detection=FOUND, warnings=warnings),
        )

    def Embed(self, request: Any, context: Any) -> Any:  # noqa: N802  # gRPC's name
        self.requests.append(request)
        context.abort(grpc.StatusCode.INTERNAL, "broken")


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def scripted_client(kind: type[Client], scripted: Scripted) -> Iterator[Client]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    pb_grpc.add_FaceEmbeddingServiceServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield kind(f"127.0.0.1:{port}")
    server.stop(0).wait()


def distance(first: Landmarks, second: Landmarks) -> float:
    """The largest distance of a landmark to its namesake."""
    points = [np.array([f.left_eye, f.right_eye, f.nose, f.left_mouth, f.right_mouth])
              for f in (first, second)]  # fmt: skip
    return float(np.linalg.norm(points[0] - points[1], axis=1).max())


def reason_of(error: object) -> str:
    """The reason of a refusal."""
    assert isinstance(error, InvalidRequestError)
    return error.reason


def test_landmarks(
    any_client: Client, portrait: bytes, landmarks: dict[str, Landmarks], test_data: Path
) -> None:
    """A photograph with landmarks gives the embedding of the aligned face."""
    aligned = (test_data / "faces" / "aligned" / f"{NAME}.png").read_bytes()
    found = any_client.embed(Photograph(portrait, landmarks[NAME]))
    assert any_client.compare(found, aligned).cosine_similarity > 0.999


def test_landmarks_are_no_detection(
    any_client: Client, portrait: bytes, landmarks: dict[str, Landmarks]
) -> None:
    """A face whose landmarks are given is not looked for."""
    assert any_client.embed(Photograph(portrait, landmarks[NAME])).detection is None


def test_landmarks_as_array(any_client: Client, portrait: bytes, landmarks: Any) -> None:
    """Landmarks may be the rows of an array, as detectors give them."""
    rows = np.array([getattr(landmarks[NAME], name) for name in POINTS], np.float32)
    assert any_client.embed(Photograph(portrait, Landmarks(*rows))).norm > 0


def test_impossible_landmarks(any_client: Client, portrait: bytes) -> None:
    """Landmarks that coincide are refused."""
    with pytest.raises(InvalidRequestError) as caught:
        any_client.embed(Photograph(portrait, Landmarks(*[(5, 5)] * 5)))
    assert caught.value.reason == "LANDMARKS_INVALID"


def test_detected(any_client: Client, portrait: bytes, landmarks: dict[str, Landmarks]) -> None:
    """A photograph without landmarks gives its embedding with the face that was found."""
    detection = any_client.embed(Photograph(portrait)).detection
    assert detection is not None
    assert distance(detection.landmarks, landmarks[NAME]) < 10
    assert 0.5 < detection.score <= 1


def on_its_side(image: bytes) -> bytes:
    """An image that has to be turned clockwise by a quarter, and has no EXIF that says so."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return encode(np.ascontiguousarray(np.rot90(pixels)), ".jpg")  # type: ignore[arg-type]


def test_upright(any_client: Client, portrait: bytes) -> None:
    """An image on its side is turned if that is wanted, by all that finds faces in it."""
    sideways = on_its_side(portrait)
    photograph = Photograph(sideways, upright="auto")
    found = [
        any_client.embed(photograph).detection,
        any_client.embed_faces(sideways, upright="auto")[0].detection,
        any_client.detect(sideways, upright="auto").faces[0],
    ]
    assert [each and each.turned_degrees for each in found] == [90, 90, 90]
    assert any_client.compare(photograph, Photograph(portrait)).cosine_similarity > 0.9


def test_not_upright(any_client: Client, portrait: bytes) -> None:
    """It is not turned by default."""
    sideways = on_its_side(portrait)
    assert {face.turned_degrees for face in any_client.detect(sideways).faces} <= {0}


def test_check_alignment(any_client: Client, faces: list[Pixels]) -> None:
    """An aligned face is looked at whether it is, if that is wanted."""
    for wanted in (True, False):
        face = AlignedFace(encode(faces[0] // 255), check_alignment=wanted)
        warnings = [each.reason for each in any_client.embed(face).warnings]
        assert ("MISALIGNED" in warnings) == wanted


def test_pixels(any_client: Client, portrait: bytes) -> None:
    """A photograph may be given as pixels."""
    pixels = cv2.imdecode(np.frombuffer(portrait, np.uint8), cv2.IMREAD_COLOR)
    photograph = Photograph(RawFace(pixels, "BGR"))
    same = any_client.compare(photograph, Photograph(portrait)).cosine_similarity
    assert same == pytest.approx(1, abs=1e-3)


def test_several_faces(any_client: Client, couple: bytes) -> None:
    """Of several faces none is the only one."""
    with pytest.raises(InvalidRequestError) as caught:
        any_client.embed(Photograph(couple))
    assert caught.value.reason == "SEVERAL_FACES"


def test_largest_face(any_client: Client, couple: bytes) -> None:
    """The largest face can be asked for."""
    detection = any_client.embed(Photograph(couple, select="largest")).detection
    assert detection is not None
    assert detection == any_client.detect(couple).faces[0]


def test_central_face(any_client: Client, couple: bytes) -> None:
    """The most central face can be asked for, which here is the smaller one."""
    image = cv2.imdecode(np.frombuffer(couple, np.uint8), cv2.IMREAD_COLOR)
    box = any_client.detect(couple).faces[1].box
    left = image.shape[1] - round(2 * box.left + box.width)
    border = (0, 0, max(left, 0), max(-left, 0))
    wide = encode(cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT), ".jpg")
    detection = any_client.embed(Photograph(wide, select="central")).detection
    assert detection == any_client.detect(wide).faces[1]


def test_aligned_face_is_not_detected(any_client: Client, faces: list[Pixels]) -> None:
    """An aligned face is taken as it is."""
    assert any_client.embed(encode(faces[0])).detection is None


def test_warning(any_client: Client, faces: list[Pixels]) -> None:
    """An embedding carries what makes it less trustworthy."""
    warnings = any_client.embed(encode((faces[0] // 16).astype(np.uint8))).warnings
    (dark,) = [warning for warning in warnings if warning.reason == "DARK"]
    assert dark.value < dark.limit


def test_many(any_client: Client, portrait: bytes, nobody: bytes, faces: list[Pixels]) -> None:
    """Photographs and aligned faces mix in one request, and a refusal keeps its place."""
    first, second, third = any_client.embed_many(
        [Photograph(portrait), encode(faces[0]), Photograph(nobody)]
    )
    assert isinstance(first, Embedding)
    assert isinstance(second, Embedding)
    assert (first.detection is None, second.detection is None) == (False, True)
    assert reason_of(third) == "NO_FACE_FOUND"


def test_stream(any_client: Client, portrait: bytes, couple: bytes) -> None:
    """A stream takes photographs."""
    items: list[tuple[str, Face]] = [
        ("one", Photograph(portrait)),
        ("two", Photograph(couple)),
        ("largest", Photograph(couple, select="largest")),
    ]
    outcomes = dict(any_client.embed_stream(items))
    assert {name for name, o in outcomes.items() if isinstance(o, Embedding)} == {"one", "largest"}
    assert reason_of(outcomes["two"]) == "SEVERAL_FACES"


def test_all_faces(any_client: Client, couple: bytes) -> None:
    """All faces of a photograph are embedded, those with larger boxes first."""
    embeddings = any_client.embed_faces(couple)
    assert [face.detection for face in embeddings] == list(any_client.detect(couple).faces)
    assert len(embeddings) == 2


def test_missing_faces(couple: bytes, store: Store) -> None:
    """Of more faces than the server embeds, the answer has how many it found and left out."""
    with (
        running_server(small_settings(store, max_faces_per_request=1)) as running,
        FaceEmbeddingClient(running.address) as client,
    ):
        embedded = client.embed_faces(couple)
    assert (len(embedded), embedded.found, embedded.missing) == (1, 2, 1)
    assert embedded[0].faces_found == 2


def test_faces_found(any_client: Client, couple: bytes) -> None:
    """An embedding says among how many faces its face was chosen, and so does a comparison."""
    photograph = Photograph(couple, select="largest")
    assert any_client.embed(photograph).faces_found == 2
    first = any_client.compare(photograph, photograph).first
    assert first is not None
    assert first.faces_found == 2


def test_all_faces_raw(any_client: Client, portrait: bytes) -> None:
    """Their values can stay raw."""
    (face,) = any_client.embed_faces(portrait, raw=True)
    assert np.linalg.norm(face.values) == pytest.approx(face.norm, rel=1e-5)


def test_all_of_no_faces(any_client: Client, nobody: bytes) -> None:
    """All faces of a photograph without any is a refusal."""
    with pytest.raises(InvalidRequestError, match=r"^detect: ") as caught:
        any_client.embed_faces(nobody)
    assert (caught.value.reason, caught.value.field) == ("NO_FACE_FOUND", "detect")


@pytest.mark.parametrize("method", ["embed_faces", "detect"])
@pytest.mark.parametrize("size", [300_000, 3_000_000, 80_000_000], ids=str)
def test_oversized_photograph(method: str, size: int, any_client: Client) -> None:
    """An image beyond the server's limits is refused by its reason, however large it is."""
    with pytest.raises(InvalidRequestError) as caught:
        getattr(any_client, method)(bytes(size))
    assert caught.value.reason == "IMAGE_TOO_LARGE"


def test_oversized_image_is_not_sent(scripted_client: Client, scripted: Scripted) -> None:
    """What the server would not take is not sent."""
    with pytest.raises(InvalidRequestError):
        scripted_client.embed_faces(bytes(2 << 20))
    assert scripted.requests == []


def test_detect(any_client: Client, portrait: bytes, landmarks: dict[str, Landmarks]) -> None:
    """Detection tells boxes, landmarks and scores, and the size of the image."""
    found = any_client.detect(portrait)
    (face,) = found.faces
    assert (found.width, found.height) == (480, 480)
    assert distance(face.landmarks, landmarks[NAME]) < 10
    assert face.box.left < landmarks[NAME].nose[0] < face.box.left + face.box.width
    assert face.box.top < landmarks[NAME].nose[1] < face.box.top + face.box.height


def test_detect_order(any_client: Client, couple: bytes) -> None:
    """Larger boxes come first."""
    large, small = any_client.detect(couple).faces
    assert large.box.width * large.box.height > small.box.width * small.box.height


def test_detect_nobody(any_client: Client, nobody: bytes) -> None:
    """No face is no error of detection."""
    found = any_client.detect(nobody)
    assert (found.faces, found.width, found.height) == ((), 300, 200)


def test_detect_junk(any_client: Client) -> None:
    """What is no image is."""
    with pytest.raises(InvalidRequestError) as caught:
        any_client.detect(b"junk")
    assert (caught.value.reason, caught.value.field) == ("IMAGE_UNREADABLE", "encoded")


@pytest.mark.parametrize("method", ["embed_faces", "detect"])
def test_no_detector(
    method: str, kind: type[Client], blind_server: RunningServer, portrait: bytes
) -> None:
    """A server without a detector refuses to look for faces."""
    with pytest.raises(InvalidRequestError) as caught:
        getattr(kind(blind_server.address), method)(portrait)
    assert caught.value.reason == "NO_DETECTOR"


def test_landmarks_without_detector(
    kind: type[Client], blind_server: RunningServer, portrait: bytes, landmarks: Any
) -> None:
    """Such a server still aligns by landmarks."""
    assert kind(blind_server.address).embed(Photograph(portrait, landmarks[NAME])).norm > 0


def test_compare_photographs(any_client: Client, portrait: bytes) -> None:
    """A comparison tells how its faces were prepared."""
    result = any_client.compare(Photograph(portrait), any_client.embed(Photograph(portrait)))
    assert result.cosine_similarity == pytest.approx(1, abs=1e-5)
    assert result.first is not None
    assert result.first.detection == any_client.detect(portrait).faces[0]
    assert result.second is None


@pytest.mark.parametrize(
    ("threshold", "decision", "match"),
    [(None, None, None), (-1.0, "MATCH", True), (1.0, "NO_MATCH", False)],
    ids=str,
)
def test_decision(
    threshold: Any, decision: Any, match: Any, any_client: Client, faces: list[Pixels]
) -> None:
    """A threshold decides."""
    result = any_client.compare(encode(faces[0]), encode(faces[1]), threshold=threshold)
    assert (result.decision, result.match, result.threshold) == (decision, match, threshold)
    assert result.expected_false_match_rate is None


def test_undecided(scripted_client: Client) -> None:
    """What is undecided is neither a match nor none."""
    result = scripted_client.compare(b"a", b"b", operating_point="fmr-1e-3")
    assert (result.decision, result.match) == ("UNDECIDED", None)
    assert (result.threshold, result.expected_false_match_rate) == (0.5, 0.001)


def test_operating_point_is_sent(scripted_client: Client, scripted: Scripted) -> None:
    """The name of the operating point is what the server gets."""
    scripted_client.compare(b"a", b"b", operating_point="fmr-1e-3")
    assert scripted.requests[0].WhichOneof("criterion") == "operating_point"
    assert scripted.requests[0].operating_point == "fmr-1e-3"


def test_prepared_face(scripted_client: Client) -> None:
    """Every field of a face comes out, and a reason of a newer server as its number."""
    result = scripted_client.compare(b"a", b"b")
    landmarks = Landmarks((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))
    assert result.first == PreparedFace(
        Detection(Box(-1, 2, 3, 4), landmarks, 0.5),
        (FaceWarning("DARK", 5, 25), FaceWarning("99", 1, 0)),
    )


def test_two_criteria(any_client: Client) -> None:
    """A threshold and an operating point are one too many."""
    with pytest.raises(ValueError, match="not both"):
        any_client.compare(b"a", b"b", threshold=0.5, operating_point="equal-error")


def test_unknown_operating_point(any_client: Client, faces: list[Pixels]) -> None:
    """A name that the calibration lacks is the request's fault, and not an unknown model."""
    with pytest.raises(InvalidRequestError) as caught:
        any_client.compare(encode(faces[0]), encode(faces[1]), operating_point="none")
    assert caught.value.reason == "OPERATING_POINT_UNKNOWN"
    assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_model_info(scripted_client: Client) -> None:
    """The description names detector, operating points and the limit of pixels."""
    info = scripted_client.model_info()
    assert (info.detector, info.max_image_pixels) == ("eyes", 9)
    assert info.operating_points == (OperatingPoint(**POINT),)  # type: ignore[arg-type]


def test_detector_of_the_server(any_client: Client) -> None:
    """The server says that it has a detector, and no calibration."""
    info = any_client.model_info()
    assert info.detector
    assert info.operating_points == ()


def test_fault_of_the_server(scripted_client: Client) -> None:
    """A fault while all faces are embedded is raised as one."""
    with pytest.raises(ServerError, match="broken"):
        scripted_client.embed_faces(b"a")


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (Photograph("a.png"), TypeError, "an image is bytes or a RawFace, not str"),  # type: ignore[arg-type]
        (Photograph(b"a", [1]), TypeError, "landmarks are Landmarks, not list"),  # type: ignore[arg-type]
        (
            Photograph(b"a", select="all"),
            ValueError,
            "one of 'only', 'central', 'largest', not 'all'",
        ),  # type: ignore[arg-type]
        (Photograph(b"a", upright="yes"), ValueError, "'as_is' or 'auto', not 'yes'"),  # type: ignore[arg-type]
    ],
    ids=["path", "landmarks", "all", "upright"],
)
def test_caller_mistakes(
    bad: Any, error: type[Exception], message: str, any_client: Client
) -> None:
    """What cannot be a photograph is refused before anything is sent."""
    with pytest.raises(error, match=message):
        any_client.embed(bad)


@pytest.mark.parametrize("method", ["embed_faces", "detect"])
def test_photograph_where_an_image_belongs(method: str, any_client: Client) -> None:
    """Methods for all faces of an image take the image itself."""
    with pytest.raises(TypeError, match="an image is bytes or a RawFace, not Photograph"):
        getattr(any_client, method)(Photograph(b"a"))


def test_embedding_of_stored_values(client: FaceEmbeddingClient, faces: list[Pixels]) -> None:
    """An embedding can be built from stored values alone."""
    embedding = client.embed(encode(faces[0]))
    stored = Embedding(embedding.values, embedding.norm, embedding.space)
    assert client.compare(stored, embedding).cosine_similarity == pytest.approx(1, abs=1e-6)
