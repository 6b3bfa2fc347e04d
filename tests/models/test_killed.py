"""Processes that are killed while they change a store: the model is there at any moment."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from face_embedding_models import manifest
from face_embedding_models.openvino import ir
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store, sealed
from face_embedding_models.store.stored import Provenance, StoredModel
from support import MOBILE, add_stand_in
from support.made_weights import SYMBOL, params_of

pytestmark = pytest.mark.slow
# Kills itself right before or after one of the steps in which folders and files change places.
STEPS = """
import os, signal, sys
from face_embedding_models.store import sealed

left = int(sys.argv[1])

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(function):
    def run(*arguments, **options):
        step()
        result = function(*arguments, **options)
        step()
        return result
    return run

if sys.argv[2] != "exchanges alone":
    os.rename, os.replace = counted(os.rename), counted(os.replace)
sealed._exchange = counted(sealed._exchange) if "no" not in sys.argv[2] else lambda *_: False
"""
REPLACE = """
from pathlib import Path
from face_embedding_models.store import Store, parts

model = Store(Path(sys.argv[3])).get(sys.argv[4])

def fill(folder):
    for name in ("model.xml", "model.bin", "golden.npy"):
        (folder / name).write_text("new")

with parts.changing(model.folder) as pending:
    sealed.write(pending / "ir-f32", fill, model.identity("f32"))
"""
IMPORT = """
from pathlib import Path
from face_embedding_models import manifest
from face_embedding_models.store import Store
from face_embedding_models.store.stored import Provenance

store = Store(Path(sys.argv[3]))
before = store.get(sys.argv[4])
symbol, params = before.read_checkpoint_files()
files = {"model-symbol.json": symbol, "model-0000.params": params}
store.use(store.add(before.manifest, files, Provenance("published", "again")))
"""
QUANTIZE = """
from face_embedding_server.cli.main import main

sys.exit(main(["models", "quantize", sys.argv[4], "--images", sys.argv[5], "--store", sys.argv[3]]))
"""


def fill(folder: Path) -> None:
    for name in ("model.xml", "model.bin", "golden.npy"):
        (folder / name).write_text("old")


def prepare(model: StoredModel, folder: Path) -> None:
    sealed.write(folder / "ir-f32", fill, model.identity("f32"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a model that is only files."""
    store = Store(tmp_path / "store")
    files = {"model-symbol.json": SYMBOL, "model-0000.params": params_of()}
    given = Provenance("unverified", "once")
    store.use(store.add(manifest.load(MOBILE), files, given, prepare))
    return store


def run(program: str, number: int, store: Store, steps: str, *more: str) -> int:
    """Run a program until its step of this number; return its exit status."""
    arguments = [str(number), steps, str(store.root), MOBILE, *more]
    command = [sys.executable, "-c", STEPS + program, *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=120).returncode


@pytest.mark.parametrize("steps", ["with exchange", "no exchange"])
@pytest.mark.parametrize("program", [REPLACE, IMPORT], ids=["replace", "import"])
def test_each_step(store: Store, tmp_path: Path, program: str, steps: str) -> None:
    """Killed at any step, what is there is all old or all new; and the next try succeeds."""
    for number in range(1, 100):
        copy = Store(shutil.copytree(store.root, tmp_path / str(number)))
        status = run(program, number, copy, steps)
        if steps == "no exchange":
            copy.sweep()
        model = copy.get(MOBILE)
        model.check_weights()
        seen = {*model.read_ir_files("f32"), model.read_golden_file()}
        assert seen in ({b"old"}, {b"new"})
        assert run(program, 0, copy, steps) == 0
        copy.sweep()
        assert not list(copy.root.rglob(".*"))
        if status == 0:
            break
        assert status == -9
    assert number > 5


def test_sweep_keeps_the_only_copy(store: Store) -> None:
    """A version that was moved aside, and that nothing has replaced yet, goes back."""
    folder = store.get(MOBILE).folder
    folder.rename(folder.with_name(f".replaced-{folder.name}"))
    store.sweep()
    assert store.get(MOBILE).read_golden_file() == b"old"


def test_quantize(tmp_path: Path) -> None:
    """Killed while it is quantized, a model is as it was, or has an int8 IR that is whole."""
    (tmp_path / "faces").mkdir()
    for face in sample_faces(112, 112):
        for turn, pixels in enumerate((face.pixels_bgr, face.pixels_bgr[:, ::-1])):
            cv2.imwrite(str(tmp_path / "faces" / f"{face.name}-{turn}.png"), pixels)
    converted = Store(tmp_path / "converted")
    add_stand_in(converted, MOBILE)
    before = converted.get(MOBILE).read_ir_files("f32")
    made = set()
    for number in range(1, 100):
        copy = Store(shutil.copytree(converted.root, tmp_path / str(number)))
        status = run(QUANTIZE, number, copy, "exchanges alone", str(tmp_path / "faces"))
        model = copy.get(MOBILE)
        model.check_weights()
        assert model.read_ir_files("f32") == before
        made.add(model.ir_folder("int8").exists())
        if model.ir_folder("int8").exists():
            ir.read(model, "int8")
        if status == 0:
            break
    assert made == {True, False}
