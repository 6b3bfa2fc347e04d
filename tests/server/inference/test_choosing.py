"""The precision that a server chooses by measuring."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import openvino as ov
import pytest

from face_embedding_client import FaceEmbeddingClient, ModelInfo, RawFace
from face_embedding_models.openvino import drift, quantization
from face_embedding_models.openvino.precision import PRECISIONS, Precision
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_models.store.stored import IR_WEIGHTS_FILE
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.inference import choosing
from face_embedding_server.inference.choosing import Choice
from support import (
    MOBILE,
    WITH_MXNET,
    add_stand_in,
    needs_bf16,
    running_server,
    small_settings,
)

pytestmark = [
    pytest.mark.slow,
    # What NNCF and its dependencies say of one another.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
# The smallest cosine to f32 of the stand-in, as measured: 0.9998 at bf16, 0.976 at int8.
ANY, NOT_INT8, F32_ONLY = 0.9, 0.999, 1


def quantize(store: Store) -> None:
    faces = [face.pixels_bgr for face in sample_faces(112, 112)]
    quantization.quantize(store.get(MOBILE), [*faces, *(face[:, ::-1] for face in faces)], 0.4)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the MobileFaceNet stand-in at f32 and int8."""
    store = Store(tmp_path_factory.mktemp("quantized"))
    add_stand_in(store, MOBILE)
    quantize(store)
    return store


@pytest.fixture
def chosen(quantized: Store) -> Callable[..., Choice]:
    """What is chosen for the model with other settings, or from another store."""

    def choose(store: Store = quantized, **changes: object) -> Choice:
        settings = small_settings(store, **{"precision": "auto", **changes})
        return choosing.choose(store.get(MOBILE), settings)

    return choose


@pytest.fixture
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has no bf16, and an engine that takes it for f32."""

    class Plain(ov.Core):
        def get_property(self, *names: str) -> object:
            found = super().get_property(*names)
            return [each for each in found if each != "BF16"] if isinstance(found, list) else found

    monkeypatch.setattr(ov, "Core", Plain)
    monkeypatch.setitem(PRECISIONS, "bf16", Precision("f32", "f32"))


def test_faster_within_tolerance(chosen: Callable[..., Choice]) -> None:
    """What is faster than f32 and near enough to it is taken, and the reason says how much."""
    choice = chosen(min_cosine=ANY)
    assert choice.precision in ("bf16", "int8")
    assert "times f32, cosine to it at least 0.9" in choice.reason
    assert choice.reason.endswith("0.9 is asked for")


@pytest.mark.usefixtures("without_bf16")
def test_int8_within_tolerance(chosen: Callable[..., Choice]) -> None:
    """int8 is taken where it is the fastest and the tolerance admits it."""
    assert chosen(min_cosine=ANY).precision == "int8"


@needs_bf16
def test_tolerance_excludes_int8(chosen: Callable[..., Choice]) -> None:
    """What is too far from f32 is not taken, however fast."""
    assert chosen(min_cosine=NOT_INT8).precision == "bf16"


def test_tolerance_excludes_all(chosen: Callable[..., Choice]) -> None:
    """Where nothing is near enough, f32 is taken, and the reason says so."""
    reason = "auto: no other is faster and near enough to it, 1 is asked for"
    assert chosen(min_cosine=F32_ONLY) == Choice("f32", reason)


@pytest.mark.usefixtures("without_bf16")
def test_nothing_else(store: Store, chosen: Callable[..., Choice]) -> None:
    """Without bf16 in the processor, and not quantized, a model runs at f32."""
    expected = Choice("f32", "auto: this model has no other on this machine")
    assert chosen(store, min_cosine=ANY) == expected


@pytest.mark.parametrize("backend", [WITH_MXNET])
def test_reference(backend: str, chosen: Callable[..., Choice]) -> None:
    """A reference runs at f32, as that is all it can."""
    assert chosen(backend=backend, min_cosine=ANY).precision == "f32"


def test_table(chosen: Callable[..., Choice], caplog: pytest.LogCaptureFixture) -> None:
    """The log has the speed of each precision, of those that are not taken too."""
    caplog.set_level(logging.INFO)
    chosen(min_cosine=F32_ONLY)
    rows = [line for line in caplog.messages if "faces/s" in line]
    assert rows[0].startswith(f"{MOBILE} at f32: ")
    assert rows[-1].startswith(f"{MOBILE} at int8: ")


def test_damaged(
    quantized: Store,
    tmp_path: Path,
    chosen: Callable[..., Choice],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A precision whose file was damaged is left out with a warning, and another is taken."""
    caplog.set_level(logging.WARNING)
    store = Store(shutil.copytree(quantized.root, tmp_path / "store"))
    (store.get(MOBILE).ir_folder("int8") / IR_WEIGHTS_FILE).write_bytes(b"")
    assert chosen(store, min_cosine=ANY).precision != "int8"
    assert f"{MOBILE} is left out at int8: " in caplog.text


def served(store: Store, face: Face, **changes: object) -> tuple[ModelInfo, str]:
    """What a server says of itself, and the precision that an embedding of it names."""
    settings = small_settings(store, **changes)
    with running_server(settings) as server, FaceEmbeddingClient(server.address) as client:
        return client.model_info(), client.embed(RawFace(face, "BGR")).precision


def test_is_told(quantized: Store, faces: list[Face]) -> None:
    """GetModelInfo tells the precision, why, and the drift; an embedding tells the precision."""
    info, made_at = served(quantized, faces[0], precision="auto", min_cosine=ANY)
    assert info.precision == made_at != "f32"
    assert info.precision_reason.startswith("auto: ")
    assert info.drift
    assert ANY <= info.drift.min_cosine < 1


@pytest.mark.usefixtures("without_bf16")
def test_space_stays(quantized: Store, faces: list[Face]) -> None:
    """Machines at different precisions share the embedding space."""
    exact, _ = served(quantized, faces[0])
    fast, _ = served(quantized, faces[0], precision="auto", min_cosine=ANY)
    assert (exact.precision, fast.precision) == ("f32", "int8")
    assert exact.embedding_space == fast.embedding_space


def test_handed_on(quantized: Store, faces: list[Face]) -> None:
    """A choice that another process made is served and told as it was made."""
    reason = "auto: measured by another"
    info, made_at = served(quantized, faces[0], precision="int8", precision_reason=reason)
    assert (info.precision, info.precision_reason, made_at) == ("int8", reason, "int8")


@pytest.mark.usefixtures("without_bf16")
def test_not_of_this_processor(store: Store, faces: list[Face]) -> None:
    """Where the processor does not run what was asked for, the reason says so."""
    info, made_at = served(store, faces[0], precision="bf16")
    assert info.precision == made_at == "f32"
    assert info.precision_reason == "bf16 was asked for, which this processor runs at f32"


@needs_bf16
def test_drift_without_record(store: Store, faces: list[Face]) -> None:
    """A drift that nobody measured before is that of the drawn faces."""
    info, _ = served(store, faces[0], precision="bf16")
    assert info.drift
    assert info.drift.faces == len(sample_faces(112, 112))
    assert NOT_INT8 <= info.drift.min_cosine < 1


@needs_bf16
@pytest.mark.parametrize(("number", "told"), [(1, 6), (8, 8)])
def test_drift_of_few(number: int, told: int, store: Store, tmp_path: Path) -> None:
    """What was measured on a few faces, and looks better than on the drawn ones, is not told."""
    own = Store(shutil.copytree(store.root, tmp_path / "store"))
    face = max(
        (each.pixels_bgr for each in sample_faces(112, 112)),
        key=lambda face: drift.measure(own.get(MOBILE), "bf16", [face], 0.4).min_cosine,
    )
    drift.measure(own.get(MOBILE), "bf16", [face] * number, 0.4)
    info, _ = served(own, face, precision="bf16")
    assert info.drift
    assert info.drift.faces == told


@pytest.mark.usefixtures("without_bf16")
def test_measured_again(store: Store, tmp_path: Path) -> None:
    """A model that changes while it is served is measured anew: quantized, it runs at int8."""
    own = Store(shutil.copytree(store.root, tmp_path / "store"))
    settings = small_settings(own, precision="auto", min_cosine=ANY)
    with running_server(settings) as running, FaceEmbeddingClient(running.address) as client:
        before = client.model_info().precision
        quantize(own)
        running.server.refresh(retry=False)
        assert (before, client.model_info().precision) == ("f32", "int8")
