"""What is left out of an evaluation is named, and no verdict is of a part without a word."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_server.evaluation import change
from face_embedding_server.evaluation.calibrating import calibrate
from face_embedding_server.evaluation.embedding import Embedded, EmbeddingError
from face_embedding_server.evaluation.left_out import LeftOut
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import Calibration, OperatingPoint
from support import MOBILE, encode, person, running_server, small_settings
from support.broken_onnx import MANIFEST, graph

LIMITS = {"threshold": (0.4, 0.4)}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A person four times, also beside a smaller face, and what cannot be used."""
    one = person()
    small = cv2.copyMakeBorder(one[::2, ::2], 0, 256, 0, 0, cv2.BORDER_CONSTANT)
    images = {
        "a": one,
        "b": (one * 0.9).astype(np.uint8),
        "c": cv2.flip(one, 1),
        "both": np.hstack([small, one]),
        "wall": np.full((300, 400, 3), 150, np.uint8),
    }
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, image in images.items():
        (folder / f"{name}.jpg").write_bytes(encode(image, ".jpg"))
    (folder / "broken.jpg").write_bytes(b"x")
    rows = [("a", "b", 1), ("a", "c", 0), ("both", "a", 1), ("a", "wall", 0), ("broken", "b", 1)]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second", "same"), *rows])
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The drawn faces as files."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for face in sample_faces(112, 112):
        for number, shade in enumerate((1, 0.9)):
            pixels = (face.pixels_bgr * shade).astype(np.uint8)
            (folder / f"{face.name}-{number}.png").write_bytes(encode(pixels))
    return folder


def of(command: str, store: Store, photographs: Path) -> tuple[object, ...]:
    """A command for the photographs and their pairs."""
    given = ("--pairs", photographs.parent / "pairs.csv", "--images", photographs, "--detect")
    return (command, "--store", store.root, "--model", MOBILE, *given)


def embedded(*angles: float, failed: tuple[int, ...] = ()) -> Embedded:
    """Embeddings in a plane, by their angles in degrees; of some there are none."""
    turned = np.radians(angles)
    errors = {index: LeftOut("NO_FACE_FOUND", "no face") for index in failed}
    return Embedded(np.column_stack([np.cos(turned), np.sin(turned)]), errors)


def test_evaluate_takes_none_of_several(run: Any, store: Store, photographs: Path) -> None:
    """A photograph with several faces is left out and named, unless one of them is selected."""
    status, out, _ = run(*of("evaluate", store, photographs), "--json")
    found = json.loads(out)
    assert (status, found["selection"], found["pairs_left_out"]) == (0, "only", 3)
    assert found["reasons"] == {
        "both": "SEVERAL_FACES",
        "wall": "NO_FACE_FOUND",
        "broken": "IMAGE_UNREADABLE",
    }


def test_evaluate_says_what_it_takes(run: Any, store: Store, photographs: Path) -> None:
    """In words: what finds the faces, which is taken, what is left out, and how to have more."""
    out = run(*of("evaluate", store, photographs))[1]
    assert "faces found by mtcnn, --select only: a photograph with several is left out" in out
    assert "left out: 3 of 6 images" in out
    assert "  both: 2 faces were found" in out
    assert "--select central, or largest, takes one of several faces" in out
    assert "3 pairs left out with their images" in out


@pytest.mark.parametrize("select", ["central", "largest"])
def test_evaluate_selects(select: str, run: Any, store: Store, photographs: Path) -> None:
    """One of several faces is taken if that is asked for."""
    found = json.loads(run(*of("evaluate", store, photographs), "--select", select, "--json")[1])
    assert (found["selection"], found["pairs_left_out"]) == (select, 2)
    assert "both" not in found["errors"]


def test_a_server_is_told_the_selection(run: Any, store: Store, photographs: Path) -> None:
    """A running server is asked for the same face as a model here."""
    command = ("evaluate", *of("evaluate", store, photographs)[5:], "--json")
    limits = {"max_encoded_bytes": 1 << 20, "max_message_bytes": 16 << 20}
    with running_server(small_settings(store, **limits)) as server:
        only, central = (
            json.loads(run(*command, "--address", server.address, *flags)[1])
            for flags in ((), ("--select", "central"))
        )
    assert only["reasons"]["both"] == "SEVERAL_FACES"
    assert "both" not in central["reasons"]


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
@pytest.mark.parametrize("flags", [("--select", "central"), ("--upright", "auto")])
def test_photographs_without_detect(
    command: str,
    flags: tuple[str, str],
    run: Any,
    store: Store,
    photographs: Path,
    tmp_path: Path,
) -> None:
    """To select a face among aligned faces, or to turn them, is refused."""
    given = of(command, store, photographs)[:-1]
    status, _, err = run(*given, "--output", tmp_path / "out", *flags)
    assert status == 2
    assert f"{flags[0]} needs --detect" in err


@pytest.fixture
def sideways(photographs: Path) -> Path:
    """The photographs, of which one of a person is on its side."""
    turned = np.ascontiguousarray(np.rot90(person()))
    (photographs / "b.jpg").write_bytes(encode(turned, ".jpg"))
    return photographs


@pytest.mark.slow
def test_evaluate_turns(run: Any, store: Store, sideways: Path) -> None:
    """A photograph on its side is left as it is, or turned if that is asked for; both are said."""
    command = (*of("evaluate", store, sideways), "--select", "central")
    as_is = json.loads(run(*command, "--json")[1])
    assert (as_is["upright"], as_is["reasons"]["b"]) == ("as_is", "NO_FACE_FOUND")
    turned = run(*command, "--upright", "auto")[1]
    assert "photographs that are sideways are turned (--upright auto)" in turned
    assert "left out: 2 of 6 images" in turned


@pytest.mark.slow
def test_a_server_is_told_to_turn(run: Any, store: Store, sideways: Path) -> None:
    """A running server turns the same photographs as a model here."""
    flags = ("--select", "central", "--upright", "auto", "--json")
    here = json.loads(run(*of("evaluate", store, sideways), *flags)[1])
    command = ("evaluate", *of("evaluate", store, sideways)[5:], *flags)
    limits = {"max_encoded_bytes": 1 << 20, "max_message_bytes": 16 << 20}
    with running_server(small_settings(store, **limits)) as server:
        there = json.loads(run(*command, "--address", server.address)[1])
    assert there["reasons"].keys() == {"wall", "broken"}
    assert (there["reasons"], there["plain"]) == (here["reasons"], here["plain"])


def test_mirror_images_are_named() -> None:
    """An image whose mirror image cannot be embedded is left out of what is made with it."""
    straight, mirrored = embedded(0, 10), embedded(0, 10, failed=(1,))
    (error,) = straight.with_mirror_images(mirrored).errors.values()
    assert error == LeftOut("NO_FACE_FOUND", "its mirror image: no face")


def test_nothing_is_left(run: Any, store: Store, photographs: Path) -> None:
    """Where no pairs of one kind are left, what was left out says why."""
    (photographs.parent / "pairs.csv").write_text("first,second,same\nboth,a,1\na,c,0\n")
    status, _, err = run(*of("evaluate", store, photographs))
    assert status == 2
    assert "pairs of one person, and pairs of two" in err
    assert "both: 2 faces were found" in err


def test_calibration_says_what_it_is_of(
    run: Any, store: Store, photographs: Path, tmp_path: Path
) -> None:
    """The file has the detector, the selection, what was left out and why, and what is too few."""
    file = tmp_path / "calibration.json"
    status, out, _ = run(*of("calibrate", store, photographs), "--output", file)
    made = json.loads(file.read_text())
    found = (made["detector"], made["selection"], made["upright"])
    assert (status, found) == (0, ("mtcnn", "only", "as_is"))
    assert made["pairs_left_out"] == 3
    assert made["left_out"] == {
        "both": "SEVERAL_FACES",
        "wall": "NO_FACE_FOUND",
        "broken": "IMAGE_UNREADABLE",
    }
    assert "too few pairs to rely on: without one error, 1 of one person and 1 of" in made["note"]
    for words in ("left out: 3 of 6 images", "3 pairs left out", made["note"]):
        assert words in out


def test_aligned_calibration(run: Any, store: Store, folder: Path, tmp_path: Path) -> None:
    """A calibration of aligned faces has no detector."""
    names = sorted(each.name for each in folder.iterdir())
    rows = [f"{a},{b},{int(a[:-5] == b[:-5])}" for a in names for b in names if a < b]
    table, file = tmp_path / "pairs.csv", tmp_path / "calibration.json"
    table.write_text("\n".join(["first,second,same", *rows]))
    command = ("calibrate", "--store", store.root, "--model", MOBILE, "--output", file)
    run(*command, "--pairs", table, "--images", folder)
    made = operating_points.read(file)
    assert (made.detector, made.selection, made.upright, made.left_out) == ("", "", "", {})


def test_few_pairs_decide_nothing() -> None:
    """Of too few pairs the threshold is open everywhere; of ten of each kind it is not."""
    few, enough = (
        calibrate(np.repeat([0.9, 0.1], [same, 10]), np.repeat([True, False], [same, 10]), "a/b/c")
        for same in (9, 10)
    )
    assert few.get("equal-error").threshold_low == -1
    assert few.get("equal-error").threshold_high == 1
    assert enough.note == ""
    assert enough.get("equal-error").threshold_low > 0


def test_drift_of_few_faces() -> None:
    """Of too few faces it is not said that embeddings can be kept, but what they support."""
    few, enough = (
        change.measure(both, both, LIMITS, same_space=True)
        for both in (embedded(*range(change.MIN_FACES - 1)), embedded(*range(change.MIN_FACES)))
    )
    assert not few.keeps_stored_embeddings
    assert "9 faces are too few: their 36 pairs only support that at most 9.6%" in few.verdict
    assert enough.keeps_stored_embeddings
    assert "Their 45 pairs support that at most 7.87% of decisions flip" in enough.verdict


@pytest.mark.parametrize("side", ["before", "after"])
def test_drift_where_one_side_fails(side: str) -> None:
    """A face that one side alone can embed leaves the question open, and is named."""
    names = [f"face-{index}" for index in range(12)]
    whole, part = embedded(*range(12)), embedded(*range(12), failed=(7,))
    sides = (part, whole) if side == "before" else (whole, part)
    found = change.measure(*sides, LIMITS, same_space=True, names=names)
    assert not found.keeps_stored_embeddings
    assert "It cannot be said" in found.verdict
    assert "face-7" in found.verdict
    assert change.left_out(*sides, names)["face-7"].message == f"only {side} the change: no face"


def test_drift_where_both_sides_fail() -> None:
    """A face that neither side can embed is named, and leaves nothing open."""
    part = embedded(*range(12), failed=(7,))
    found = change.measure(part, part, LIMITS, same_space=True)
    assert (found.faces, found.keeps_stored_embeddings) == (11, True)


@pytest.fixture
def blind_store(tmp_path: Path, folder: Path, run: Any) -> Store:
    """A network of mean colours, which gives zero for one of the faces, of no colour."""
    (tmp_path / "own.toml").write_text(MANIFEST)
    (tmp_path / "own.onnx").write_bytes(graph().SerializeToString())
    grey = np.full((112, 112, 3), 127, np.uint8)
    grey[::2] = 128
    (folder / "grey.png").write_bytes(encode(grey))
    given = ("mine", tmp_path / "own.onnx", "--manifest", tmp_path / "own.toml")
    status, _, err = run(
        "models", "import", *given, "--store", tmp_path / "own", "--allow-unverified"
    )
    assert status == 0, err
    return Store(tmp_path / "own")


def test_faces_without_an_embedding(run: Any, blind_store: Store, folder: Path) -> None:
    """A face of which a network makes nothing is named, and no figure is made of it."""
    rows = [("drawn-0-0", "drawn-0-1", 1), ("drawn-1-0", "drawn-2-0", 0), ("grey", "drawn-3-0", 0)]
    table = folder.parent / "pairs.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second", "same"), *rows])
    store, images = ("--store", blind_store.root), ("--images", folder)
    model = ("--model", "mine")
    for command in (("evaluate", *model, "--pairs", table), ("drift", "mine", "mine")):
        status, out, _ = run(*command, *store, *images)
        assert status in (0, 1)
        assert "1 NO_EMBEDDING" in out
        assert "grey" in out
    status, out, err = run("parity", *model, *store, *images)
    assert (status, out) == (2, "")
    assert "the network's embedding of grey.png is zero or not finite" in err


def test_no_drift_of_what_is_no_embedding(run: Any, blind_store: Store, folder: Path) -> None:
    """No drift is kept that is of an embedding that is none."""
    store = ("--store", blind_store.root, "--images", folder)
    status, out, err = run("models", "quantize", "mine", *store)
    assert (status, out) == (2, "")
    assert "the embeddings of 1 of 13 faces at f32 are zero or not finite" in err
    assert not blind_store.get("mine").drift_folder("int8").exists()


def test_drift_without_two_faces_names_the_others() -> None:
    """Where nothing can be compared, what was left out says why."""
    part = embedded(0, 1, failed=(1,))
    with pytest.raises(EmbeddingError, match=r"at least two faces(.|\n)* b: no face"):
        change.measure(part, part, LIMITS, same_space=True, names=["a", "b"])


def test_drift_where_nothing_is_decided() -> None:
    """By a calibration that leaves all open, no decision can flip: that says nothing."""
    both = embedded(*range(12))
    found = change.measure(both, both, {"a": (-1.0, 1.0), "b": (0.4, 0.4)}, same_space=True)
    assert not found.keeps_stored_embeddings
    assert "0 of 66 pairs are decided at all" in found.verdict
    assert found.supported_flips == 1


def test_drift_counts_what_is_decided() -> None:
    """What is said of all decisions is of as many pairs as are decided."""
    both = embedded(*range(12))
    limits = {"a": (0.4, np.cos(np.radians(1.5)))}
    found = change.measure(both, both, limits, same_space=True)
    assert (found.pairs, found.decided) == (66, 11)
    assert not found.keeps_stored_embeddings


@pytest.mark.parametrize("threshold", ["nan", "1.5", "-2"])
def test_drift_at_no_similarity(threshold: str, run: Any, store: Store, folder: Path) -> None:
    """At a threshold that no similarity is on either side of, nothing flips: it is refused."""
    command = ("drift", MOBILE, MOBILE, "--store", store.root, "--images", folder)
    status, _, err = run(*command, f"--threshold={threshold}")
    assert status == 2
    assert f"--threshold {float(threshold)} is no cosine similarity" in err


def test_drift_without_operating_points(
    run: Any, store: Store, folder: Path, tmp_path: Path
) -> None:
    """A calibration without operating points decides nothing, and is refused."""
    file = tmp_path / "calibration.json"
    operating_points.write(Calibration(store.get(MOBILE).embedding_space, 1, 1, ()), file)
    command = ("drift", MOBILE, MOBILE, "--store", store.root, "--images", folder)
    status, _, err = run(*command, "--calibration", file)
    assert status == 2
    assert "calibration.json has no operating point to decide at" in err


@pytest.mark.slow
def test_drift_of_another_calibration(
    run: Any, store: Store, photographs: Path, tmp_path: Path
) -> None:
    """A calibration on faces that were found in another way is doubted, in words and as JSON."""
    space, file = store.get(MOBILE).embedding_space, tmp_path / "calibration.json"
    point = OperatingPoint("equal-error", 0.5, 0.5, 0.5, 0, 0, 0, 0)
    made = Calibration(space, 99, 99, (point,), "yunet", "largest", upright="auto")
    operating_points.write(made, file)
    command = ("drift", MOBILE, MOBILE, "--store", store.root, "--images", photographs)
    command = (*command, "--detect", "--calibration", file)
    said = (
        "made on faces found by yunet, --select largest, --upright auto, and these are faces found "
        "by mtcnn, --select only, --upright as_is"
    )
    assert f"warning: the calibration was {said}" in run(*command)[1]
    (doubt,) = json.loads(run(*command, "--json")[1])["doubts"]
    assert said in doubt


@pytest.mark.slow
def test_drift_names_what_it_leaves_out(run: Any, store: Store, folder: Path) -> None:
    """A damaged file, another size, a second copy and what is no image are named with why."""
    (folder / "broken.png").write_bytes(b"x")
    (folder / "wall.png").write_bytes(encode(np.full((300, 400, 3), 150, np.uint8)))
    (folder / "notes.txt").write_text("")
    first = min(folder.glob("*-0.png"))
    (folder / "zzz.png").write_bytes(first.read_bytes())
    command = ("drift", MOBILE, MOBILE, "--store", store.root, "--images", folder)
    status, out, _ = run(*command, "--json")
    found = json.loads(out)
    assert (status, found["keeps_stored_embeddings"]) == (0, True)
    assert {name: each["reason"] for name, each in found["left_out"].items()} == {
        "broken.png": "IMAGE_UNREADABLE",
        "notes.txt": "NO_IMAGE",
        "wall.png": "IMAGE_SIZE",
        "zzz.png": "DUPLICATE",
    }
    assert found["images"] == found["faces"] + 4
    words = run(*command)[1]
    assert f"left out: 4 of {found['images']} images" in words
    assert f"zzz.png: the same file as {first.name}" in words


@pytest.mark.slow
def test_drift_selects(run: Any, store: Store, photographs: Path) -> None:
    """`drift` takes no face of several, unless one is selected."""
    command = ("drift", MOBILE, MOBILE, "--store", store.root, "--images", photographs, "--detect")
    status, out, _ = run(*command, "--json")
    found = json.loads(out)
    assert (status, found["faces"], found["selection"]) == (1, 3, "only")
    assert found["left_out"]["both.jpg"]["reason"] == "SEVERAL_FACES"
    assert json.loads(run(*command, "--select", "central", "--json")[1])["faces"] == 4
