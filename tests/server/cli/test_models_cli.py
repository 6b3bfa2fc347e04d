"""`face-embedding-server models`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from face_embedding_client import FaceEmbeddingClient
from face_embedding_models import formats, manifest
from face_embedding_models.mxnet import params, symbol
from face_embedding_models.mxnet.symbol import Node
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_models.store.stored import IR_WEIGHTS_FILE
from face_embedding_server.cli.main import main
from support import MOBILE, RESNET34, encode, needs_bf16, running_server, small_settings


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["models", *arguments, "--store", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_list(run: Any) -> None:
    """`list` names every model and detector, and what the store has."""
    run("synthesize", MOBILE)
    rows = {row["name"]: row for row in json.loads(run("list", "--json")[1])}
    assert rows.keys() == {*manifest.names(), *manifest.detector_names()}
    assert rows[MOBILE] == {
        "name": MOBILE,
        "kind": "model",
        "format": "mxnet",
        "download_bytes": 3911771,
        "license": "non-commercial",
        "embedding_size": 128,
        "lfw_accuracy_percent": 99.5,
        "ijbc_tar_percent": None,
        "in_store": True,
        "origin": "synthetic",
    }
    assert (rows[RESNET34]["in_store"], "origin" in rows[RESNET34]) == (False, False)
    assert "IN STORE" in run("list")[1]


def test_show(run: Any) -> None:
    """`show` tells the manifest, and of a converted model its origin, size and work."""
    assert json.loads(run("show", MOBILE, "--json")[1])["origin"] is None
    assert run("synthesize", MOBILE)[0] == 0
    facts = json.loads(run("show", MOBILE, "--json")[1])
    assert facts["origin"] == "synthetic"
    assert (facts["mparams"], facts["gflops"]) == (0.993, 0.448)
    assert "SYNTHETIC" in run("show", MOBILE)[1]


def test_import_needs_permission(run: Any, test_data: Path) -> None:
    """Weights that are not the published archive need --allow-unverified, and are marked."""
    source = str(test_data / "models" / "model-y1-test2")
    status, _, err = run("import", MOBILE, source)
    assert status == 2
    assert "add --allow-unverified" in err
    status, out, _ = run("import", MOBILE, source, "--allow-unverified", "--json")
    assert (status, json.loads(out)["origin"]) == (0, "unverified")


def test_unknown_model(run: Any) -> None:
    """An unknown name is an error with a suggestion."""
    status, _, err = run("show", "face-recognition-resnet35-arcface")
    assert status == 2
    assert "did you mean 'face-recognition-resnet" in err


def test_convert_again(run: Any, tmp_path: Path) -> None:
    """`convert` makes an IR that was damaged anew."""
    run("synthesize", MOBILE)
    weights = Store(tmp_path).get(MOBILE).ir_folder("f32") / IR_WEIGHTS_FILE
    before = weights.read_bytes()
    weights.write_bytes(b"")
    assert run("convert", MOBILE)[0] == 0
    assert weights.read_bytes() == before


def test_convert_without_weights(run: Any) -> None:
    """Converting what is not there says how to get it."""
    assert "models import" in run("convert", MOBILE)[2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantize(run: Any, tmp_path: Path) -> None:
    """`quantize` tells the drift, `show` remembers it, and the server tells it too."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for number, face in enumerate(sample_faces(112, 112)):
        for flip, pixels in enumerate((face.pixels_bgr, face.pixels_bgr[:, ::-1])):
            (faces / f"{number}{flip}.png").write_bytes(encode(pixels))
    run("synthesize", MOBILE)
    status, out, _ = run("quantize", MOBILE, "--images", str(faces), "--json")
    drift = json.loads(out)
    assert (status, drift["precision"], drift["faces"], drift["pairs"]) == (0, "int8", 12, 66)
    assert drift["min_cosine"] > 0.95  # Measured 0.976, on made-up weights.
    shown = json.loads(run("show", MOBILE, "--json")[1])
    assert shown["int8_min_cosine"] == drift["min_cosine"]
    settings = small_settings(Store(tmp_path), precision="int8")
    with running_server(settings) as server, FaceEmbeddingClient(server.address) as client:
        info = client.model_info()
    assert info.precision == "int8"
    assert info.drift
    assert info.drift.min_cosine == drift["min_cosine"]


@needs_bf16
def test_drift(run: Any, tmp_path: Path) -> None:
    """`drift` measures a precision against f32 on given faces, and `show` remembers it."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for number, face in enumerate(sample_faces(112, 112)):
        (faces / f"{number}.png").write_bytes(encode(face.pixels_bgr))
    run("synthesize", MOBILE)
    command = ("drift", MOBILE, "--precision", "bf16", "--images", str(faces), "--json")
    status, out, _ = run(*command)
    measured = json.loads(out)
    assert (status, measured["precision"], measured["faces"]) == (0, "bf16", 6)
    assert (measured["left_out"], "6 faces are too few" in measured["note"]) == ({}, True)
    assert json.loads(run("show", MOBILE, "--json")[1])["bf16_min_cosine"] == measured["min_cosine"]


@needs_bf16
def test_drift_names_what_it_leaves_out(run: Any, tmp_path: Path) -> None:
    """Copies of a file and what is no image are named; that faces are few is said."""
    faces = tmp_path / "faces"
    faces.mkdir()
    first = encode(sample_faces(112, 112)[0].pixels_bgr)
    for name in ("a.png", "b.png"):
        (faces / name).write_bytes(first)
    (faces / "notes.txt").write_text("")
    run("synthesize", MOBILE)
    status, out, err = run("drift", MOBILE, "--precision", "bf16", "--images", str(faces))
    assert status == 0
    assert re.search(r"faces +1\n", out)
    assert "left out: 2 of 3 images (1 NO_IMAGE, 1 DUPLICATE)" in err
    assert "b.png: the same file as a.png" in err
    assert "1 faces are too few to say how far others drift" in err


def test_copies_are_no_faces_to_quantize_with(run: Any, tmp_path: Path) -> None:
    """Eight copies of one face are one face."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for number in range(8):
        pixels = encode(sample_faces(112, 112)[0].pixels_bgr)
        (faces / f"{number}.png").write_bytes(pixels)
    run("synthesize", MOBILE)
    status, _, err = run("quantize", MOBILE, "--images", str(faces))
    assert status == 2
    assert "1 faces are too few" in err


def test_quantize_with_too_few_faces(run: Any, tmp_path: Path) -> None:
    """Too few faces are an error that says how many are needed."""
    faces = tmp_path / "faces"
    faces.mkdir()
    (faces / "a.png").write_bytes(encode(sample_faces(112, 112)[0].pixels_bgr))
    run("synthesize", MOBILE)
    status, _, err = run("quantize", MOBILE, "--images", str(faces))
    assert status == 2
    assert "1 faces are too few" in err


def test_unknown_operator(run: Any, tmp_path: Path, store: Store) -> None:
    """A network with an unknown operator is not put to use; the node is named."""
    run("synthesize", MOBILE)
    before = run("show", MOBILE)
    stored = store.get(MOBILE).read_checkpoint()
    nodes = [
        Node("Mystery", node.name, node.inputs, node.attributes) if node.name == "_plus3" else node
        for node in stored.symbol.nodes
    ]
    folder = tmp_path / "source"
    folder.mkdir()
    graph = symbol.dump(symbol.Symbol(tuple(nodes), stored.symbol.heads))
    (folder / formats.SYMBOL_FILE).write_bytes(graph)
    _, weights = store.get(MOBILE).read_checkpoint_files()
    assert params.dump(params.parse(weights)) == weights
    (folder / formats.PARAMS_FILE).write_bytes(weights)
    status, _, err = run("import", MOBILE, str(folder), "--allow-unverified")
    assert status == 2
    assert "operator Mystery '_plus3' is not supported" in err
    assert run("show", MOBILE) == before


def test_corrupt_checkpoint(run: Any, tmp_path: Path, store: Store) -> None:
    """A damaged checkpoint is refused at import, and the store stays as it was."""
    symbol_bytes, params_bytes = store.get(MOBILE).read_checkpoint_files()
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / formats.SYMBOL_FILE).write_bytes(symbol_bytes)
    (folder / formats.PARAMS_FILE).write_bytes(params_bytes[:-1000])
    status, _, err = run("import", MOBILE, str(folder), "--allow-unverified")
    assert status == 2
    assert "the .params file is cut short" in err
    assert Store(tmp_path).names() == []
