"""Telling who somebody is: the example `identify`, and whether its promise holds on LFW."""

import csv
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faces_in_parquet import EXAMPLES, python, shell, shown, write

from face_embedding_client import Embedding, FaceEmbeddingClient, ModelInfo
from face_embedding_models.store import Store
from support import MOBILE, RunningServer, running_server, small_settings
from support.processes import child_environment

sys.path.insert(0, str(EXAMPLES / "identify"))
import identify
from gallery import Gallery

RATES = ("1e-2", "1e-3", "1e-4")
# Of LFW's first two folds.
PAIRS_IN_FOLD = 600


@pytest.fixture(scope="module")
def lfw(test_data: Path) -> Path:
    return test_data / "lfw"


@pytest.fixture(scope="module")
def folds(lfw: Path) -> list[list[str]]:
    """The images of the two folds, which have no person in common."""
    with (lfw / "pairs_aligned.csv").open() as file:
        pairs = list(csv.DictReader(file))
    return [
        sorted(
            {pair[side] for pair in pairs[first:][:PAIRS_IN_FOLD] for side in ("first", "second")}
        )
        for first in (0, PAIRS_IN_FOLD)
    ]


@pytest.fixture(scope="module")
def calibrated(
    trained_store: Store,
    lfw: Path,
    folds: list[list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningServer]:
    """A server that is calibrated by all pairs of the first fold's images."""
    folder = tmp_path_factory.mktemp("calibration")
    with (folder / "pairs.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("first", "second", "same"))
        for first, second in itertools.combinations(folds[0], 2):
            rows.writerow((first, second, int(person(first) == person(second))))
    calibration = folder / "calibration.json"
    flags = ("--model", MOBILE, "--store", trained_store.root, "--pairs", folder / "pairs.csv")
    flags += ("--images", lfw / "aligned", "--output", calibration, "--rates", ",".join(RATES))
    command = [sys.executable, "-m", "face_embedding_server", "calibrate", *map(str, flags)]
    subprocess.run(command, check=True, capture_output=True, env=child_environment())
    with running_server(small_settings(trained_store, calibration=calibration)) as running:
        yield running


@pytest.fixture(scope="module")
def info(calibrated: RunningServer) -> Iterator[ModelInfo]:
    with FaceEmbeddingClient(calibrated.address) as client:
        yield client.model_info()


@pytest.fixture(scope="module")
def second_fold(
    calibrated: RunningServer, lfw: Path, folds: list[list[str]]
) -> dict[str, list[Embedding]]:
    """The embeddings of the second fold by person; those with more photographs first."""
    files = ((name, (lfw / "aligned" / name).read_bytes()) for name in folds[1])
    with FaceEmbeddingClient(calibrated.address) as client:
        embedded = dict(client.embed_stream(files))
    people: dict[str, list[Embedding]] = defaultdict(list)
    for name in folds[1]:
        outcome = embedded[name]
        assert isinstance(outcome, Embedding)
        people[person(name)].append(outcome)
    return dict(sorted(people.items(), key=lambda each: (-len(each[1]), each[0])))


@pytest.fixture
def run(calibrated: RunningServer, tmp_path: Path, test_data: Path) -> Callable[..., Any]:
    """Runs the example with a gallery, and with photographs by their names."""

    def run(gallery: str, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        files = [
            str(test_data / "faces" / "aligned" / each) if each.endswith(".png") else each
            for each in arguments
        ]
        flags = () if command == "forget" else ("--address", calibrated.address)
        return subprocess.run(
            python("identify/identify.py", tmp_path / gallery, command, *files, *flags),
            check=False,
            capture_output=True,
            text=True,
            env=child_environment(),
        )

    return run


def person(name: str) -> str:
    return name.partition("/")[0]


def test_found(run: Callable[..., Any]) -> None:
    """Who is enrolled is found by another photograph, and a stranger is nobody."""
    run("people.parquet", "enrol", "anna", "person00_00.png", "person00_01.png")
    run("people.parquet", "enrol", "bert", "person01_00.png", "person01_01.png")
    done = run("people.parquet", "search", "person00_02.png", "person02_00.png")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [found["person"] for found in answer["found"]] == ["anna", None]
    assert (answer["criterion"]["people"], answer["criterion"]["operating_point"]) == (
        2,
        "fmr-1e-3",
    )
    assert answer["criterion"]["expected_false_positives"] == pytest.approx(0.002, rel=0.01)


def test_shown(calibrated: RunningServer, test_data: Path, tmp_path: Path) -> None:
    """The commands of the documentation enrol, find and forget, in their order."""
    photographs = ("anna-1.jpg", "person00_00"), ("anna-2.jpg", "person00_01")
    for name, of in (*photographs, ("somebody.jpg", "person00_02")):
        (tmp_path / name).symlink_to(test_data / "faces" / "aligned" / f"{of}.png")
    enrol, search, forget = shown("identify.py")
    assert shell(f"{enrol} --address {calibrated.address}", tmp_path).returncode == 0
    done = shell(f"{search} --address {calibrated.address}", tmp_path)
    assert json.loads(done.stdout)["found"][0]["person"] == "anna"
    assert shell(forget, tmp_path).stdout == "2 embeddings of anna are gone\n"


def test_forgotten(run: Callable[..., Any], tmp_path: Path) -> None:
    """Who is forgotten is found no more, and the file is that of a gallery without them."""
    for who, photographs in (
        ("anna", ("person01_00.png",)),
        ("bert", ("person00_00.png", "person00_01.png")),
        ("carl", ("person03_00.png",)),
    ):
        assert run("all.parquet", "enrol", who, *photographs).returncode == 0
        if who != "bert":
            run("without.parquet", "enrol", who, *photographs)
    probe = ("search", "person00_02.png")
    assert json.loads(run("all.parquet", *probe).stdout)["found"][0]["person"] == "bert"
    assert run("all.parquet", "forget", "bert").stdout == "2 embeddings of bert are gone\n"
    assert json.loads(run("all.parquet", *probe).stdout)["found"][0]["person"] is None
    remaining = sorted(tmp_path.iterdir())
    assert [file.name for file in remaining] == ["all.parquet", "without.parquet"]
    assert remaining[0].read_bytes() == remaining[1].read_bytes()
    again = run("all.parquet", "forget", "bert")
    assert (again.returncode, again.stderr) == (1, "identify.py: bert is not enrolled\n")


def test_same_names(run: Callable[..., Any], test_data: Path, tmp_path: Path) -> None:
    """Photographs of one name in several folders are several."""
    for folder in ("2020", "2021"):
        (tmp_path / folder).mkdir()
        aligned = test_data / "faces" / "aligned" / "person00_00.png"
        (tmp_path / folder / "anna.jpg").symlink_to(aligned)
    run("people.parquet", "enrol", "anna", *map(str, tmp_path.glob("20*/anna.jpg")))
    assert run("people.parquet", "forget", "anna").stdout == "2 embeddings of anna are gone\n"


def test_forgotten_by_link(run: Callable[..., Any], tmp_path: Path) -> None:
    """Who is forgotten in a link to a gallery is forgotten in the gallery."""
    run("people.parquet", "enrol", "anna", "person01_00.png")
    (tmp_path / "link.parquet").symlink_to("people.parquet")
    assert run("link.parquet", "forget", "anna").stdout == "1 embeddings of anna are gone\n"
    assert run("people.parquet", "forget", "anna").stderr == "identify.py: anna is not enrolled\n"


@pytest.mark.parametrize(
    "command", [("enrol", "anna"), ("search",), ("forget", "anna")], ids=" ".join
)
def test_no_gallery(
    command: tuple[str, ...], info: ModelInfo, run: Callable[..., Any], tmp_path: Path
) -> None:
    """What 'embed' wrote is no gallery, and stays as it is."""
    file = tmp_path / "faces.parquet"
    faces = {"a": np.ones(info.embedding_size, np.float32)}
    before = write(file, faces, info.embedding_space).read_bytes()
    done = run(file.name, *command, *([] if command[0] == "forget" else ["person01_00.png"]))
    assert done.stderr == (
        f"identify.py: {file} is no gallery: it does not say whose faces it has\n"
    )
    assert file.read_bytes() == before


def test_unreadable(run: Callable[..., Any], tmp_path: Path) -> None:
    """A photograph that cannot be embedded is named, and nobody is enrolled."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"junk")
    done = run("people.parquet", "enrol", "anna", "person00_00.png", str(bad))
    assert done.stderr.startswith(f"identify.py: {bad}: ")
    assert not (tmp_path / "people.parquet").exists()


@pytest.mark.parametrize("share", ["0", "1", "nan"])
def test_no_share(share: str, run: Callable[..., Any]) -> None:
    """A share of false positives is more than none, and not all."""
    done = run("people.parquet", "search", "person01_00.png", "--false-positives", share)
    assert f"argument --false-positives: invalid share value: '{share}'" in done.stderr


@pytest.mark.parametrize("command", [("enrol", "anna"), ("search",)], ids=" ".join)
def test_other_space(command: tuple[str, ...], run: Callable[..., Any], tmp_path: Path) -> None:
    """A gallery of another space takes nobody, and nobody is looked for in it."""
    write(tmp_path / "other.parquet", {"a": np.ones(2, np.float32)}, "b-space")
    done = run("other.parquet", *command, "person01_00.png")
    assert done.returncode == 1
    assert "other.parquet has embeddings of b-space, which cannot be compared" in done.stderr


def test_too_many_people(run: Callable[..., Any]) -> None:
    """Where no operating point keeps the promise, the example says what calibration would."""
    run("people.parquet", "enrol", "anna", "person01_00.png")
    done = run("people.parquet", "search", "person01_01.png", "--false-positives", "1e-6")
    assert done.returncode == 1
    assert "a share of 1e-06 needs a false match rate of 1.0e-06" in done.stderr


@pytest.mark.parametrize("rate", RATES)
def test_false_positives(
    rate: str,
    info: ModelInfo,
    second_fold: dict[str, list[Embedding]],
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    """Of strangers no more than twice as many are found as the size of the gallery implies."""
    several = [who for who, faces in second_fold.items() if len(faces) > 1]
    gallery = Gallery(tmp_path / "people.parquet", info)
    enrolled = several[::2]
    for who in enrolled:
        gallery.enrol(who, {str(n): face for n, face in enumerate(second_fold[who][:-1])})
    strangers = [
        face for who, faces in second_fold.items() if who not in enrolled for face in faces
    ]
    point = next(point for point in info.operating_points if point.name == f"fmr-{rate}")
    expected = identify.false_positives(point.false_match_rate, len(enrolled))
    taken = share_found(gallery, info, strangers, expected)
    found = share_found(gallery, info, [second_fold[who][-1] for who in enrolled], expected)
    tell(
        f"identify: {len(enrolled)} people, false match rate {rate}: of {len(strangers)} "
        f"strangers' photographs {taken:.2%} found somebody, {expected:.2%} expected; of those "
        f"enrolled {found:.1%} found"
    )
    assert expected / 2 <= taken <= expected * 2
    assert found >= 0.95


def share_found(gallery: Gallery, info: ModelInfo, faces: list[Embedding], allowed: float) -> float:
    """Return the share of faces for which somebody is found."""
    options = SimpleNamespace(files=range(len(faces)), false_positives=allowed)
    answer = identify.search(gallery, info, faces, options)
    return sum(found["person"] is not None for found in answer["found"]) / len(faces)
