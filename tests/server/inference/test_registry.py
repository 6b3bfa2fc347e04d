"""A server of several models: which of them answers what."""

import shutil
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding.v1 import face_embedding_pb2_grpc as pb_grpc
from face_embedding_models.store import Store
from face_embedding_server.faces.images import Image as Face
from support import MOBILE, RESNET34, encode, needs_mxnet, running_server, small_settings

pytestmark = pytest.mark.slow

TIMEOUT_S = 60
SIZES = {MOBILE: 128, RESNET34: 512}


@pytest.fixture(scope="module")
def both(store: Store, resnet34_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with both stand-ins."""
    both = Store(tmp_path_factory.mktemp("both"))
    for each in (store, resnet34_store):
        shutil.copytree(each.root, both.root, dirs_exist_ok=True)
    return both


@pytest.fixture(
    scope="module",
    params=[
        {"model": f"{RESNET34}, {MOBILE}"},
        {"model": f"{RESNET34},*"},
        pytest.param({"model": f"{RESNET34},*", "backend": "mxnet"}, marks=needs_mxnet),
    ],
    ids=["named", "others", "mxnet"],
)
def channel(request: pytest.FixtureRequest, both: Store) -> Iterator[grpc.Channel]:
    """A channel to a server of both, of which ResNet34 is the default."""
    settings = small_settings(both, detector="none", **request.param)
    with running_server(settings) as running, grpc.insecure_channel(running.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> pb_grpc.FaceEmbeddingServiceStub:
    return pb_grpc.FaceEmbeddingServiceStub(channel)


@pytest.fixture(scope="module")
def v2(channel: grpc.Channel) -> oip_grpc.GRPCInferenceServiceStub:
    return oip_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def aligned(faces: list[Face]) -> pb.Face:
    return pb.Face(encoded=encode(faces[0]), aligned=pb.Aligned())


def infer_request(name: str, face: Face, version: str = "") -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name=name, model_version=version)
    request.inputs.add(name="face", datatype="UINT8", shape=[1, 112, 112, 3])
    request.raw_input_contents.append(face.tobytes())
    return request


@pytest.mark.parametrize(("asked", "answers"), [("", RESNET34), (RESNET34,) * 2, (MOBILE,) * 2])
def test_embed(
    asked: str,
    answers: str,
    stub: pb_grpc.FaceEmbeddingServiceStub,
    both: Store,
    aligned: pb.Face,
) -> None:
    """A model answers by its name, and the first where no name is given."""
    response = stub.Embed(pb.EmbedRequest(faces=[aligned], model=asked), timeout=TIMEOUT_S)
    (result,) = response.results
    assert result.embedding.space == both.get(answers).embedding_space
    assert len(result.embedding.values) == SIZES[answers]


def test_stream(stub: pb_grpc.FaceEmbeddingServiceStub, both: Store, aligned: pb.Face) -> None:
    """Each item of a stream is answered by the model that it names."""
    asked = {"": RESNET34, RESNET34: RESNET34, MOBILE: MOBILE}
    items = [pb.EmbedStreamRequest(id=name, model=name, face=aligned) for name in asked]
    answers = {each.id: each for each in stub.EmbedStream(iter(items), timeout=TIMEOUT_S)}
    assert {name: each.result.embedding.space for name, each in answers.items()} == {
        name: both.get(answering).embedding_space for name, answering in asked.items()
    }


def test_spaces_do_not_mix(stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face) -> None:
    """An embedding of one model cannot be compared by the other."""
    embedded = stub.Embed(pb.EmbedRequest(faces=[aligned], model=MOBILE), timeout=TIMEOUT_S)
    side = pb.CompareSide(embedding=embedded.results[0].embedding)
    request = pb.CompareRequest(first=side, second=pb.CompareSide(face=aligned), model=RESNET34)
    with pytest.raises(grpc.RpcError, match="space") as caught:
        stub.Compare(request, timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_name(stub: pb_grpc.FaceEmbeddingServiceStub, aligned: pb.Face) -> None:
    """A model that is not served is NOT_FOUND, and the error names those that are."""
    with pytest.raises(grpc.RpcError, match=f"'{RESNET34}', '{MOBILE}', not 'other'") as caught:
        stub.Embed(pb.EmbedRequest(faces=[aligned], model="other"), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(("asked", "answers"), [("", RESNET34), (MOBILE, MOBILE)])
def test_model_info(asked: str, answers: str, stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """Any model can be asked for, and all that are served are named, the default one first."""
    info = stub.GetModelInfo(pb.GetModelInfoRequest(model=asked), timeout=TIMEOUT_S)
    assert (info.name, info.embedding_size) == (answers, SIZES[answers])
    assert list(info.served_models) == [RESNET34, MOBILE]


def test_list_models(stub: pb_grpc.FaceEmbeddingServiceStub) -> None:
    """All that are served are listed as they are described, the default one first and marked."""
    models = stub.ListModels(pb.ListModelsRequest(), timeout=TIMEOUT_S).models
    assert [(each.name, each.is_default) for each in models] == [(RESNET34, True), (MOBILE, False)]
    for each in models:
        info = stub.GetModelInfo(pb.GetModelInfoRequest(model=each.name), timeout=TIMEOUT_S)
        assert each == pb.ModelSummary(
            name=info.name,
            is_default=each.is_default,
            model_version=info.model_version,
            embedding_space=info.embedding_space,
            embedding_size=info.embedding_size,
            precision=info.precision,
            weights_origin=info.weights_origin,
        )


@pytest.mark.parametrize("name", [MOBILE, RESNET34])
def test_versions(
    name: str,
    stub: pb_grpc.FaceEmbeddingServiceStub,
    v2: oip_grpc.GRPCInferenceServiceStub,
    both: Store,
    aligned: pb.Face,
    faces: list[Face],
) -> None:
    """Every answer tells the version of the model, the beginning of its weights' digest."""
    side = pb.CompareSide(face=aligned)
    item = pb.EmbedStreamRequest(face=aligned, model=name)
    told = [
        stub.Embed(pb.EmbedRequest(faces=[aligned], model=name)).model_version,
        stub.Compare(pb.CompareRequest(first=side, second=side, model=name)).model_version,
        stub.GetModelInfo(pb.GetModelInfoRequest(model=name)).model_version,
        *(each.model_version for each in stub.EmbedStream(iter([item]))),
        v2.ModelInfer(infer_request(name, faces[0])).model_version,
        *v2.ModelMetadata(oip.ModelMetadataRequest(name=name)).versions,
    ]
    assert told == [both.get(name).weights_sha256[:16]] * 6


@pytest.mark.parametrize("name", [MOBILE, RESNET34])
def test_infer(
    name: str,
    stub: pb_grpc.FaceEmbeddingServiceStub,
    v2: oip_grpc.GRPCInferenceServiceStub,
    aligned: pb.Face,
    faces: list[Face],
) -> None:
    """By the Open Inference Protocol too, a model answers by its name."""
    response = v2.ModelInfer(infer_request(name, faces[0]), timeout=TIMEOUT_S)
    values = np.frombuffer(response.raw_output_contents[1], "<f4")
    embedded = stub.Embed(pb.EmbedRequest(faces=[aligned], model=name), timeout=TIMEOUT_S)
    assert response.model_name == name
    np.testing.assert_allclose(values, embedded.results[0].embedding.values, atol=1e-6)


def test_infer_with_version(
    v2: oip_grpc.GRPCInferenceServiceStub, both: Store, faces: list[Face]
) -> None:
    """A request for the version that is served is answered, and one for another is NOT_FOUND."""
    version = both.get(MOBILE).version
    assert v2.ModelInfer(infer_request(MOBILE, faces[0], version)).model_version == version
    other = both.get(RESNET34).version
    with pytest.raises(grpc.RpcError, match=f"at version {version}, not {other}") as caught:
        v2.ModelInfer(infer_request(MOBILE, faces[0], other))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("name", "ready"), [(MOBILE, True), (RESNET34, True), ("other", False)], ids=str
)
def test_readiness(name: str, ready: bool, v2: oip_grpc.GRPCInferenceServiceStub) -> None:
    """Each model tells that it is ready."""
    assert v2.ModelReady(oip.ModelReadyRequest(name=name)).ready is ready


def test_loading(both: Store, faces: list[Face]) -> None:
    """Before it is loaded, a named model is UNAVAILABLE and not unknown."""
    settings = small_settings(both, model=f"{RESNET34},{MOBILE}", detector="none")
    with (
        running_server(settings, load=False) as running,
        grpc.insecure_channel(running.address) as channel,
        pytest.raises(grpc.RpcError, match="is being loaded") as caught,
    ):
        oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer(infer_request(MOBILE, faces[0]))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_one_of_two(both: Store) -> None:
    """A server of one model does not serve another that is in the store."""
    settings = small_settings(both, model=MOBILE, detector="none")
    with running_server(settings) as running, grpc.insecure_channel(running.address) as channel:
        stub = pb_grpc.FaceEmbeddingServiceStub(channel)
        assert list(stub.GetModelInfo(pb.GetModelInfoRequest()).served_models) == [MOBILE]
        with pytest.raises(grpc.RpcError, match=f"serves '{MOBILE}', not '{RESNET34}'"):
            stub.GetModelInfo(pb.GetModelInfoRequest(model=RESNET34))
