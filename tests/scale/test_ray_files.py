"""What the job on Ray reads and leaves, without a cluster."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_cluster import FOLDER

from face_embedding_client import parquet
from face_embedding_models.store import Store
from face_embedding_server.faces.face import Detect, Selection
from face_embedding_server.inference import threads
from face_embedding_server.settings import Settings
from support import MOBILE, encode, person

sys.path.insert(0, str(FOLDER))
import embed
from on_ray.inputs import Inputs, InputsError
from on_ray.outputs import Output, OutputError
from on_ray.places import PlaceError
from on_ray.worker import Job, Worker

SCHEMA = parquet.schema(4, space="a space", model="a model")


def inputs(uri: str, **changes: object) -> Inputs:
    values = {"uri": uri, "block_images": 2, "image_column": "", "name_column": "", "max_bytes": 9}
    return Inputs(**(values | changes))  # type: ignore[arg-type]


def read(source: Inputs, output: Output) -> list[list[tuple[str, bytes]]]:
    listed = output.begin(source, {})
    return [
        [(name, data()) for name, data in source.items(listed.block(number))]
        for number in range(listed.blocks)
    ]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with three images, and with what is none."""
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for name in ("c.PNG", "b/b.jpg", "a.jpg", "a.txt", ".hidden.jpg"):
        (folder / name).write_bytes(name.encode())
    return folder


def test_folder(images: Path, tmp_path: Path) -> None:
    """The images of a folder and those below it come in the order of their names, in blocks."""
    found = read(inputs(str(images)), Output(str(tmp_path / "out"), "run"))
    assert found == [
        [(f"{images}/a.jpg", b"a.jpg"), (f"{images}/b/b.jpg", b"b/b.jpg")],
        [(f"{images}/c.PNG", b"c.PNG")],
    ]


def test_links(images: Path, tmp_path: Path) -> None:
    """A link to a folder is followed, and one that leads back is not: each image is there once."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.jpg").write_bytes(b"d.jpg")
    (images / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "back").symlink_to(images)
    found = read(inputs(str(images)), Output(str(tmp_path / "out"), "run"))
    names = [name for block in found for name, _ in block]
    assert names == [f"{images}/{name}" for name in ("a.jpg", "b/b.jpg", "c.PNG", "more/d.jpg")]


def test_occupied(images: Path, tmp_path: Path) -> None:
    """A folder with something else is refused, as its parts would be taken for those of the job."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "part-000000.parquet").touch()
    with pytest.raises(
        OutputError, match=r"has something else, such as part-000000\.parquet: give"
    ):
        Output(str(output), "run").begin(inputs(str(images)), {})


def test_put_beside(images: Path, tmp_path: Path) -> None:
    """What somebody puts beside the parts does not count."""
    output = Output(str(tmp_path / "out"), "run")
    output.begin(inputs(str(images)), {})
    output.write(0, [{"file": "a", "error_reason": "WHY"}], SCHEMA)
    (tmp_path / "out" / "README").write_text("faces")
    counts = output.counts()
    assert (counts.rows, counts.failed, len(output.failures(9))) == (1, 1, 1)


def test_two_runs(images: Path, tmp_path: Path) -> None:
    """A run goes on while another ends, which removes all that was not finished."""
    one, other = (Output(str(tmp_path / "out"), name) for name in ("one", "other"))
    for output in (one, other):
        output.begin(inputs(str(images)), {})

    def rows() -> Iterator[dict[str, str]]:
        other.write(0, [{"file": "a", "error_reason": "WHY"}], SCHEMA)
        other.tidy()
        yield {"file": "a", "error_reason": "WHY"}

    one.write(0, rows(), SCHEMA)
    one.write(1, [{"file": "b", "error_reason": "WHY"}], SCHEMA)
    assert one.counts().rows == 2


def test_fsspec(images: Path, tmp_path: Path) -> None:
    """Inputs and results can be where only fsspec reaches: in an archive, and in memory."""
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(images / "a.jpg", "faces/a.jpg")
    output = Output("memory://results", "run")
    found = read(inputs(f"zip://faces::file://{archive}"), output)
    assert found == [[("faces/a.jpg", b"a.jpg")]]
    assert output.missing(1) == [0]
    output.write(0, [{"file": "a", "error_reason": "WHY"}, {"file": "b", "face": 0}], SCHEMA)
    assert output.missing(1) == []
    counts = output.counts()
    assert (counts.rows, counts.failed) == (2, 1)


def test_parquet(tmp_path: Path) -> None:
    """Rows of Parquet files are named by a column, or by their file and number."""
    file = tmp_path / "in" / "x.parquet"
    file.parent.mkdir()
    images = [{"bytes": b"0", "path": "p"}, {"bytes": b"1", "path": "p"}, None]
    pq.write_table(pa.table({"id": [7, 8, 9], "image": images}), file, row_group_size=2)
    named = inputs(str(file.parent), image_column="image", name_column="id")
    output = Output(str(tmp_path / "out"), "run")
    listed = output.begin(named, {})
    assert (listed.images, listed.blocks) == (3, 2)
    names = [name for name, _ in named.items(listed.block(0))]
    assert names == ["7", "8"]
    ((name, data),) = inputs(str(file), image_column="image").items(listed.block(1))
    assert name == f"{file}#2"
    with pytest.raises(OSError, match="there is no image"):
        data()


def test_large_row_group(tmp_path: Path) -> None:
    """Of a row group of 240 MB a part is in memory at a time."""
    file = tmp_path / "large.parquet"
    noise = np.random.default_rng(1)
    images = [noise.bytes(40_000) for _ in range(6000)]
    pq.write_table(pa.table({"image": images}), file, row_group_size=len(images))
    reading = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pyarrow as pa; from on_ray.inputs import Inputs\n"
        "group = {'file': sys.argv[2], 'row_group': 0, 'first_row': 0}\n"
        "inputs = Inputs(sys.argv[2], 1, 'image', '', 1 << 20)\n"
        "read = sum(len(data()) for _, data in inputs.items(pa.Table.from_pylist([group])))\n"
        "print(read, pa.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", reading, str(FOLDER), str(file)]
    read, most = map(int, subprocess.check_output(command).split())
    assert read == 240_000_000
    assert most < 0.6 * read


def test_too_large(images: Path, tmp_path: Path) -> None:
    """No more of a file is read than shows that it is too large."""
    (images / "a.jpg").write_bytes(bytes(1000))
    found = read(inputs(str(images)), Output(str(tmp_path / "out"), "run"))
    assert len(found[0][0][1]) == 10


def test_begun_with_others(images: Path, tmp_path: Path) -> None:
    """Results that were begun with other inputs or on other terms are refused by name."""
    Output(str(tmp_path / "out"), "first").begin(inputs(str(images)), {"space": "one"})
    output = Output(str(tmp_path / "out"), "second")
    with pytest.raises(OutputError, match="was begun with space one, and not two"):
        output.begin(inputs(str(images)), {"space": "two"})
    (images / "d.png").write_bytes(b"")
    with pytest.raises(OutputError, match="they were 3 images; now they are 4"):
        output.begin(inputs(str(images)), {"space": "one"})


def test_unfinished(tmp_path: Path) -> None:
    """A part that fails on its way is not there; after five times in a run the block is refused."""
    output = Output(str(tmp_path / "out"), "run")
    (tmp_path / "out" / "_job" / "pending" / "run").mkdir(parents=True)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            output.write(0, ({"file": str(1 // number)} for number in (1, 0)), SCHEMA)
    assert output.missing(1) == [0]
    with pytest.raises(OutputError, match="whoever embedded block 0 was ended 5 times"):
        output.write(0, [], SCHEMA)
    output.write(1, [], SCHEMA)
    assert output.missing(2) == [0]


@pytest.mark.parametrize(
    ("uri", "error", "words"),
    [
        ("/nowhere", InputsError, "/nowhere does not exist"),
        ("unheard-of://x", PlaceError, "unheard-of://x cannot be reached: Protocol not known"),
    ],
)
def test_nowhere(uri: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    """What cannot be reached or is not there is named."""
    with pytest.raises(error, match=words):
        Output(str(tmp_path / "out"), "run").begin(inputs(uri), {})


def test_no_cluster(
    images: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no cluster listens is named at once."""
    of_model = ["--model", MOBILE, "--store", str(store.root)]
    arguments = [str(images), str(tmp_path / "out"), *of_model, "--address", "127.0.0.1:1"]
    assert embed.main(arguments) == embed.EXIT_ERROR
    assert "the cluster 127.0.0.1:1 cannot be reached: " in capsys.readouterr().err


def test_begun_with_another_detector(
    images: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results that were begun with another detector are refused by name."""
    of_model = ["--model", MOBILE, "--store", str(store.root)]
    arguments = [str(images), str(tmp_path / "out"), *of_model, "--address", "127.0.0.1:1"]
    embed.main([*arguments, "--detect"])
    assert embed.main([*arguments, "--detect", "--detector", "yunet"]) == embed.EXIT_ERROR
    assert "was begun with detector auto, and not yunet: " in capsys.readouterr().err


def test_cores(tmp_path: Path) -> None:
    """Processes that each claim a processor of two have different ones, and no engine has more."""
    claim = (
        "import sys, os; sys.path.insert(0, sys.argv[1]); from on_ray import cores\n"
        "os.sched_setaffinity(0, {0, 1}); cores.claim(1, sys.argv[2])\n"
        "print(*os.sched_getaffinity(0), flush=True); input()"
    )
    command = [sys.executable, "-c", claim, str(FOLDER), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    taken = [each.stdout.readline().strip() for each in both]
    for each in both:
        each.communicate("\n")
    assert sorted(taken) == ["0", "1"]


def test_photographs(store: Store, tmp_path: Path) -> None:
    """All faces of a photograph have a row each with where they are, or are told to be missing."""
    photographs, results = tmp_path / "photographs", tmp_path / "out"
    photographs.mkdir()
    images = {"none": np.zeros((300, 300, 3), np.uint8), "one": person()}
    for name, image in (images | {"two": np.hstack([person(), person()])}).items():
        (photographs / f"{name}.png").write_bytes(encode(image))
    source = inputs(str(photographs), block_images=3, max_bytes=1 << 20)
    output = Output(str(results), "run")
    output.begin(source, {})
    stored = store.get(MOBILE)
    job = Job(
        Settings(model=MOBILE, store=store.root, max_faces_per_request=1),
        source,
        str(results),
        "run",
        Detect(Selection.ALL),
        stored.embedding_space,
        stored.version,
        threads.available_cpus(),
    )
    done = Worker(job)({"block": np.array([0])})
    assert (done["faces"].tolist(), done["failed"].tolist()) == ([2], [2])
    none, one, two, missing = pq.read_table(results / "part-000000.parquet").to_pylist()
    assert none["error_reason"] == "NO_FACE_FOUND"
    assert (one["face"], one["faces_found"], two["faces_found"]) == (0, 1, 2)
    assert one["detection"]["box"]["width"] > 50
    assert np.linalg.norm(one["embedding"]) == pytest.approx(1, abs=1e-5)
    assert missing["error_reason"] == "FACES_MISSING"
