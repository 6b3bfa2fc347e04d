"""The command `face-embedding` with photographs, and its pictures."""

import dataclasses
import io
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

import face_embedding_client
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_client import (
    Comparison,
    FaceEmbeddingClient,
    FaceWarning,
    OperatingPoint,
    PreparedFace,
)
from face_embedding_client.cli import embed, matrix, output
from face_embedding_client.cli.usage import UsageError
from face_embedding_models.store import Store
from support import RunningServer, encode, running_server, small_settings

SIDEWAYS = 6  # The EXIF orientation of a camera that was held on its side.
ORIENTATION = 0x112


@pytest.fixture
def files(tmp_path: Path, portrait: bytes, couple: bytes, nobody: bytes) -> dict[str, str]:
    """Photographs by the number of their faces, and a damaged one."""
    contents = {"one": portrait, "two": couple, "none": nobody, "junk": b"junk"}
    for name, content in contents.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    return {name: str(tmp_path / f"{name}.jpg") for name in contents}


@pytest.fixture
def dark(tmp_path: Path, faces: list[Any]) -> str:
    """An aligned face in the dark."""
    file = tmp_path / "dark.png"
    file.write_bytes(encode((faces[0] // 16).astype(np.uint8)))
    return str(file)


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without Matplotlib."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "face_embedding_client.cli.drawing", raising=False)
    monkeypatch.delattr(face_embedding_client.cli, "drawing", raising=False)


def test_embed_detects(run: Any, files: dict[str, str]) -> None:
    """`embed --detect` takes photographs; its JSON has the contract's names."""
    status, out, _ = run("embed", files["one"], "--detect", "--json")
    (row,) = json.loads(out)
    assert (status, row["name"], row["warnings"]) == (0, files["one"], [])
    assert row["detection"].keys() == {"box", "landmarks", "score", "turned_degrees"}
    assert row["detection"]["box"].keys() == {"left", "top", "width", "height"}
    assert row["detection"]["landmarks"]["left_mouth"].keys() == {"x", "y"}


def test_embed_does_not_detect(run: Any, files: dict[str, str]) -> None:
    """Without it a photograph is refused for its size."""
    status, out, _ = run("embed", files["one"], "--json")
    assert (status, json.loads(out)[0]["error"]["reason"]) == (1, "IMAGE_SIZE")


def test_embed_aligned_has_no_detection(run: Any, dark: str) -> None:
    """An aligned face has no detection, and its warnings are told all the same."""
    (row,) = json.loads(run("embed", dark, "--json")[1])
    assert row["detection"] is None
    assert "DARK" in [warning["reason"] for warning in row["warnings"]]
    assert row["warnings"][0].keys() == {"reason", "value", "limit"}


def test_warning_in_words(run: Any, dark: str) -> None:
    """A warning is a line for people, and no failure."""
    status, out, err = run("embed", dark)
    assert (status, len(out.splitlines())) == (0, 1)
    assert f"{dark}: warning: dark (mean luminance of 255: " in err


def test_warning_of_two_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A reason is put into words with its value and its limit, even an unknown one."""
    warnings = [FaceWarning("NOT_FRONTAL", 0.51234, 0.35), FaceWarning("99", 1, 2)]
    output.print_warnings("a.jpg", warnings)
    assert capsys.readouterr().err == (
        "a.jpg: warning: not frontal (nose off its place in distances of the eyes: 0.512, "
        "limit 0.35)\na.jpg: warning: 99 (measured: 1, limit 2)\n"
    )


@pytest.mark.parametrize(
    ("select", "status"),
    [(None, 1), ("only", 1), ("central", 0), ("largest", 0), ("all", 0)],
    ids=str,
)
def test_select(select: str | None, status: int, run: Any, files: dict[str, str]) -> None:
    """Several faces are refused unless one of them or all are wanted."""
    flags = () if select is None else ("--select", select)
    code, out, _ = run("embed", files["two"], "--detect", *flags, "--json")
    assert code == status
    if status:
        assert json.loads(out)[0]["error"]["reason"] == "SEVERAL_FACES"


def test_select_all(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    """With all faces each has a name of its own, in the rows and in the file."""
    output = tmp_path / "x.npz"
    photos = [files["two"], files["none"], files["junk"], str(tmp_path / "gone"), files["one"]]
    flags = ("--detect", "--select", "all", "--json", "--output", str(output))
    status, out, err = run("embed", *photos, *flags)
    names = [f"{files['two']}#0", f"{files['two']}#1", f"{files['one']}#0"]
    rows = json.loads(out)
    assert (status, err) == (1, f"3 of 6 embeddings in {output}\n")
    assert [row["name"] for row in rows if "error" not in row] == names
    assert [row["error"]["reason"] for row in rows if "error" in row] == [
        "NO_FACE_FOUND",
        "IMAGE_UNREADABLE",
        "FILE_UNREADABLE",
    ]
    with np.load(output) as archive:
        assert archive["names"].tolist() == names
        assert archive["embeddings"].shape == (3, 128)


def test_select_all_of_too_many(
    store: Store, run: Any, files: dict[str, str], tmp_path: Path
) -> None:
    """Faces that the server does not embed are named, and the command has not succeeded."""
    output = tmp_path / "x.npz"
    flags = ("--detect", "--select", "all", "--output", str(output))
    with running_server(small_settings(store, max_faces_per_request=1)) as running:
        status, _, err = run("embed", files["two"], *flags, address=running.address)
        rows = json.loads(run("embed", files["two"], *flags, "--json", address=running.address)[1])
    assert status == 1
    assert f"{files['two']}: 2 faces were found and 1 of them embedded, 1 are missing" in err
    assert f"1 of 2 embeddings in {output}" in err
    assert rows[0]["faces_found"] == 2
    assert rows[1]["error"]["reason"] == "FACES_MISSING"


def test_select_all_without_server(run: Any, files: dict[str, str]) -> None:
    """A server that is not there is an error of the command and not of each file."""
    flags = ("--detect", "--select", "all", "--timeout", "2")
    status, out, err = run("embed", files["one"], *flags, address="127.0.0.1:1")
    assert (status, out) == (2, "")
    assert "127.0.0.1:1" in err


@pytest.mark.parametrize("flags", [("--select", "largest"), ("--upright", "auto")], ids=" ".join)
@pytest.mark.parametrize("command", ["embed", "compare", "matrix"])
def test_select_without_detect(
    command: str,
    flags: tuple[str, str],
    run: Any,
    files: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To say more of faces that are not looked for is a usage error."""
    with pytest.raises(SystemExit, match="2"):
        run(command, files["one"], files["one"], *flags)
    assert f"{flags[0]} needs --detect" in capsys.readouterr().err


def test_compare_photographs(run: Any, files: dict[str, str]) -> None:
    """`compare --detect` compares photographs; its JSON has the contract's names."""
    flags = ("--detect", "--select", "largest", "--threshold", "0.9", "--json")
    status, out, _ = run("compare", files["one"], files["two"], *flags)
    facts = json.loads(out)
    assert (status, facts["decision"], facts["threshold"]) == (0, "MATCH", 0.9)
    assert facts["expected_false_match_rate"] is None
    assert facts["first"].keys() == facts["second"].keys() == {"detection", "warnings"}
    assert facts["second"]["detection"]["box"]["left"] > 200


def test_compare_several_faces(run: Any, files: dict[str, str]) -> None:
    """A photograph that is refused is a no, and the line names it."""
    status, _, err = run("compare", files["one"], files["two"], "--detect")
    assert status == 1
    assert err.startswith(f"{files['two']}: second.")
    assert "2 faces were found" in err


def test_compare_warns(run: Any, dark: str) -> None:
    """`compare` names the file that a warning is about."""
    assert f"{dark}: warning: dark" in run("compare", dark, dark)[2]


def test_two_criteria(run: Any, files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A threshold and an operating point are one too many."""
    with pytest.raises(SystemExit, match="2"):
        run("compare", *[files["one"]] * 2, "--threshold", "0", "--operating-point", "x")
    assert "not allowed with" in capsys.readouterr().err


def test_unknown_operating_point(run: Any, dark: str) -> None:
    """An operating point that the server does not have is an error."""
    status, _, err = run("compare", dark, dark, "--operating-point", "none")
    assert status == 2
    assert "operating_point: " in err


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A client for which every comparison is undecided, and what it was asked for."""
    asked: list[dict[str, Any]] = []
    face = PreparedFace(None, ())
    result = Comparison(0.31234, None, 0.3, "space", "UNDECIDED", 0.001, face, face)

    def compare(_: Any, *_faces: Any, **criterion: Any) -> Comparison:
        asked.append(criterion)
        return result

    monkeypatch.setattr(FaceEmbeddingClient, "compare", compare)
    return asked


def test_undecided(run: Any, dark: str, undecided: list[dict[str, Any]]) -> None:
    """Undecided is no match for the exit status, and says what it was decided by."""
    status, out, _ = run("compare", dark, dark, "--operating-point", "fmr-1e-3")
    assert status == 1
    assert out == (
        "cosine similarity 0.3123: undecided (threshold 0.3000, expected false match rate 0.001)\n"
    )
    assert undecided == [{"threshold": None, "operating_point": "fmr-1e-3"}]


@pytest.mark.usefixtures("undecided")
def test_undecided_json(run: Any, dark: str) -> None:
    """So does its JSON."""
    status, out, _ = run("compare", dark, dark, "--operating-point", "fmr-1e-3", "--json")
    facts = json.loads(out)
    assert (status, facts["decision"]) == (1, "UNDECIDED")
    assert (facts["threshold"], facts["expected_false_match_rate"]) == (0.3, 0.001)


def test_info_of_operating_points(
    run: Any, client: FaceEmbeddingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`info` has a line for each operating point."""
    point = OperatingPoint("equal-error", 0.3, 0.2, 0.4, 0.01, 0.02, 0.03, 0.04)
    info = dataclasses.replace(client.model_info(), operating_points=(point,))
    monkeypatch.setattr(FaceEmbeddingClient, "model_info", lambda _: info)
    assert run("info")[1].splitlines()[-1].split(maxsplit=2)[2] == (
        "equal-error: threshold 0.3000 (0.2000 to 0.4000), false match rate 0.01 (at most 0.02), "
        "false non-match rate 0.03 (at most 0.04)"
    )


def test_faces(run: Any, files: dict[str, str]) -> None:
    """`faces` prints each photograph and its faces, the largest first."""
    status, out, err = run("faces", files["two"], files["one"])
    lines = out.splitlines()
    assert (status, err, len(lines)) == (0, "", 5)
    assert lines[0].endswith(", 2 faces")
    assert lines[1].startswith("  #0 score ")
    assert "; left eye " in lines[1]
    assert lines[3] == f"{files['one']}: 480×480, 1 face"


def test_faces_json(run: Any, files: dict[str, str]) -> None:
    """Its JSON has the contract's names."""
    status, out, _ = run("faces", files["two"], "--json")
    (row,) = json.loads(out)
    large, small = row.pop("detections")
    assert (status, row) == (0, {"name": files["two"], "width": row["width"], "height": 480})
    assert large["box"]["width"] > small["box"]["width"]
    assert large["landmarks"]["left_eye"]["x"] < large["landmarks"]["right_eye"]["x"]


@pytest.fixture
def sideways(tmp_path: Path, portrait: bytes) -> str:
    """A photograph that has to be turned, and has no EXIF that says so."""
    file = tmp_path / "sideways.jpg"
    with Image.open(io.BytesIO(portrait)) as image:
        image.transpose(Image.Transpose.ROTATE_270).save(file)
    return str(file)


@pytest.mark.parametrize("command", ["faces", "embed --detect", "embed --detect --select all"])
def test_turns(command: str, run: Any, sideways: str) -> None:
    """A photograph on its side is turned, which is said."""
    status, out, _ = run(*command.split(), sideways)
    assert status == 0
    assert "turned clockwise by 270 degrees" in out


def test_turned_in_archive(run: Any, sideways: str, tmp_path: Path) -> None:
    """The .npz tells of a photograph what the JSON does, its turn too."""
    output = tmp_path / "x.npz"
    (row,) = json.loads(run("embed", sideways, "--detect", "--json")[1])
    run("embed", sideways, "--detect", "--output", str(output))
    with np.load(output) as stored:
        assert json.loads(str(stored["detections"][0])) == row["detection"]
    assert row["detection"]["turned_degrees"] == 270


@pytest.mark.parametrize("command", ["embed", "compare", "matrix"])
def test_check_alignment(command: str, run: Any, dark: str) -> None:
    """An aligned face in which nobody is seen is warned of, if that is wanted."""
    flags = ("--check-alignment",)
    assert "misaligned" not in run(command, dark, dark)[2]
    assert (
        "misaligned (distance from an aligned face's landmarks in pixels: 112, limit 6.5)"
        in run(command, dark, dark, *flags)[2]
    )


def test_check_alignment_of_photographs(
    run: Any, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """To look whether photographs are aligned is a usage error."""
    with pytest.raises(SystemExit, match="2"):
        run("embed", files["one"], "--detect", "--check-alignment")
    assert "--check-alignment is for aligned faces" in capsys.readouterr().err


def test_compare_turns(run: Any, files: dict[str, str], sideways: str) -> None:
    """A photograph on its side is compared as if it was upright."""
    flags = ("--detect", "--threshold", "0.9", "--json")
    status, out, _ = run("compare", files["one"], sideways, *flags)
    facts = json.loads(out)
    assert (status, facts["decision"]) == (0, "MATCH")
    assert facts["first"]["detection"]["turned_degrees"] == 0
    assert facts["second"]["detection"]["turned_degrees"] == 270


def test_does_not_turn(run: Any, sideways: str) -> None:
    """It is not turned if that is not wanted."""
    out = run("faces", sideways, "--upright", "as_is")[1]
    assert "turned" not in out


@pytest.mark.parametrize("name", ["none", "junk", "gone"])
def test_faces_nobody(name: str, run: Any, files: dict[str, str]) -> None:
    """One photograph without a face makes the status 1, the others are answered."""
    file = files.get(name, "gone.jpg")
    status, out, err = run("faces", file, files["one"])
    assert status == 1
    assert f"{files['one']}: 480×480, 1 face" in out
    assert f"{file}: " in out + err


def test_faces_without_detector(
    run: Any, files: dict[str, str], blind_server: RunningServer
) -> None:
    """A server without a detector says so for the photograph."""
    status, out, _ = run("faces", files["one"], "--json", address=blind_server.address)
    assert (status, json.loads(out)[0]["error"]["reason"]) == (1, "NO_DETECTOR")


def test_draw_faces(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    """`faces --draw` writes the photograph with something on its faces and nothing elsewhere."""
    output = tmp_path / "drawn.png"
    box = json.loads(run("faces", files["one"], "--json", "--draw", str(output))[1])[0]
    box = box["detections"][0]["box"]
    changed = (cv2.imread(str(output)) != cv2.imread(files["one"])).any(axis=2)
    left, top = round(box["left"]), round(box["top"])
    right, bottom = left + round(box["width"]), top + round(box["height"])
    assert changed[top:bottom, left].mean() > 0.9
    assert changed[top + 10 : bottom - 10, left + 10 : right - 10].any()
    assert not changed[bottom + 10 :].any()


def test_draw_upright(run: Any, tmp_path: Path, couple: bytes) -> None:
    """A photograph is drawn as viewers show it."""
    upright, photo, output = (tmp_path / name for name in ("upright.jpg", "side.jpg", "out.png"))
    upright.write_bytes(couple)
    with Image.open(upright) as image:
        exif = image.getexif()
        exif[ORIENTATION] = SIDEWAYS
        image.transpose(Image.Transpose.ROTATE_90).save(photo, exif=exif, quality=95)
    (row,) = json.loads(run("faces", str(photo), "--json", "--draw", str(output))[1])
    difference = np.abs(cv2.imread(str(output)).astype(int) - cv2.imread(str(upright)))
    assert difference.shape[1::-1] == (row["width"], row["height"])
    assert np.median(difference) < 5
    assert len(row["detections"]) == 2


def test_draw_deep_grey(run: Any, tmp_path: Path, portrait: bytes) -> None:
    """A photograph in 16 bits of grey does not turn white."""
    photo, output = tmp_path / "deep.png", tmp_path / "out.png"
    grey = cv2.imdecode(np.frombuffer(portrait, np.uint8), cv2.IMREAD_GRAYSCALE)
    grey = cv2.resize(grey, (240, 240), interpolation=cv2.INTER_AREA)
    photo.write_bytes(encode(grey.astype(np.uint16) * 256))
    assert run("faces", str(photo), "--draw", str(output))[0] == 0
    drawn = cv2.imread(str(output), cv2.IMREAD_GRAYSCALE)
    assert np.median(np.abs(drawn.astype(int) - grey)) <= 1


def test_draw_heic(run: Any, tmp_path: Path, portrait: bytes) -> None:
    """A HEIC is drawn too, turned as it says."""
    photo, output = tmp_path / "side.heic", tmp_path / "out.png"
    with Image.open(io.BytesIO(portrait)) as image:
        exif = image.getexif()
        exif[ORIENTATION] = SIDEWAYS
        turned = pillow_heif.from_pillow(image.transpose(Image.Transpose.ROTATE_90))
        turned.save(photo, exif=exif.tobytes(), quality=95)
        upright = np.asarray(image.convert("RGB"))[..., ::-1]
    assert run("faces", str(photo), "--draw", str(output))[0] == 0
    assert np.median(np.abs(cv2.imread(str(output)).astype(int) - upright)) < 5


def test_draw_with_xmp(run: Any, tmp_path: Path, portrait: bytes) -> None:
    """An orientation that only XMP has turns the drawn photograph no more than the searched one."""
    photo, output = tmp_path / "xmp.png", tmp_path / "out.png"
    with Image.open(io.BytesIO(portrait)) as image:
        upright = image.convert("RGB").resize((300, 240))
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    upright.save(photo, pnginfo=texts)
    run("faces", str(photo), "--draw", str(output))
    assert np.median(cv2.imread(str(output)) != cv2.imread(str(photo))) == 0


@pytest.mark.parametrize(("command", "flag"), [("faces", "--draw"), ("matrix", "--output")])
def test_picture_over_input(command: str, flag: str, run: Any, tmp_path: Path) -> None:
    """No picture takes the place of the photograph that it is of."""
    photo, link = tmp_path / "photo.png", tmp_path / "link.png"
    photo.write_bytes(b"only one of it")
    link.symlink_to(photo)
    status, out, err = run(command, str(photo), flag, str(link))
    assert (status, out, photo.read_bytes()) == (2, "", b"only one of it")
    assert f"the output {link} is one of the files that are read" in err


def test_matrix_of_odd_names(run: Any, tmp_path: Path, faces: list[Any]) -> None:
    """Nothing is said of letters that the picture's font lacks."""
    file = tmp_path / "日本.png"
    file.write_bytes(encode(faces[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run("matrix", str(file), "--output", str(tmp_path / "m.png"))[0] == 0


def test_matrix_of_two_models(
    run: Any, tmp_path: Path, faces: list[Any], tampered: Callable[[Callable[[Any], Any]], str]
) -> None:
    """Embeddings are not compared with those of a model that a server gets meanwhile."""
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, face in zip(files, faces, strict=False):
        file.write_bytes(encode(face))

    def replaced(message: Any) -> Any:
        if isinstance(message, pb.EmbedStreamResponse) and message.id == "1":
            message.result.embedding.space = "another"
        return message

    status, out, err = run("matrix", *map(str, files), address=tampered(replaced))
    assert (status, out) == (2, "")
    assert "the server got another model meanwhile: embeddings of another and " in err


def test_draw_nobody(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    """A photograph without faces is written as it is."""
    output = tmp_path / "drawn.png"
    assert run("faces", files["none"], "--draw", str(output))[0] == 1
    np.testing.assert_array_equal(cv2.imread(str(output)), cv2.imread(files["none"]))


def test_draw_several(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    """There is one picture, so one photograph."""
    output = tmp_path / "drawn.png"
    status, out, err = run("faces", files["one"], files["two"], "--draw", str(output))
    assert (status, out, output.exists()) == (2, "", False)
    assert "--draw takes exactly one photograph, not 2" in err


@pytest.mark.usefixtures("no_matplotlib")
@pytest.mark.parametrize(("command", "flag"), [("faces", "--draw"), ("matrix", "--output")])
def test_missing_matplotlib(
    command: str, flag: str, run: Any, files: dict[str, str], tmp_path: Path
) -> None:
    """Without Matplotlib the error says how to get it, before any work."""
    status, out, err = run(command, files["one"], flag, str(tmp_path / "x.png"))
    assert (status, out) == (2, "")
    assert "pip install 'face-embedding[plot]'" in err


@pytest.mark.usefixtures("no_matplotlib")
def test_no_need_for_matplotlib(run: Any, files: dict[str, str]) -> None:
    """Without pictures nothing needs it."""
    assert run("faces", files["one"])[0] == 0


@pytest.mark.parametrize(("command", "flag"), [("faces", "--draw"), ("matrix", "--output")])
def test_bad_picture(
    command: str, flag: str, run: Any, files: dict[str, str], tmp_path: Path
) -> None:
    """A picture that is no PNG is refused before any work."""
    status, out, err = run(command, files["one"], flag, str(tmp_path / "x.jpg"))
    assert (status, out) == (2, "")
    assert "has to end with .png" in err


def test_matrix(run: Any, photographs: dict[str, Path]) -> None:
    """`matrix` prints a table with aligned columns."""
    names = ["person00_00", "person02_00", "person02_01"]
    status, out, _ = run("matrix", *(str(photographs[name]) for name in names), "--detect")
    lines = out.splitlines()
    assert (status, lines[0].split(), len({len(line) for line in lines})) == (0, names, 1)
    assert [line.split()[0] for line in lines[1:]] == names
    assert [lines[n + 1].split()[n + 1] for n in range(3)] == ["+1.0000"] * 3


def test_matrix_json(run: Any, photographs: dict[str, Path]) -> None:
    """Its JSON has the names and what `compare` says of each pair."""
    files = [str(photographs[name]) for name in ("person02_00", "person02_01")]
    facts = json.loads(run("matrix", *files, "--detect", "--json")[1])
    compared = json.loads(run("compare", *files, "--detect", "--json")[1])["cosine_similarity"]
    assert facts["names"] == files
    rows = facts["cosine_similarity"]
    assert rows[0][1] == rows[1][0] == pytest.approx(compared, abs=1e-5)


def test_matrix_leaves_out(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    """Files that fail are reported and left out, and the status is 1."""
    photos = [files["one"], files["none"], str(tmp_path / "gone.jpg")]
    status, out, err = run("matrix", *photos, "--detect", "--json")
    assert status == 1
    assert json.loads(out) == {"names": [files["one"]], "cosine_similarity": [[pytest.approx(1)]]}
    assert [line.split(":")[0] for line in err.splitlines()] == photos[1:]


def test_matrix_of_nothing(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    """Without any embedding there is neither a table nor a picture."""
    output = tmp_path / "x.png"
    status, out, _ = run("matrix", files["junk"], "--detect", "--output", str(output))
    assert (status, out, output.exists()) == (1, "", False)


@pytest.mark.parametrize("count", [1, 3, 21])
def test_matrix_picture(count: int, run: Any, tmp_path: Path, faces: list[Any]) -> None:
    """`matrix --output` draws a heat map, whatever the names are."""
    files = [tmp_path / f"$a_{number}$.png" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(encode(faces[number % len(faces)]))
    output = tmp_path / "matrix.png"
    assert run("matrix", *map(str, files), "--output", str(output))[0] == 0
    assert min(cv2.imread(str(output)).shape[:2]) > 300


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["/a/b/x.png", "/a/b/y.png"], ["x", "y"]),
        (["/a/b/x.png", "/a/c/x.png"], ["b/x", "c/x"]),
        (["/a/x.png", "/a/x.jpg"], ["x.png", "x.jpg"]),
        (["/a/x.png", "/a/x.png"], ["x", "x"]),
        (["photograph-of-a-face-17.png"], ["photo…ace-17"]),
        ([], []),
    ],
    ids=["names", "folders", "suffixes", "twice", "long", "none"],
)
def test_short_names(names: list[str], short: list[str]) -> None:
    """Names in a table are short, and different where the files are."""
    assert matrix.short_names(names, 12) == short


def test_draw_odd_name(run: Any, portrait: bytes, tmp_path: Path) -> None:
    """A name that is no UTF-8 can be in a picture too."""
    file, output = tmp_path / os.fsdecode(b"\xff.jpg"), tmp_path / "matrix.png"
    file.write_bytes(portrait)
    (tmp_path / "b.jpg").write_bytes(portrait)
    names = [str(file), str(tmp_path / "b.jpg")]
    assert run("matrix", *names, "--detect", "--output", str(output), "--json")[0] == 0
    assert output.exists()


def test_several_at_a_time(
    run: Any, files: dict[str, str], tampered: Callable[[Callable[[Any], Any]], str]
) -> None:
    """With all faces several photographs are under way at a time."""
    both = threading.Barrier(2, timeout=60)

    def together(answer: Any) -> Any:
        if isinstance(answer, pb.EmbedResponse):
            both.wait()
        return answer

    flags = ("--detect", "--select", "all", "--json")
    status, out, _ = run("embed", files["one"], files["two"], *flags, address=tampered(together))
    names = [row["name"] for row in json.loads(out)]
    assert (status, names) == (
        0,
        [f"{files['one']}#0", f"{files['two']}#0", f"{files['two']}#1"],
    )


def test_answered_beside_a_failure() -> None:
    """What was answered at the same time is not lost with an error that ends the command."""
    failed: Future[Any] = Future()
    failed.set_exception(UsageError("the end"))
    answered: Future[Any] = Future()
    answered.set_result("an answer")
    results = embed._results([failed, answered])
    assert next(results) == "an answer"
    with pytest.raises(UsageError, match="the end"):
        next(results)
