"""Models that are added and replaced while the server runs."""

import gc
import io
import itertools
import json
import logging
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from face_embedding_client import FaceEmbeddingClient, RawFace, UnknownModelError
from face_embedding_models import manifest
from face_embedding_models.errors import ModelError
from face_embedding_models.formats import PARAMS_FILE
from face_embedding_models.mxnet import checkpoint, params, synthesis
from face_embedding_models.openvino import ir
from face_embedding_models.store import Store, parts, sealed
from face_embedding_models.store.stored import GOLDEN_FILE, IR_MODEL_FILE, IR_WEIGHTS_FILE
from face_embedding_server.errors import OperatorError
from face_embedding_server.faces.images import Image as Face
from face_embedding_server.inference.operating_points import Calibration, write
from support import (
    MOBILE,
    RESNET34,
    SYNTHETIC,
    RunningServer,
    metric,
    needs_mxnet,
    running_server,
    small_settings,
)

pytestmark = pytest.mark.slow

REPLACEMENTS = 50
CORRUPT_EVERY = 5
CALLERS = 3

Checkpoint = tuple[bytes, bytes]


@pytest.fixture(scope="module")
def versions() -> list[Checkpoint]:
    """Three checkpoints of one model that give different embeddings."""
    symbol, values = synthesis.synthesize(manifest.load(MOBILE)).values()
    arrays = params.parse(values)
    # The first convolution's weights, in another order of its filters.
    first = next(name for name, array in arrays.items() if array.ndim == 4)
    made = []
    for shift in range(3):
        changed = {**arrays, first: np.ascontiguousarray(np.roll(arrays[first], shift, axis=0))}
        made.append((symbol, params.dump(changed)))
    return made


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, versions: list[Checkpoint]) -> Store:
    """A store with the first of the checkpoints in use, and all of them converted."""
    store = Store(tmp_path_factory.mktemp("versions") / "store")
    for version in reversed(versions):
        use(store, version)
        ir.convert(store.get(MOBILE))
    return store


@pytest.fixture
def own_store(tmp_path: Path, converted: Store) -> Store:
    """A copy of it."""
    return Store(shutil.copytree(converted.root, tmp_path / "store"))


def add_resnet34(store: Store, source: Store) -> None:
    shutil.copytree(source.root / RESNET34, store.root / RESNET34)


def use(store: Store, version: Checkpoint) -> str:
    """Make a checkpoint the one in use, and return its version."""
    stored = store.add(manifest.load(MOBILE), checkpoint.files(*version), SYNTHETIC)
    store.use(stored)
    return stored.version


# Each makes the model in use one that cannot be served.
def cut_weights(store: Store) -> None:
    file = store.get(MOBILE).ir_folder("f32") / IR_WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-1000])


def change_weights(store: Store) -> None:
    file = store.get(MOBILE).ir_folder("f32") / IR_WEIGHTS_FILE
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x40
    file.write_bytes(data)


def remove_graph(store: Store) -> None:
    (store.get(MOBILE).ir_folder("f32") / IR_MODEL_FILE).unlink()


def remove_ir(store: Store) -> None:
    shutil.rmtree(store.get(MOBILE).ir_folder("f32"))


def damage_record(store: Store) -> None:
    (store.get(MOBILE).ir_folder("f32") / sealed.RECORD_FILE).write_text("{")


def damage_current(store: Store) -> None:
    (store.root / MOBILE / "current.json").write_text('{"checkpoint": "gone"}')


def other_golden(store: Store) -> None:
    """Weights that are whole and are not those that were converted: only the golden check sees."""
    golden = np.load(store.get(MOBILE).ir_folder("f32") / GOLDEN_FILE)
    write_golden(store, npy(np.roll(golden, 1, axis=0)))


def write_golden(store: Store, data: bytes) -> None:
    """Seal a golden file anew, so that only what it says is wrong."""
    model = store.get(MOBILE)
    folder = model.ir_folder("f32")
    files = {name: (folder / name).read_bytes() for name in (IR_MODEL_FILE, IR_WEIGHTS_FILE)}

    def fill(pending: Path) -> None:
        for name, content in (files | {GOLDEN_FILE: data}).items():
            (pending / name).write_bytes(content)

    with parts.changing(model.folder) as changed:
        sealed.write(changed / folder.name, fill, sealed.read_record(folder))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def junk_golden(store: Store) -> None:
    write_golden(store, b"junk")


def zero_golden(store: Store) -> None:
    write_golden(store, npy(np.zeros((6, 128), np.float32)))


def golden_of_other_size(store: Store) -> None:
    write_golden(store, npy(np.ones((6, 3), np.float32)))


def golden_not_a_number(store: Store) -> None:
    write_golden(store, npy(np.full((6, 128), np.nan, np.float32)))


CORRUPTIONS: dict[Callable[[Store], None], str] = {
    cut_weights: "was changed since it was written",
    change_weights: "was changed since it was written",
    remove_graph: "cannot be read",
    remove_ir: "has no IR",
    damage_record: "is damaged",
    damage_current: "is missing or damaged",
    other_golden: "other embeddings of the sample faces",
    junk_golden: "holds no golden embeddings",
    zero_golden: "holds no golden embeddings",
    golden_of_other_size: "holds no golden embeddings",
    golden_not_a_number: "holds no golden embeddings",
}


@dataclass
class Load:
    """Callers who embed one face without a pause, and what they got."""

    embeddings: dict[str, set[bytes]] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)
    calls: list[int] = field(default_factory=lambda: [0] * CALLERS)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_everyone(self) -> None:
        """Return once everyone got an answer to a call that began since."""
        before = list(self.calls)
        # Two, as the first may have begun before.
        with self.changed:
            self.changed.wait_for(
                lambda: (
                    self.errors
                    or all(now >= then + 2 for now, then in zip(self.calls, before, strict=True))
                )
            )
        assert self.errors == []


@contextmanager
def load(address: str, face: Face) -> Iterator[Load]:
    over, result = threading.Event(), Load()

    def call(number: int) -> None:
        try:
            with FaceEmbeddingClient(address, retries=0) as client:
                while not over.is_set():
                    answer = client.embed(RawFace(face, "BGR"))
                    key, value = answer.model_version, answer.values.tobytes()
                    result.embeddings.setdefault(key, set()).add(value)
                    with result.changed:
                        result.calls[number] += 1
                        result.changed.notify()
        except Exception as error:
            with result.changed:
                result.errors.append(error)
                result.changed.notify()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield result
    finally:
        over.set()
        for thread in threads:
            thread.join()


def loads(running: RunningServer, outcome: str, model: str = MOBILE) -> float:
    """How often a model was loaded, or refused."""
    return metric(running, "model_loads_total", model=model, outcome=outcome)


@pytest.mark.timeout(600)
def test_fifty_replacements_under_load(
    own_store: Store, versions: list[Checkpoint], faces: list[Face]
) -> None:
    """A model is replaced fifty times, ten times by a corrupt one, and no call fails or mixes."""
    # The first of them is served already.
    good = itertools.cycle((versions[1], versions[0]))
    corruptions = itertools.cycle(CORRUPTIONS)
    with (
        running_server(small_settings(own_store)) as running,
        load(running.address, faces[0]) as on,
    ):
        served = own_store.get(MOBILE).version
        for number in range(1, REPLACEMENTS + 1):
            if number % CORRUPT_EVERY:
                next_version = next(good)
                served = use(own_store, next_version)
            else:
                use(own_store, versions[2])
                ir.convert(own_store.get(MOBILE))
                next(corruptions)(own_store)
            running.server.refresh(retry=True)
            on.wait_for_everyone()
            with FaceEmbeddingClient(running.address) as client:
                assert client.model_info().model_version == served
        assert on.errors == []
        assert loads(running, "refused") == 10
        # At start, and by forty replacements.
        assert loads(running, "loaded") == 1 + 40
    # Each version gave one embedding, and not that of another version.
    assert len(on.embeddings) == 2
    assert all(len(values) == 1 for values in on.embeddings.values())
    assert len(set.union(*on.embeddings.values())) == 2


@needs_mxnet
def test_replacements_of_mxnet(
    own_store: Store, versions: list[Checkpoint], faces: list[Face]
) -> None:
    """A model of MXNet is replaced under load too, and no call fails or mixes."""
    with (
        running_server(small_settings(own_store, backend="mxnet")) as running,
        load(running.address, faces[0]) as on,
    ):
        for number in range(1, 7):
            use(own_store, versions[number % 2])
            running.server.refresh(retry=True)
            on.wait_for_everyone()
        assert loads(running, "loaded") == 1 + 6
    assert on.errors == []
    assert sorted(len(values) for values in on.embeddings.values()) == [1, 1]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_refused(
    corrupt: Callable[[Store], None],
    own_store: Store,
    versions: list[Checkpoint],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A replacement that cannot be served is refused with the reason in the log, and once."""
    with running_server(small_settings(own_store)) as running:
        before = own_store.get(MOBILE).version
        use(own_store, versions[2])
        corrupt(own_store)
        for _ in range(3):
            running.server.refresh(retry=False)
        complaints = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(complaints) == 1
        assert "the old one stays" in complaints[0].getMessage()
        assert CORRUPTIONS[corrupt] in complaints[0].getMessage()
        with FaceEmbeddingClient(running.address) as client:
            assert client.model_info().model_version == before


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_corrupt_at_start(corrupt: Callable[[Store], None], own_store: Store) -> None:
    """At start there is no old one: the server does not start."""
    settings = small_settings(own_store)
    corrupt(own_store)
    refused = pytest.raises((ModelError, OperatorError), match=CORRUPTIONS[corrupt])
    with refused, running_server(settings):
        pass


def test_mended(own_store: Store, versions: list[Checkpoint]) -> None:
    """A replacement that was refused is served once it is made anew."""
    with running_server(small_settings(own_store)) as running:
        version = use(own_store, versions[1])
        cut_weights(own_store)
        running.server.refresh(retry=True)
        ir.convert(own_store.get(MOBILE))
        running.server.refresh(retry=False)
        with FaceEmbeddingClient(running.address) as client:
            assert client.model_info().model_version == version


def test_damaged_again(
    own_store: Store, versions: list[Checkpoint], caplog: pytest.LogCaptureFixture
) -> None:
    """The same damage after a mending is told again."""
    with running_server(small_settings(own_store)) as running:
        for _ in range(2):
            damage_current(own_store)
            running.server.refresh(retry=False)
            use(own_store, versions[0])
            running.server.refresh(retry=False)
        assert loads(running, "refused") == 2
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 2


def test_nothing_new(own_store: Store) -> None:
    """A look that finds nothing new loads nothing."""
    with running_server(small_settings(own_store)) as running:
        running.server.refresh(retry=True)
        assert loads(running, "loaded") == 1


def test_added(own_store: Store, resnet34_store: Store) -> None:
    """A server of all models serves one that is added to the store."""
    settings = small_settings(own_store, model=f"{MOBILE}, *")
    with running_server(settings) as running, FaceEmbeddingClient(running.address) as client:
        with (
            FaceEmbeddingClient(running.address, model=RESNET34) as other,
            pytest.raises(UnknownModelError, match=f"serves '{MOBILE}', not '{RESNET34}'"),
        ):
            other.model_info()
        add_resnet34(own_store, resnet34_store)
        running.server.refresh(retry=True)
        assert client.model_info().served_models == (MOBILE, RESNET34)
        with FaceEmbeddingClient(running.address, model=RESNET34) as other:
            assert other.model_info().name == RESNET34


def test_not_added_unasked(own_store: Store, resnet34_store: Store) -> None:
    """A server of named models serves no other."""
    with running_server(small_settings(own_store)) as running:
        add_resnet34(own_store, resnet34_store)
        running.server.refresh(retry=True)
        with (
            FaceEmbeddingClient(running.address, model=RESNET34) as other,
            pytest.raises(UnknownModelError),
        ):
            other.model_info()


def test_unusable_other_is_left_out(own_store: Store) -> None:
    """A model that was only found in the store keeps nobody from being served."""
    known = manifest.load(RESNET34)
    own_store.use(own_store.add(known, synthesis.synthesize(known), SYNTHETIC))
    settings = small_settings(own_store, model=f"{MOBILE},*")
    with running_server(settings) as running, FaceEmbeddingClient(running.address) as client:
        assert client.model_info().served_models == (MOBILE,)


def test_calibration_of_other_weights(
    own_store: Store, versions: list[Checkpoint], tmp_path: Path
) -> None:
    """New weights are refused while the thresholds are those of the old ones."""
    file = tmp_path / "calibration.json"
    write(Calibration(own_store.get(MOBILE).embedding_space, 1, 1, ()), file)
    with (
        running_server(small_settings(own_store, calibration=file)) as running,
        FaceEmbeddingClient(running.address) as client,
    ):
        before = client.model_info().model_version
        version = use(own_store, versions[1])
        running.server.refresh(retry=True)
        assert client.model_info().model_version == before
        write(Calibration(own_store.get(MOBILE).embedding_space, 1, 1, ()), file)
        running.server.refresh(retry=True)
        assert client.model_info().model_version == version


def test_calibration_of_one_model(own_store: Store, resnet34_store: Store, tmp_path: Path) -> None:
    """A new calibration has the model that it is of loaded anew, and no other."""
    add_resnet34(own_store, resnet34_store)
    file = tmp_path / "calibration.json"
    write(Calibration(own_store.get(MOBILE).embedding_space, 1, 1, ()), file)
    settings = small_settings(own_store, model=f"{MOBILE},{RESNET34}", calibration=file)
    with running_server(settings) as running:
        write(Calibration(own_store.get(MOBILE).embedding_space, 2, 2, ()), file)
        running.server.refresh(retry=True)
        assert [loads(running, "loaded", name) for name in (MOBILE, RESNET34)] == [2, 1]


def test_in_flight_calls_keep_theirs(
    own_store: Store, versions: list[Checkpoint], faces: list[Face]
) -> None:
    """A stream answers with the new model what it takes after a replacement, and names it."""
    replaced = threading.Event()
    first_answered = threading.Event()

    def items() -> Iterator[tuple[str, RawFace]]:
        yield "before", RawFace(faces[0], "BGR")
        assert first_answered.wait(60)
        use(own_store, versions[1])
        running.server.refresh(retry=True)
        replaced.set()
        yield "after", RawFace(faces[0], "BGR")

    with running_server(small_settings(own_store)) as running:
        old = own_store.get(MOBILE).version
        answers = {}
        with FaceEmbeddingClient(running.address) as client:
            for name, answer in client.embed_stream(items()):
                answers[name] = answer
                first_answered.set()
        assert replaced.is_set()
        assert answers["before"].model_version == old
        assert answers["after"].model_version == own_store.get(MOBILE).version != old


def test_store_is_not_written(own_store: Store) -> None:
    """Serving and looking leave the store as it is."""

    def files() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes() for path in own_store.root.rglob("*") if path.is_file()
        }

    before = files()
    with running_server(small_settings(own_store)) as running:
        running.server.refresh(retry=True)
    assert files() == before
    assert json.loads((own_store.root / MOBILE / "current.json").read_text())
    assert any(PARAMS_FILE in name for name in before)


@pytest.mark.parametrize("model", [MOBILE, f"{MOBILE},*"])
@pytest.mark.parametrize("fault", ["gone", "file"])
def test_store_fails(fault: str, model: str, own_store: Store) -> None:
    """A store that is gone, or is no store any more, ends no server."""
    with running_server(small_settings(own_store, model=model)) as running:
        shutil.rmtree(own_store.root)
        if fault == "file":
            own_store.root.write_text("no folder")
        running.server.refresh(retry=True)
        with FaceEmbeddingClient(running.address) as client:
            assert client.is_serving()


def test_old_model_is_freed(own_store: Store, versions: list[Checkpoint]) -> None:
    """A model that was replaced is not held on to."""
    with running_server(small_settings(own_store)) as running:
        old = weakref.ref(running.server._registry.get("").backend)
        assert old() is not None
        use(own_store, versions[1])
        running.server.refresh(retry=True)
        gc.collect()
        assert old() is None
