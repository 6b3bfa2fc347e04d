"""Figures and tables in the documentation are those of the code."""

import re

from docs_pages import DOCS, blocks

from face_embedding.open_inference import open_inference_pb2 as oip
from face_embedding.v1 import face_embedding_pb2 as pb
from face_embedding_models import manifest
from face_embedding_server.faces import detectors, quality
from face_embedding_server.faces.alignment import TEMPLATE
from face_embedding_server.faces.detectors.mtcnn import MtcnnDetector
from face_embedding_server.faces.detectors.yunet import YunetDetector
from face_embedding_server.inference import backends
from face_embedding_server.inference.threads import ASIDE, STREAMS
from face_embedding_server.server import SERVICES
from face_embedding_server.settings import Settings

_OURS = "FaceEmbeddingService"


def rows(page: str, first: str) -> dict[str, list[str]]:
    """The rows of the table whose first column has this name, by their first cell."""
    text = (DOCS / page).read_text("utf-8")
    table = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, first
    lines = (line.strip("|\n ").split(" | ") for line in table[1].splitlines())
    return {cells[0].strip("` "): cells[1:] for cells in lines}


def test_models() -> None:
    """The table of models has the models that are known, with the figures of their manifests."""
    table = rows("models.md", "Model")
    assert set(table) == set(manifest.names())
    for name, cells in table.items():
        known = manifest.load(name)
        published = (known.published.lfw_accuracy_percent, known.published.ijbc_tar_percent)
        figures = [f"{value:.2f} %" if value else "–" for value in published]
        numbers = str(known.output.size)
        assert cells == [known.format, numbers, *figures, known.license.name]


def test_own_manifest() -> None:
    """The manifest that is shown is one, with what is commented out as well."""
    (shown,) = (block.text for block in blocks("toml") if block.title == "mine.toml")
    every = re.sub(r"^# (?=\w+ = |\[)", "", shown, flags=re.MULTILINE)
    every = every.replace("https://…", "https://localhost").replace("…", "0" * 64)
    assert manifest.parse(shown).name == "mine"
    known = manifest.parse(every)
    assert known.license.must_be_accepted
    assert known.published.ijbc_tar_percent


def test_warnings() -> None:
    """The table of warnings has each warning with its limit."""
    ranges = [each for each in vars(quality).values() if isinstance(each, quality._Range)]
    ranges += [each for each, _ in quality._OF_LANDMARKS]
    limits = {}
    for each in ranges:
        name = each.reason.name
        low = each.low > float("-inf")
        limits[name] = f"below {each.low:g}" if low else f"above {each.high:g}"
    limits["LOW_NORM"] = "below the model's limit"
    mtcnn, yunet = MtcnnDetector.unsure_score, YunetDetector.unsure_score
    limits["UNSURE"] = f"below {mtcnn:g} with MTCNN, {yunet:g} with YuNet"
    assert {name: cells[-1] for name, cells in rows("preparation.md", "Warning").items()} == limits


def test_detectors() -> None:
    """The table of detectors, and the setting's description, have every one that there is."""
    table = rows("preparation.md", "`detector`")
    assert set(table) == {*detectors.NAMES, detectors.NONE, detectors.AUTO}
    description = Settings.model_fields["detector"].description or ""
    assert [name for name in table if name not in description] == []


def test_backends() -> None:
    """The table of backends, and the setting's description, have every one that there is."""
    table = rows("parity.md", "Backend")
    assert set(table) == set(backends.NAMES)
    description = Settings.model_fields["backend"].description or ""
    assert [name for name in table if name not in description] == []


def test_template() -> None:
    """The table of landmarks is the template that faces are aligned to."""
    table = rows("preparation.md", "Landmark").values()
    assert [tuple(map(float, cells)) for cells in table] == list(map(tuple, TEMPLATE))


def test_permissions() -> None:
    """The table of permissions allows what the server does."""
    v2 = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    allowing: dict[str, set[str]] = {}
    for permission, (methods,) in rows("security.md", "Permission").items():
        for name in re.findall(r"`([A-Z]\w+)`", methods):
            allowing.setdefault(name, set()).add(permission)
    for name, permissions in allowing.items():
        service = (
            v2 if name in v2.methods_by_name else pb.DESCRIPTOR.services_by_name[_OURS]
        ).full_name
        (found,) = (each for each in SERVICES[service] if each.name == name)
        assert found.permissions == permissions


def test_handlers() -> None:
    """The numbers of calls and of streams that are answered at once are the server's."""
    text = (DOCS / "operations.md").read_text("utf-8")
    assert f"{ASIDE} more can wait for their message or for other threads, and {STREAMS}" in text
