"""ONNX networks as people bring them: served by both engines, compared, quantized."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np
import pytest

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.open_inference import open_inference_pb2_grpc as oip_grpc
from face_embedding_client import Embedding, FaceEmbeddingClient
from face_embedding_models.installing import importing
from face_embedding_models.manifest import Manifest
from face_embedding_models.openvino import ir
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store, parts, sealed
from face_embedding_server.cli.main import main
from face_embedding_server.faces.images import swap_red_and_blue
from face_embedding_server.inference import backends
from face_embedding_server.inference.backends import BackendError
from support import MOBILE, Golden, encode, needs_bf16, running_server, small_settings
from support.onnx_networks import Form, as_onnx, described

# Between the engines, and of either to MXNet, on unit embeddings. Measured 4e-7.
TOLERANCE = 5e-6
GOLDEN_TOLERANCE = 5e-5
BACKENDS = ("openvino", "onnxruntime")
TIMEOUT_S = 60
FORMS = (
    Form(),
    Form(8, 1, "[C]", normalises=False),
    Form(11, normalises=False, channel_order="BGR"),
)

Run: TypeAlias = Callable[..., tuple[int, str, str]]


def put(store: Store, source: Store, known: Manifest, form: Form, folder: Path) -> None:
    """Write a MobileFaceNet of a store as ONNX, import it into another and use it."""
    given = source.get(MOBILE)
    file = folder / "anything.onnx"
    file.write_bytes(as_onnx(given.read_checkpoint(), given.manifest, form))
    importing.import_weights(store, known, [str(file)], allow_unverified=True, put=ir.put_to_use)


@pytest.fixture(scope="module")
def stand_in(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the MobileFaceNet stand-in as ONNX."""
    made = Store(tmp_path_factory.mktemp("stand-in"))
    form = Form(normalises=False)
    put(made, store, described(form), form, tmp_path_factory.mktemp("onnx"))
    return made


@pytest.fixture(scope="module", params=FORMS, ids=str)
def trained(
    request: pytest.FixtureRequest, trained_store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """A store with the trained MobileFaceNet as ONNX."""
    made = Store(tmp_path_factory.mktemp("trained"))
    form: Form = request.param
    put(made, trained_store, described(form), form, tmp_path_factory.mktemp("onnx"))
    return made


@pytest.fixture(scope="module")
def one_trained(trained_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same in the first form only."""
    made = Store(tmp_path_factory.mktemp("trained"))
    put(made, trained_store, described(), FORMS[0], tmp_path_factory.mktemp("onnx"))
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(store: Store, *arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--store", str(store.root)])
        return status, *capsys.readouterr()

    return run


def served(store: Store, backend: str, files: list[bytes]) -> np.ndarray:
    """Return the unit embeddings that a server gives for image files."""
    settings = small_settings(store, backend=backend, detector="none")
    with running_server(settings) as running, FaceEmbeddingClient(running.address) as client:
        assert client.model_info().backend == backend
        outcomes = client.embed_many(files)
    return np.stack([outcome.values for outcome in outcomes if isinstance(outcome, Embedding)])


def unit(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def test_golden_over_grpc(trained: Store, golden: Golden) -> None:
    """Both engines, over gRPC, give what MXNet alone gave, and the same as each other."""
    files = [file.read_bytes() for file in golden.files]
    first, second = (served(trained, backend, files) for backend in BACKENDS)
    np.testing.assert_allclose(first, second, rtol=0, atol=TOLERANCE)
    for values in (first, second):
        np.testing.assert_allclose(values, unit(golden.embeddings), rtol=0, atol=GOLDEN_TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_swapped_pixels(backend: str, one_trained: Store, golden: Golden) -> None:
    """Faces with red and blue swapped give other embeddings, so those above prove the order."""
    files = [encode(swap_red_and_blue(face)) for face in golden.faces]
    cosines = (served(one_trained, backend, files) * unit(golden.embeddings)).sum(axis=1)
    assert cosines.max() < 0.99  # Measured 0.981.


def test_command(stand_in: Store, run: Run) -> None:
    """`parity` compares OpenVINO with ONNX Runtime, passes, and would notice swapped channels."""
    status, out, _ = run(stand_in, "parity", "--model", "mine", "--json")
    report = json.loads(out)
    assert (status, report["passed"], report["channel_order_proven"]) == (0, True, True)
    assert report["min_cosine"] >= 0.999999
    assert report["max_scaled_difference"] < 1e-4


def test_command_notices_another_network(store: Store, tmp_path: Path, run: Run) -> None:
    """`parity` fails, with exit status 1, where the IR is not that of the ONNX file."""
    made = Store(tmp_path / "store")
    other = Store(tmp_path / "other")
    put(made, store, described(), Form(), tmp_path)
    put(other, store, described(), Form(channel_order="BGR"), tmp_path)
    model, wrong = made.get("mine"), other.get("mine").ir_folder("f32")
    record = sealed.read_record(wrong) | model.identity("f32")

    def fill(folder: Path) -> None:
        for name in record["files"]:
            shutil.copy(wrong / name, folder)

    with parts.changing(model.folder) as changed:
        sealed.write(changed / wrong.name, fill, record)
    status, out, _ = run(made, "parity", "--model", "mine")
    assert status == 1
    assert "parity: FAILED" in out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantize(one_trained: Store, golden: Golden, run: Run) -> None:
    """An ONNX network is quantized like any other: every face keeps a cosine of 0.995 to itself."""
    images = str(golden.files[0].parent)
    status, out, _ = run(one_trained, "models", "quantize", "mine", "--images", images, "--json")
    measured = json.loads(out)
    assert (status, measured["precision"], measured["faces"]) == (0, "int8", 16)
    assert measured["min_cosine"] >= 0.995


@needs_bf16
def test_drift(one_trained: Store, golden: Golden, run: Run) -> None:
    """The drift of an ONNX network at bf16 is measured like that of any other."""
    images = str(golden.files[0].parent)
    command = ("models", "drift", "mine", "--precision", "bf16", "--images", images, "--json")
    status, out, _ = run(one_trained, *command)
    measured = json.loads(out)
    assert (status, measured["precision"], measured["faces"]) == (0, "bf16", 16)
    assert 0.9998 <= measured["min_cosine"] < 1


def test_mxnet_does_not_run_it(stand_in: Store) -> None:
    """MXNet refuses an ONNX network at the start, and names the engines for it."""
    with pytest.raises(BackendError) as raised:
        backends.load("mxnet", stand_in.get("mine"), "f32")
    assert str(raised.value) == (
        "mxnet does not run the format onnx, which mine has; the backends for it are openvino and "
        "onnxruntime"
    )


def test_onnxruntime_does_not_run_mxnet(store: Store) -> None:
    """ONNX Runtime refuses an MXNet checkpoint at the start, and names the engines for it."""
    with pytest.raises(BackendError) as raised:
        backends.load("onnxruntime", store.get(MOBILE), "f32")
    assert str(raised.value) == (
        f"onnxruntime does not run the format mxnet, which {MOBILE} has; the backends for it are "
        f"openvino and mxnet"
    )


def test_server_does_not_start(stand_in: Store, run: Run) -> None:
    """A server with the wrong engine ends with that message and exit status 2."""
    arguments = ("--model", "mine", "--backend", "mxnet", "--address", "127.0.0.1:0")
    status, _, err = run(stand_in, "serve", *arguments)
    assert status == 2
    assert "mxnet does not run the format onnx, which mine has" in err


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_reference_runs_at_f32(precision: str, stand_in: Store) -> None:
    """ONNX Runtime is the reference, and refuses other precisions than f32."""
    with pytest.raises(BackendError) as raised:
        backends.load("onnxruntime", stand_in.get("mine"), precision)
    assert str(raised.value) == f"onnxruntime runs at f32 only, not at '{precision}'"


CHANGES = {
    "mean": {"mean": 127.0},
    "scale": {"scale": 127.5},
    "channel order": {"channel_order": "BGR"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_preprocessing(
    change: dict[str, object], stand_in: Store, store: Store, tmp_path: Path
) -> None:
    """The same file fed otherwise is another version, whose embeddings are of another space."""
    before = stand_in.get("mine")
    form = Form(normalises=False)
    known = dataclasses.replace(
        described(form), input=dataclasses.replace(described(form).input, **change)
    )
    made = Store(tmp_path / "store")
    put(made, store, known, form, tmp_path)
    after = made.get("mine")
    assert after.weights_sha256 == before.weights_sha256
    assert after.version != before.version
    assert after.embedding_space != before.embedding_space


def test_description_is_no_preprocessing(stand_in: Store, store: Store, tmp_path: Path) -> None:
    """What a manifest says of the network otherwise leaves the version as it is."""
    form = Form(normalises=False)
    known = dataclasses.replace(described(form), description="other words")
    made = Store(tmp_path / "store")
    put(made, store, known, form, tmp_path)
    assert made.get("mine").version == stand_in.get("mine").version


@pytest.mark.parametrize("backend", BACKENDS)
def test_open_inference(backend: str, stand_in: Store) -> None:
    """The Open Inference Protocol gives the same embedding as `Embed`."""
    face = sample_faces(112, 112)[0].pixels_bgr
    request = oip.ModelInferRequest(raw_input_contents=[face.tobytes()])
    request.inputs.add(name="face", datatype="UINT8", shape=[1, 112, 112, 3])
    settings = small_settings(stand_in, backend=backend, detector="none")
    with (
        running_server(settings) as running,
        FaceEmbeddingClient(running.address) as client,
        grpc.insecure_channel(running.address) as channel,
    ):
        plain = client.embed(encode(face), raw=True).values
        infer = oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        answer = infer(request, timeout=TIMEOUT_S)
    values = np.frombuffer(answer.raw_output_contents[0], np.float32)
    np.testing.assert_array_equal(values, plain)
