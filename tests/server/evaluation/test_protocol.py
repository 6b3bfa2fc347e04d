"""Evaluating on Labeled Faces in the Wild, and on other sets of its form."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from face_embedding_models import manifest
from face_embedding_models.installing import importing
from face_embedding_models.openvino import ir
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_server.evaluation import pairs, report
from face_embedding_server.evaluation.embedding import Embedded
from face_embedding_server.evaluation.pairs import Pairs, PairsError
from face_embedding_server.evaluation.protocol import Pair, ProtocolError, read_protocol
from support import MOBILE, WITH_MXNET, encode, running_server, small_settings

# Two folds of one pair of either kind.
SMALL = "2\t1\nA\t1\t2\nA\t1\tB\t1\nC\t1\t2\nC\t2\tD\t1\n"
READ = [
    Pair(2, 0, "A/A_0001", "A/A_0002", True),
    Pair(3, 0, "A/A_0001", "B/B_0001", False),
    Pair(4, 1, "C/C_0001", "C/C_0002", True),
    Pair(5, 1, "C/C_0002", "D/D_0001", False),
]
NUMBERS = "the numbers of folds and of pairs of each kind in a fold, such as '10 300'"
SAME = "'name i j', two images of one person"
DIFFERENT = "'name1 i name2 j', of two people"


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    """Four drawn people in folders, with two images each, and `pairs.txt` in their folder."""
    for name, face in zip("ABCD", sample_faces(112, 112), strict=False):
        (tmp_path / name).mkdir()
        for number, light in ((1, 1.0), (2, 0.9)):
            image = encode((face.pixels_bgr * light).astype(np.uint8))
            (tmp_path / name / f"{name}_{number:04}.png").write_bytes(image)
    (tmp_path / "pairs.txt").write_text(SMALL)
    return tmp_path


def evaluate(store: Store, folder: Path, *options: object) -> tuple[object, ...]:
    chosen = ("--lfw", folder, "--protocol", folder / "pairs.txt")
    return ("evaluate", "--store", store.root, "--model", MOBILE, *chosen, *options)


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        SMALL.replace("\t", "  "),
        SMALL.replace("\n", " \t\n"),
        SMALL.replace("\n", "\r\n"),
        SMALL.removesuffix("\n"),
        SMALL + "\n \t\n\r\n",
        "\ufeff" + SMALL,
        SMALL.replace("1", "01"),
    ],
    ids=["tabs", "spaces", "trailing", "crlf", "no end", "blank lines", "mark", "zeros"],
)
def test_read(text: str, tmp_path: Path) -> None:
    """Folds and kinds follow from the first line, however fields and lines are separated."""
    path = tmp_path / "pairs.txt"
    path.write_bytes(text.encode())
    assert read_protocol(path) == READ


def test_read_one_set(tmp_path: Path) -> None:
    """A first line of one number, as in pairsDevTest.txt, is that of a single fold."""
    path = tmp_path / "pairs.txt"
    path.write_text("2\nA 1 2\nB 1 2\nA 1 B 1\nA 2 B 2\n")
    found = read_protocol(path)
    assert [(pair.fold, pair.same) for pair in found] == [(0, True)] * 2 + [(0, False)] * 2


@pytest.mark.parametrize(
    "name", ["Jean-Paul_2.", "O'Neil", "..._", "Zoë", "李", "a\u00a0b", "a\u2028b", "a\x85b", "7"]
)
def test_read_name(name: str, tmp_path: Path) -> None:
    """Whatever can name a folder in the folder is a name."""
    path = tmp_path / "pairs.txt"
    path.write_text(f"1 1\n{name} 1 12345\nA 1 {name} 1\n", "utf-8")
    same, different = read_protocol(path)
    assert (same.second, different.second) == (f"{name}/{name}_12345", f"{name}/{name}_0001")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f", line 1: expected {NUMBERS}, but it is empty"),
        ("\n \n", f", line 1: expected {NUMBERS}, but it is empty"),
        ("\n1 1\nA 1 2\nA 1 B 1\n", f", line 1: expected {NUMBERS}, but it is empty"),
        ("first,second,same\n", f", line 1: expected {NUMBERS}, not 'first,second,same'"),
        ("10 300 1\n", f", line 1: expected {NUMBERS}, not '10 300 1'"),
        ("A 1 2\n", f", line 1: expected {NUMBERS}, not 'A 1 2'"),
        ("0 300\n", f", line 1: expected {NUMBERS}, not '0 300'"),
        ("10 0\n", f", line 1: expected {NUMBERS}, not '10 0'"),
        ("-1\n", f", line 1: expected {NUMBERS}, not '-1'"),
        ("1 1.0\n", f", line 1: expected {NUMBERS}, not '1 1.0'"),
        ("١\n", f", line 1: expected {NUMBERS}, not '١'"),
        ("9" * 5000, f", line 1: expected {NUMBERS}, not '{'9' * 99}…'"),
        ("10 300\n", f", line 2: expected {SAME}, but the file ends after 0 of 6,000 pairs"),
        (
            "999999999 999999999\nA 1 2\n",
            f", line 3: expected {SAME}, but the file ends "
            "after 1 of 1,999,999,996,000,000,002 pairs",
        ),
        (
            SMALL.removesuffix("C\t2\tD\t1\n"),
            f", line 5: expected {DIFFERENT}, but the file ends after 3 of 4 pairs",
        ),
        (
            SMALL + "E 1 2\n",
            ", line 6: expected the end of the file after 4 pairs, as the first line says",
        ),
        ("1 1\nA 1\n", f", line 2: expected 3 fields, {SAME}, not 2: 'A 1'"),
        ("1 1\nA 1 B 1\nA 1 2\n", f", line 2: expected 3 fields, {SAME}, not 4: 'A 1 B 1'"),
        ("1 1\nA 1 2\nA 1 2\n", f", line 3: expected 4 fields, {DIFFERENT}, not 3: 'A 1 2'"),
        ("1 1\n\nA 1 2\nA 1 B 1\n", f", line 2: expected 3 fields, {SAME}, not 0: ''"),
        ("1 1\nA B 1 2\n", f", line 2: expected 3 fields, {SAME}, not 4: 'A B 1 2'"),
        ("1 1\nA 1 2\nA 1 A 2\n", f", line 3: expected {DIFFERENT}, not 'A' twice"),
        ("1 1\nA 1 x\n", ", line 2: expected the number of an image, not 'x'"),
        ("1 1\nA -1 2\n", ", line 2: expected the number of an image, not '-1'"),
        ("1 1\nA 1 2\nA 1 B 1_0\n", ", line 3: expected the number of an image, not '1_0'"),
        ("1 1\nA 1 ²\n", ", line 2: expected the number of an image, not '²'"),
        ("1 1\n.. 1 2\n", ", line 2: expected the name of a folder, not '..'"),
        ("1 1\n. 1 2\n", ", line 2: expected the name of a folder, not '.'"),
        ("1 1\nA/../.. 1 2\n", ", line 2: expected the name of a folder, not 'A/../..'"),
        ("1 1\n/etc 1 2\n", ", line 2: expected the name of a folder, not '/etc'"),
        ("1 1\nA\\B 1 2\n", ", line 2: expected the name of a folder, not 'A\\\\B'"),
        ("1 1\nA\0 1 2\n", ", line 2: expected the name of a folder, not 'A\\x00'"),
        (b"1 1\nA 1 2\nA 1 Zo\xeb 1\n", ", line 3: expected text in UTF-8"),
        (SMALL.encode("utf-16"), ", line 1: expected text in UTF-8"),
        (None, " cannot be read: No such file or directory"),
    ],
)
def test_bad_file(text: str | bytes | None, message: str, tmp_path: Path) -> None:
    """What is wrong is said with its line and with what was expected."""
    path = tmp_path / "pairs.txt"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ProtocolError) as caught:
        read_protocol(path)
    assert str(caught.value) == f"{path}{message}"


READERS: dict[str, Callable[[Path], object]] = {
    "protocol": read_protocol,
    "table": lambda path: pairs.read_table(path, path.parent),
    "one file": pairs.read_lfw,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_pipe(read: Callable[[Path], object], tmp_path: Path) -> None:
    """A pipe, which nobody may ever write to, is no list of pairs."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((ProtocolError, PairsError), match=r"pipe.* is no regular file"):
        read(tmp_path / "pipe")


def test_images_once(lfw: Path) -> None:
    """An image that is in several pairs is one image."""
    given = pairs.read_lfw_folder(lfw, lfw / "pairs.txt")
    assert given.names == ["A/A_0001", "A/A_0002", "B/B_0001", "C/C_0001", "C/C_0002", "D/D_0001"]
    assert (given.first.tolist(), given.second.tolist()) == ([0, 0, 3, 4], [1, 2, 4, 5])
    assert given.same.tolist() == [True, False, True, False]


def test_folds_of_the_file(lfw: Path) -> None:
    """Each pair has the fold that the file puts it in."""
    given = pairs.read_lfw_folder(lfw, lfw / "pairs.txt")
    assert given.folds is not None
    assert given.folds.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".webp"])
def test_suffix(suffix: str, lfw: Path) -> None:
    """An image is found by its name, whatever kind of image it is."""
    (lfw / "A" / "A_0001.png").rename(lfw / "A" / f"A_0001{suffix}")
    assert len(pairs.read_lfw_folder(lfw, lfw / "pairs.txt").images) == 6


@pytest.mark.parametrize("name", ["D", "D" * 300])
def test_missing_image(name: str, lfw: Path) -> None:
    """An image that is not there is named, with the line that asks for it."""
    path = lfw / "pairs.txt"
    path.write_text(SMALL.replace("D\t1", f"{name}\t3"))
    with pytest.raises(PairsError, match=rf"^{path}, line 5: .*{name}/{name}_0003"):
        pairs.read_lfw_folder(lfw, path)


def test_missing_folder(lfw: Path) -> None:
    """A folder that is not there is an error of its own."""
    with pytest.raises(PairsError, match="none is no folder with images"):
        pairs.read_lfw_folder(lfw / "none", lfw / "pairs.txt")


def test_left_out_pairs_leave_their_folds() -> None:
    """The pairs that remain when images fail keep their folds."""
    labels = np.array([True, False, True, False])
    second = np.arange(4, 8)
    given = Pairs([""] * 8, [b""] * 8, np.arange(4), second, labels, np.array([0, 0, 1, 1]))
    scored = report.score(given, Embedded(np.ones((8, 2)), {1: "no face"}))
    assert scored.folds is not None
    assert (scored.same.tolist(), scored.folds.tolist()) == ([True, True, False], [0, 1, 1])


def test_evaluate(run: Any, lfw: Path, store: Store) -> None:
    """The accuracy is over the folds of the file."""
    status, out, _ = run(*evaluate(store, lfw, "--json"))
    found = json.loads(out)
    assert (status, found["same_pairs"], found["different_pairs"]) == (0, 2, 2)
    assert found["plain"]["ten_fold_accuracy"]["folds"] == 2
    assert len(found["plain"]["ten_fold_accuracy"]["thresholds"]) == 2


def test_text(run: Any, lfw: Path, store: Store) -> None:
    """How many folds there are is printed with the accuracy."""
    out = run(*evaluate(store, lfw))[1]
    assert len(re.findall(r"^  accuracy \d.* \(2 folds\)$", out, re.MULTILINE)) == 2


def test_one_fold(run: Any, lfw: Path, store: Store) -> None:
    """Of one fold there is no accuracy, and the report says why."""
    (lfw / "pairs.txt").write_text("1\nA 1 2\nA 1 B 1\n")
    found = json.loads(run(*evaluate(store, lfw, "--json"))[1])["plain"]
    note = "there is one fold, and the threshold for a fold is chosen on the others"
    assert (found["ten_fold_accuracy"], found["accuracy_note"]) == (None, note)


def test_text_of_one_fold(run: Any, lfw: Path, store: Store) -> None:
    """That there is no accuracy is printed where the accuracy would be."""
    (lfw / "pairs.txt").write_text("1\nA 1 2\nA 1 B 1\n")
    assert run(*evaluate(store, lfw))[1].count("  no accuracy: there is one fold, and") == 2


def test_one_fold_left(run: Any, lfw: Path, store: Store) -> None:
    """A fold whose pairs are all left out is none."""
    (lfw / "pairs.txt").write_text("2 1\nA 1 2\nA 1 B 1\nC 1 2\nC 2 D 1\n")
    (lfw / "C" / "C_0002.png").write_bytes(b"damaged")
    found = json.loads(run(*evaluate(store, lfw, "--json"))[1])
    assert (found["pairs_left_out"], list(found["errors"])) == (2, ["C/C_0002"])
    assert found["plain"]["ten_fold_accuracy"] is None


def test_running_server(run: Any, lfw: Path, store: Store) -> None:
    """A running server has the same accuracy as its model loaded here."""
    here = json.loads(run(*evaluate(store, lfw, "--json"))[1])
    with running_server(small_settings(store)) as server:
        given = ("--lfw", lfw, "--protocol", lfw / "pairs.txt")
        there = json.loads(run("evaluate", "--address", server.address, *given, "--json")[1])
    assert there["plain"]["ten_fold_accuracy"] == here["plain"]["ten_fold_accuracy"]


def test_calibrate(run: Any, lfw: Path, store: Store) -> None:
    """`calibrate` takes the same pairs."""
    _, *given = evaluate(store, lfw, "--output", lfw / "calibration.json", "--json")
    status, out, _ = run("calibrate", *given)
    assert (status, json.loads(out)["same_pairs"]) == (0, 2)


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lfw", "."), "--lfw needs the file of its pairs, such as pairs.txt: give --protocol"),
        (("--lfw-bin", "a", "--protocol", "b"), "--protocol needs --lfw"),
        (("--pairs", "a", "--images", ".", "--protocol", "b"), "--protocol needs --lfw"),
        (("--lfw", ".", "--protocol", "a", "--images", "."), "--images needs --pairs"),
        (("--pairs", "a"), "--pairs needs the folder of its images: give --images"),
        (("--lfw", ".", "--protocol", "none"), "none cannot be read: No such file or directory"),
    ],
)
def test_options_that_do_not_fit(
    command: str, options: tuple[str, ...], message: str, run: Any
) -> None:
    """Options that go together are given together, and none is ignored."""
    status, _, err = run(command, "--model", MOBILE, "--output", "out", *options)
    assert (status, err) == (2, f"face-embedding-server: error: {message}\n")


@pytest.mark.parametrize("other", [("--pairs", "a"), ("--lfw-bin", "a")])
def test_one_source(other: tuple[str, str], run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Pairs are taken from one place."""
    with pytest.raises(SystemExit, match="2"):
        run("evaluate", "--lfw", ".", "--protocol", "a", *other)
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.fixture(scope="module")
def published_store(tmp_path_factory: pytest.TempPathFactory, test_data: Path) -> Store:
    """A store with the MobileFaceNet as it was published."""
    store = Store(tmp_path_factory.mktemp("published"))
    source = test_data / "models" / "model-y1.zip"
    known = manifest.load(MOBILE)
    importing.import_weights(store, known, [str(source)], put=ir.put_to_use)
    return store


@pytest.fixture(scope="module")
def two_folds(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `pairs.txt` of the two folds in the test data, from a table in their order."""
    with (test_data / "lfw" / "pairs_aligned.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    written = ["2\t300"]
    for row in rows:
        files = (Path(row[column]) for column in ("first", "second"))
        (name, i), (other, j) = ((file.parent.name, int(file.stem[-4:])) for file in files)
        fields = (name, i, j) if row["same"] == "1" else (name, i, other, j)
        written.append("\t".join(map(str, fields)))
    path = tmp_path_factory.mktemp("protocol") / "pairs.txt"
    path.write_text("\n".join([*written, ""]))
    return path


def published_accuracy(store: Store, *given: object) -> Any:
    """Evaluate the published MobileFaceNet on 1,200 pairs, and return the plain figures."""
    program = Path(sys.executable).with_name("face-embedding-server")
    command = ("evaluate", "--store", store.root, "--model", MOBILE, "--json")
    # In a process of its own, as threads of MXNet wait busily for each other: alone it is faster.
    out = subprocess.check_output(
        [program, *command, *given], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    found = json.loads(out)
    assert (found["same_pairs"], found["different_pairs"], found["pairs_left_out"]) == (600, 600, 0)
    return found["plain"]


@pytest.mark.slow
def test_published_accuracy(published_store: Store, test_data: Path, two_folds: Path) -> None:
    """Over LFW's two folds the published MobileFaceNet is right for 99.08 % of the pairs."""
    given = ("--lfw", test_data / "lfw" / "aligned", "--protocol", two_folds)
    accuracy = published_accuracy(published_store, *given)["ten_fold_accuracy"]
    assert (accuracy["folds"], accuracy["mean"]) == (2, pytest.approx(0.9908, abs=5e-4))


# MXNet takes minutes where others compute too.
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["openvino", WITH_MXNET])
def test_published_accuracy_of_ten_folds(
    backend: str, published_store: Store, test_data: Path
) -> None:
    """Over ten folds that the same pairs are cut into it is right for 99.33 %, on each backend."""
    lfw = test_data / "lfw"
    given = ("--pairs", lfw / "pairs_aligned.csv", "--images", lfw / "aligned")
    found = published_accuracy(published_store, *given, "--backend", backend)
    accuracy = found["ten_fold_accuracy"]
    assert (accuracy["folds"], accuracy["mean"]) == (10, pytest.approx(0.9933, abs=5e-4))
    assert found["auc"] == pytest.approx(0.99975, abs=2e-5)
