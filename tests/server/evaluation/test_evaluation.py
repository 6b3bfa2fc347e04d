"""Evaluating, calibrating and comparing models on labelled pairs."""

import csv
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trustme
from skimage import data

from face_embedding_client import FaceEmbeddingClient, Photograph
from face_embedding_models.sample_faces import sample_faces
from face_embedding_models.store import Store
from face_embedding_server.evaluation import change, embedding, metrics, pairs, remote, report
from face_embedding_server.evaluation.calibrating import calibrate
from face_embedding_server.evaluation.embedding import Embedded, EmbeddingError
from face_embedding_server.evaluation.pairs import PairsError
from face_embedding_server.evaluation.remote import Remote
from face_embedding_server.faces.face import Aligned, RawImage
from face_embedding_server.faces.face import Face as FaceToEmbed
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import CalibrationError
from support import MOBILE, WITH_MXNET, encode, issue, needs_mxnet, running_server, small_settings
from support.processes import child_environment

SPACE = "model/digest/output"
LIMITS = {"a": (0.4, 0.6), "b": (0.1, 0.6)}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve drawn faces in a folder, each with a slightly darker one, and all of their pairs."""
    images = {}
    for face in sample_faces(112, 112):
        images[f"{face.name}-a"] = face.pixels_bgr
        images[f"{face.name}-b"] = (face.pixels_bgr * 0.9).astype(np.uint8)
    for name, pixels in images.items():
        (tmp_path / f"{name}.png").write_bytes(encode(pixels))
    rows = [(a, b, int(a[:-2] == b[:-2])) for a in images for b in images if a < b]
    return write_table(tmp_path / "pairs.csv", rows)


def write_table(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second", "same"), *rows])
    return path


def separated(same: int, different: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of pairs of one person from 0.6 to 0.9, and of two from -0.3 to 0.3."""
    scores = np.concatenate([np.linspace(0.6, 0.9, same), np.linspace(-0.3, 0.3, different)])
    return scores, np.arange(same + different) < same


def test_evaluate(run: Any, table: Path, store: Store, tmp_path: Path) -> None:
    """`evaluate` prints what it measured, and writes it with three plots."""
    status, out, _ = run(
        *("evaluate", "--store", store.root, "--model", MOBILE, "--pairs", table),
        *("--images", table.parent, "--output", tmp_path / "report", "--json"),
    )
    found = json.loads(out)
    assert (status, found["same_pairs"], found["different_pairs"]) == (0, 6, 60)
    assert 0.5 < found["plain"]["auc"] <= 1
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == found
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["det.png", "histogram.png", "report.json", "roc.png"]


def test_evaluate_agrees_with_metrics(
    run: Any, test_data: Path, trained_store: Store, golden: Any
) -> None:
    """On the aligned faces the figures are those of the golden embeddings."""
    faces = test_data / "faces"
    command = ("evaluate", "--store", trained_store.root, "--model", MOBILE, "--json")
    given = ("--pairs", faces / "pairs.csv", "--images", faces / "aligned")
    found = json.loads(run(*command, *given)[1])
    unit = golden.embeddings / np.linalg.norm(golden.embeddings, axis=1, keepdims=True)
    index = {name: number for number, name in enumerate(golden.names)}
    with (faces / "pairs.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    scores = np.array([unit[index[r["first"]]] @ unit[index[r["second"]]] for r in rows])
    same = np.array([row["same"] == "1" for row in rows])
    expected = metrics.equal_error(metrics.roc(scores.astype(np.float64), same))
    assert found["plain"]["auc"] == 1
    assert found["plain"]["equal_error"]["rate"] == expected.rate == 0
    assert found["plain"]["equal_error"]["threshold"] == pytest.approx(expected.threshold, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", WITH_MXNET])
def test_backends_agree(run: Any, table: Path, store: Store, backend: str) -> None:
    """Both backends have the same accuracy."""
    command = ("evaluate", "--store", store.root, "--model", MOBILE, "--backend", backend)
    status, out, _ = run(*command, "--pairs", table, "--images", table.parent, "--json")
    found = json.loads(out)
    assert (status, found["backend"]) == (0, backend)
    assert found["plain"]["equal_error"]["threshold"] == pytest.approx(
        reference_threshold(store, table), abs=1e-4
    )


def reference_threshold(store: Store, table: Path) -> float:
    """The threshold on a running server, as evaluated over gRPC."""
    given = pairs.read_table(table, table.parent)
    with (
        running_server(small_settings(store)) as server,
        remote.of_server(Remote(server.address)) as embedder,
    ):
        embedded = embedding.embed_images(embedder, given.images, preparation=Aligned())
        scored = report.score(given, embedded)
    return metrics.equal_error(metrics.roc(scored.scores, scored.same)).threshold


def test_evaluate_lfw(run: Any, table: Path, store: Store) -> None:
    """A file like LFW's is evaluated like the same pairs in a folder."""
    given = pairs.read_table(table, table.parent)
    images = [
        given.images[index]
        for pair in zip(given.first, given.second, strict=True)
        for index in pair
    ]
    file = table.parent / "faces.bin"
    file.write_bytes(pickle.dumps((images, given.same.tolist())))
    command = ("evaluate", "--store", store.root, "--model", MOBILE, "--json")
    of_folder = json.loads(run(*command, "--pairs", table, "--images", table.parent)[1])
    of_file = json.loads(run(*command, "--lfw-bin", file)[1])
    assert of_file["plain"] == of_folder["plain"]
    assert of_file["with_flip"] == of_folder["with_flip"]
    assert of_file["plain"] != of_file["with_flip"]


def test_photograph_without_a_face(run: Any, store: Store, tmp_path: Path) -> None:
    """A photograph in which no face is found is named, and its pairs are left out."""
    person, cat = (
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR) for image in (data.astronaut(), data.chelsea())
    )
    dark = (person * 0.8).astype(np.uint8)
    other = cv2.flip(person, 1)
    for name, image in {"person": person, "dark": dark, "other": other, "cat": cat}.items():
        (tmp_path / f"{name}.png").write_bytes(encode(image))
    rows = [("person", "dark", 1), ("person", "other", 0), ("person", "cat", 0)]
    table = write_table(tmp_path / "pairs.csv", rows)
    command = ("evaluate", "--store", store.root, "--model", MOBILE, "--detect", "--json")
    found = json.loads(run(*command, "--pairs", table, "--images", tmp_path)[1])
    assert (found["pairs_left_out"], list(found["errors"])) == (1, ["cat"])
    assert "no face was found" in found["errors"]["cat"]
    assert found["plain"]["ten_fold_accuracy"] is None


def test_evaluate_unreachable_server(run: Any, table: Path) -> None:
    """A server that is not there is an error that names the address."""
    command = ("evaluate", "--address", "127.0.0.1:1", "--pairs", table, "--images", table.parent)
    status, _, err = run(*command)
    assert status == 2
    assert "127.0.0.1:1" in err


def test_server_with_another_model(store: Store, resnet34_store: Store, faces: list[Any]) -> None:
    """A server that comes back with another model is no more that which is evaluated."""
    face = FaceToEmbed(RawImage(faces[0], "BGR"), Aligned())
    with running_server(small_settings(store)) as server:
        address = server.address
        evaluated = remote.of_server(Remote(address))
        embedder = evaluated.__enter__()
        assert embedder.embed(face).any()
    with running_server(small_settings(resnet34_store, address=address)):
        with pytest.raises(EmbeddingError, match=f"{address} embeds into .* by now"):
            embedder.embed(face)
        evaluated.__exit__(None, None, None)


def test_evaluate_secure_server(run: Any, table: Path, store: Store, tmp_path: Path) -> None:
    """A server that asks for a token and a certificate is evaluated, by the model that is named."""
    authority = trustme.CA()
    server = issue(tmp_path / "server", authority, "localhost")
    caller = issue(tmp_path / "caller", authority, "caller.example.org")
    ca, token, access = (tmp_path / name for name in ("ca.pem", "token", "access.toml"))
    authority.cert_pem.write_to_path(ca)
    token.write_text("right\n")
    sha256 = hashlib.sha256(b"right").hexdigest()
    access.write_text(f'[me]\npermissions = ["embed"]\ntokens = [{{sha256 = "{sha256}"}}]\n')
    settings = small_settings(store, tls_client_ca=ca, access=access, **server.settings())
    with running_server(settings) as running:
        status, out, _ = run(
            *("evaluate", "--address", f"localhost:{running.server.port}", "--model", MOBILE),
            *("--ca", ca, "--certificate", caller.certificate, "--key", caller.key),
            *("--token-file", token, "--pairs", table, "--images", table.parent, "--json"),
        )
    assert (status, json.loads(out)["model"]) == (0, MOBILE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --model NAME to load a model here, or --address"),
        (("--address", "a:1", "--backend", "mxnet"), "--backend is the server's choice"),
        (("--model", MOBILE, "--token-file", "token"), "--token-file needs --address"),
        (("--address", "a:1", "--token-file", "token"), "--token-file: a token is sent over TLS"),
        (("--address", "a:1", "--tls", "--token-file", "empty"), "empty holds no token"),
        (("--address", "a:1", "--tls", "--token-file", "none"), "none cannot be read: No such"),
        (("--address", "a:1", "--key", "token"), "needs both --certificate and --key"),
    ],
)
def test_options_that_do_not_fit(
    options: tuple[str, ...],
    message: str,
    run: Any,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Options of a server and those of a model loaded here are not mixed, and none is ignored."""
    monkeypatch.chdir(table.parent)
    Path("token").write_text("right")
    Path("empty").write_text("\n")
    status, _, err = run("evaluate", "--pairs", table, "--images", ".", *options)
    assert status == 2
    assert message in err


def test_calibrate(run: Any, test_data: Path, trained_store: Store, tmp_path: Path) -> None:
    """Calibrated on the photographs, every pair is decided rightly."""
    faces, file = test_data / "faces", tmp_path / "calibration.json"
    given = ("--pairs", faces / "pairs.csv", "--images", faces / "photos", "--detect")
    command = ("calibrate", "--store", trained_store.root, "--model", MOBILE, "--output", file)
    status, out, _ = run(*command, *given)
    assert status == 0
    assert "equal-error" in out
    space = trained_store.get(MOBILE).embedding_space
    calibrated = operating_points.read(file)
    calibrated.check(space)
    point = calibrated.get("equal-error")
    assert (point.false_match_rate, point.false_non_match_rate) == (0, 0)
    assert 0.3 < point.threshold < 0.5


@pytest.mark.slow
def test_calibrated_server_decides(
    run: Any, test_data: Path, trained_store: Store, tmp_path: Path
) -> None:
    """A server with that calibration decides all 120 pairs of photographs rightly."""
    faces, file = test_data / "faces", tmp_path / "calibration.json"
    given = ("--pairs", faces / "pairs.csv", "--images", faces / "photos", "--detect")
    run("calibrate", "--store", trained_store.root, "--model", MOBILE, "--output", file, *given)
    with (faces / "pairs.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    photographs = {
        path.stem: Photograph(path.read_bytes()) for path in (faces / "photos").glob("*.jpg")
    }
    settings = small_settings(trained_store, calibration=file)
    with running_server(settings) as server, FaceEmbeddingClient(server.address) as client:
        stored = {name: client.embed(photograph) for name, photograph in photographs.items()}
        decisions = [
            client.compare(
                photographs[row["first"]], stored[row["second"]], operating_point="equal-error"
            ).decision
            for row in rows
        ]
    expected = ["MATCH" if row["same"] == "1" else "NO_MATCH" for row in rows]
    assert len(decisions) == 120
    assert decisions == expected


def test_calibrated_rates() -> None:
    """Each rate that the pairs support becomes an operating point."""
    made = calibrate(*separated(100, 1000), SPACE)
    names = [point.name for point in made.operating_points]
    assert names == ["equal-error", "fmr-1e-1", "fmr-1e-2", "fmr-1e-3"]
    assert made.get("equal-error").threshold == pytest.approx(0.45)
    for name, rate in (("fmr-1e-1", 0.1), ("fmr-1e-2", 0.01), ("fmr-1e-3", 0.001)):
        point = made.get(name)
        assert point.false_match_rate == pytest.approx(rate)
        assert point.false_match_rate < point.false_match_rate_high
        assert point.threshold_low <= point.threshold <= point.threshold_high


def test_rate_of_too_few_pairs() -> None:
    """A rate that the number of pairs cannot support is refused with the number it needs."""
    with pytest.raises(CalibrationError, match=r"0\.001 cannot .* 999 pairs .* at least 1,000"):
        calibrate(*separated(10, 999), SPACE, [1e-3])


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_rate_that_is_none(rate: float) -> None:
    """What is no rate is refused."""
    with pytest.raises(CalibrationError, match="is not a false match rate"):
        calibrate(*separated(10, 100), SPACE, [rate])


def test_rates_on_the_command_line(run: Any, table: Path, store: Store, tmp_path: Path) -> None:
    """Rates can be chosen; one that is not supported ends the command, and nothing is written."""
    file = tmp_path / "calibration.json"
    command = ("calibrate", "--store", store.root, "--model", MOBILE, "--output", file)
    given = ("--pairs", table, "--images", table.parent)
    status, _, err = run(*command, *given, "--rates", "0.05,1e-3")
    assert status == 2
    assert "at least 1,000" in err
    assert not file.exists()
    assert run(*command, *given, "--rates", "0.05")[0] == 0
    points = json.loads(file.read_text())["operating_points"]
    assert [point["name"] for point in points] == ["equal-error", "fmr-0.05"]


@needs_mxnet
def test_drift(run: Any, table: Path, store: Store) -> None:
    """Between the backends nothing changes, and stored embeddings can be kept."""
    command = ("drift", MOBILE, f"{MOBILE}:mxnet", "--store", store.root, "--images", table.parent)
    status, out, _ = run(*command, "--json")
    found = json.loads(out)
    assert (status, found["faces"], found["pairs"], found["same_space"]) == (0, 12, 66, True)
    assert found["min_cosine"] > 0.999999
    assert found["keeps_stored_embeddings"]


def test_drift_of_other_weights() -> None:
    """In another space no face has two embeddings to compare, and all have to be made again."""
    found = change.measure(embedded(0, 30), embedded(9, 39), LIMITS, same_space=False)
    assert found.min_cosine is None
    assert found.flips["a"].mixed is None
    assert not found.keeps_stored_embeddings
    assert "have to be made again" in found.verdict


def test_drift_of_nothing() -> None:
    """One face makes no pair, and is refused."""
    with pytest.raises(EmbeddingError, match="at least two faces"):
        change.measure(embedded(0), embedded(0), LIMITS, same_space=True)


def test_drift_on_an_empty_folder(run: Any, store: Store, tmp_path: Path) -> None:
    """A folder without images is an error, and no crash."""
    status, _, err = run("drift", MOBILE, MOBILE, "--store", store.root, "--images", tmp_path)
    assert status == 2
    assert "at least two faces" in err


@pytest.mark.parametrize("side", ["", ":mxnet", f"{MOBILE}:a:b:c"])
def test_bad_side(run: Any, table: Path, store: Store, side: str) -> None:
    """A side that is not MODEL[:BACKEND[:PRECISION]] is refused."""
    command = ("drift", side, MOBILE, "--store", store.root, "--images", table.parent)
    status, _, err = run(*command)
    assert status == 2
    assert "MODEL[:BACKEND[:PRECISION]]" in err


def embedded(*angles: float) -> Embedded:
    """Embeddings in a plane, by their angles in degrees."""
    turned = np.radians(angles)
    return Embedded(np.column_stack([np.cos(turned), np.sin(turned)]), {})


def test_flips_by_hand() -> None:
    """A pair whose similarity falls below the limits is a lost match, and none in between."""
    before, after = embedded(0, 30), embedded(0, 80)
    found = change.measure(before, after, LIMITS, same_space=True)
    assert (found.flips["a"].lost_matches, found.flips["a"].new_matches) == (1, 0)
    assert (found.flips["b"].lost_matches, found.flips["b"].new_matches) == (0, 0)
    assert found.min_cosine == pytest.approx(np.cos(np.radians(50)))
    assert found.max_score_change == pytest.approx(np.cos(np.radians(30)) - np.cos(np.radians(80)))
    # The stored face at 0 degrees against the new one at 80.
    assert found.flips["a"].mixed == 1
    assert not found.keeps_stored_embeddings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first,second\na,b\n", "'same' is missing"),
        ("first,second,same\n", "holds no pair"),
        ("first,second,same\nface,face,maybe\n", "line 2: 'same' is 1 or 0, not 'maybe'"),
        ("first,second,same\nface,face,1\nface,gone,0\n", "line 3: there is no image 'gone'"),
        ("first,second,same\nface\n", "line 2: 'same' is 1 or 0, not None"),
        ("first,second,same\n\n\nface,gone,0\n", "line 4: there is no image 'gone'"),
    ],
)
def test_bad_table(text: str, message: str, tmp_path: Path) -> None:
    """What is wrong with a table of pairs is said with its line."""
    (tmp_path / "face.png").write_bytes(b"")
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(PairsError, match=message):
        pairs.read_table(tmp_path / "pairs.csv", tmp_path)


@pytest.mark.parametrize(
    ("first", "said", "left_out"),
    [
        ([("drawn-0-a", "drawn-0-b", 1)], "pairs left out: 60 that are of a file and a copy", 60),
        ([], "warning: no pair of its own is left without the 59 that are of a file", 0),
    ],
)
def test_repeated_pairs(
    first: list[Any], said: str, left_out: int, run: Any, table: Path, store: Store, tmp_path: Path
) -> None:
    """A pair that is given again, of copies too, and of a file with its copy, supports nothing."""
    (tmp_path / "copy.png").write_bytes((tmp_path / "drawn-0-a.png").read_bytes())
    different = [("drawn-0-a", "drawn-1-a", 0), ("drawn-1-a", "copy", 0)] * 10
    table = write_table(table, [*first, *different, *[("copy", "drawn-0-a", 1)] * 40, *first])
    output = tmp_path / "calibration.json"
    for command in (("calibrate", "--output", output), ("evaluate",)):
        status, out, _ = run(
            *(*command, "--store", store.root, "--model", MOBILE),
            *("--pairs", table, "--images", table.parent),
        )
        assert (status, said in out) == (0, True)
    made = json.loads(output.read_text())
    assert (made["pairs_left_out"], "too few pairs" in made["note"]) == (left_out, True)


def test_calibration_over_its_pairs(run: Any, table: Path, store: Store) -> None:
    """A calibration does not take the place of the pairs that it is made from."""
    before = table.read_bytes()
    command = ("calibrate", "--store", store.root, "--model", MOBILE)
    status, _, err = run(*(*command, "--pairs", table, "--images", table.parent, "--output", table))
    assert (status, table.read_bytes()) == (2, before)
    assert f"--output {table} is what is read as --pairs" in err


def test_names_beyond_the_locale(tmp_path: Path) -> None:
    """Images are found by names that the locale knows nothing of."""
    (tmp_path / "Zoë.png").write_bytes(b"")
    (tmp_path / "pairs.csv").write_text("first,second,same\nZoë,Zoë.png,1\n", "utf-8")
    program = (
        "import pathlib; from face_embedding_server.evaluation import pairs; "
        "print(len(pairs.read_table(pathlib.Path('pairs.csv'), pathlib.Path()).images))"
    )
    # Or Python takes UTF-8 for it.
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = child_environment() | locale
    command = [sys.executable, "-c", program]
    shown = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True, timeout=60)
    assert shown == "2\n"
