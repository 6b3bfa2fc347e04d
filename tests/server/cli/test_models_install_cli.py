"""`face-embedding-server models install` and `import`, with hosts on this machine."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from face_embedding_models import manifest
from face_embedding_models.errors import StoreError
from face_embedding_models.installing import importing
from face_embedding_models.store import Store
from face_embedding_server.faces import detectors
from support import MOBILE
from support.hosts import Answer, Hosts
from support.made_weights import EMBEDDING_SIZE, OWN, listed, onnx_of, own_toml, sha256, zipped
from support.own_model import NETWORK, facts, tree, write_manifest

# So large that a transfer of it can break off: zip archives may end with a comment.
PACK = zipped(
    {"pack/own.onnx": NETWORK, "pack/detector.onnx": b"no network", "x": os.urandom(99_999)}
)
MUST_BE_ACCEPTED = [n for n in manifest.names() if manifest.load(n).license.must_be_accepted]
FREE = [name for name in manifest.names() if name not in MUST_BE_ACCEPTED]


@pytest.mark.parametrize("name", MUST_BE_ACCEPTED)
def test_terms(run: Any, root: Path, hosts: Hosts, name: str) -> None:
    """Terms that have to be accepted are told, with their address, and nothing is fetched."""
    status, _, err = run("install", name, "--from", hosts.url("/x"))
    terms = manifest.load(name).license
    assert (status, hosts.requests, tree(root)) == (2, [], {})
    assert f"{terms.terms} Stated at {terms.stated_at}. If you accept them, add --acc" in err


@pytest.mark.parametrize("name", [*FREE, *manifest.detector_names()])
def test_free(run: Any, hosts: Hosts, name: str) -> None:
    """Weights under a free licence are fetched without a question."""
    status, _, err = run("install", name, "--from", hosts.url("/x"))
    assert (status, len(hosts.requests), "404" in err) == (2, 1, True)


def test_acceptance(run: Any, hosts: Hosts, test_data: Path) -> None:
    """Which terms of the published MobileFaceNet were accepted, and when, is shown."""
    data = (test_data / "models" / "model-y1.zip").read_bytes()
    url = hosts.url("/y1.zip", Answer(data))
    installed = facts(run, "install", MOBILE, "--from", url, "--accept-license")
    shown = facts(run, "show", MOBILE)
    assert (installed["origin"], shown["origin"]) == ("published", "published")
    assert shown["license_accepted"].startswith("non-commercial: The authors, InsightFace")
    assert shown["license_accepted_at"].startswith("20")


def test_acceptance_after_an_import(run: Any, test_data: Path) -> None:
    """Weights that were imported, which asks for nothing, are installed by accepting the terms."""
    facts(run, "import", MOBILE, str(test_data / "models" / "model-y1.zip"))
    refused, _, _ = run("install", MOBILE)
    accepted = facts(run, "install", MOBILE, "--accept-license")
    assert (refused, accepted["origin"]) == (2, "published")
    assert "license_accepted_at" in facts(run, "show", MOBILE)


def test_import_of_terms(run: Any) -> None:
    """An import tells the terms, and asks nothing."""
    _, out, err = run("import", MOBILE, "/nowhere")
    assert "licence of the weights: non-commercial. The authors" in err
    assert manifest.load(MOBILE).license.stated_at in err
    assert out == ""


def test_own_model(run: Any, own: str) -> None:
    """A model of a user's own is installed from the address in its manifest, and listed."""
    assert facts(run, "install", OWN, "--manifest", own)["origin"] == "published"
    (row,) = [row for row in facts(run, "list") if row["name"] == OWN]  # type: ignore[attr-defined]
    assert row["embedding_size"] == EMBEDDING_SIZE
    assert (row["format"], row["license"], row["in_store"]) == ("onnx", "MIT", True)


def test_own_model_again(run: Any, own: str, tmp_path: Path) -> None:
    """Its manifest is kept: later imports need none."""
    run("install", OWN, "--manifest", own)
    (tmp_path / "again.onnx").write_bytes(NETWORK)
    assert facts(run, "import", OWN, str(tmp_path / "again.onnx"))["origin"] == "published"


def test_installed_already(run: Any, own: str, hosts: Hosts) -> None:
    """What is installed already is not fetched again."""
    run("install", OWN, "--manifest", own)
    status, _, err = run("install", OWN)
    assert (status, len(hosts.requests)) == (0, 1)
    assert "is installed already" in err


def test_changed_manifest(run: Any, own: str, tmp_path: Path, hosts: Hosts) -> None:
    """A model whose manifest was changed is installed again, and has another version."""
    before = facts(run, "install", OWN, "--manifest", own)["version"]
    changed = write_manifest(
        tmp_path, own_toml(NETWORK, hosts.url("/own.onnx"), extra="mean = 1.0")
    )
    assert facts(run, "install", OWN, "--manifest", changed)["version"] != before


@pytest.mark.parametrize("name", [MOBILE, "yunet"])
def test_shipped_name(run: Any, tmp_path: Path, name: str) -> None:
    """A name that is shipped cannot be given to another model."""
    path = write_manifest(tmp_path, own_toml(NETWORK, name=name))
    status, _, err = run("install", name, "--manifest", path)
    assert (status, "choose another name" in err) == (2, True)


def test_no_digest(run: Any, tmp_path: Path, hosts: Hosts, root: Path) -> None:
    """A model of unknown digest needs --allow-unverified, and is called unverified."""
    text = own_toml(NETWORK, hosts.url("/own.onnx", Answer(NETWORK)), digest=False)
    command = ("install", OWN, "--manifest", write_manifest(tmp_path, text))
    status, _, err = run(*command)
    assert (status, "add --allow-unverified" in err, tree(root)) == (2, True, {})
    assert facts(run, *command, "--allow-unverified")["origin"] == "unverified"


def test_member(run: Any, own: str, hosts: Hosts, root: Path) -> None:
    """Of an archive with other networks, the one that the manifest names is taken."""
    url = hosts.url("/pack.zip", Answer(PACK))
    assert facts(run, "install", OWN, "--manifest", own, "--from", url)["origin"] == "published"
    assert Store(root).get(OWN).read_onnx_file() == NETWORK


def test_no_network(run: Any, tmp_path: Path, hosts: Hosts, root: Path) -> None:
    """A file with the digest of the manifest that is no network leaves the store as it was."""
    text = own_toml(b"junk", hosts.url("/own.onnx", Answer(b"junk")))
    run("install", OWN, "--manifest", write_manifest(tmp_path, text))
    assert not list(root.rglob("*"))


def test_failure(run: Any, own: str, hosts: Hosts, root: Path) -> None:
    """A failed install has status 2, tells what to do, and leaves the store as it was."""
    run("install", OWN, "--manifest", own)
    before = tree(root)
    url = hosts.url("/secret/x.onnx?token=secret1", Answer(onnx_of(1)))
    hosts.url("/secret/x.onnx", Answer(onnx_of(1)))
    status, out, err = run("install", OWN, "--from", url.replace("//", "//me:secret2@"))
    assert (status, out, tree(root)) == (2, "", before)
    assert f"the SHA-256 of own.onnx is {sha256(onnx_of(1))}, not {sha256(NETWORK)}" in err
    assert f"'face-embedding-server models import {OWN} PATH'" in err
    assert "secret1" not in err
    assert "secret2" not in err


@pytest.mark.parametrize("option", ["--connect-timeout-s", "--silence-timeout-s"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e300", "x"])
def test_wrong_timeout(run: Any, option: str, value: str) -> None:
    """A time limit has to be above zero, and below what sockets take."""
    with pytest.raises(SystemExit, match="2"):
        run("install", "sface", option, value)


def test_silence(run: Any, hosts: Hosts) -> None:
    """A host that says nothing is given up after the time that is set."""
    url = hosts.url("/x", Answer(stall=0))
    _, _, err = run("install", "sface", "--from", url, "--silence-timeout-s", "0.2")
    assert "nothing came for 0.2 s" in err


def test_broken_address(run: Any) -> None:
    """An address that is none is an error like others."""
    status, _, err = run("install", "sface", "--from", "http://[broken/x?token=secret")
    assert (status, "secret" in err) == (2, False)


def test_wrong_detector(run: Any, hosts: Hosts, root: Path) -> None:
    """A detector of another digest is refused."""
    status, _, err = run("install", "yunet", "--from", hosts.url("/x.onnx", Answer(NETWORK)))
    assert (status, tree(root)) == (2, {})
    assert "face_detection_yunet_2023mar.onnx has" in err


def test_detector(root: Path, hosts: Hosts, test_data: Path) -> None:
    """A detector that was installed is found without a path."""
    data = (test_data / "models" / "yunet_2026may.onnx").read_bytes()
    files = (listed("other.onnx", data, hosts.url("/y.onnx", Answer(data))),)
    known = dataclasses.replace(manifest.load_detector("yunet"), files=files)
    store = Store(root)
    importing.install(store, known)
    found = detectors.load("yunet", None, store)
    assert found
    assert found.name == "yunet"


def test_no_detector(root: Path) -> None:
    """A detector that was not installed is refused with the command that does."""
    with pytest.raises(StoreError, match="models install yunet"):
        detectors.load("yunet", None, Store(root))


def test_list(run: Any, own: str) -> None:
    """`list` has models, own ones and detectors, with what one chooses by."""
    run("install", OWN, "--manifest", own)
    lines = {line.split()[0]: line for line in run("list")[1].splitlines()}
    heads = [" ".join(lines[name].split()) for name in ("NAME", "buffalo_l", OWN, "yunet")]
    assert heads == [
        "NAME FORMAT MB NUMBERS LFW % IJB-C % LICENCE IN STORE",
        "buffalo_l onnx 288.6 512 99.83 97.25 non-commercial no",
        f"{OWN} onnx - {EMBEDDING_SIZE} - - MIT published",
        "yunet (detector) onnx 0.2 - - - MIT no",
    ]
