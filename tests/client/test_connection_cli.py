"""The options of the command that say how to reach the server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from face_embedding_models.store import Store
from support import MOBILE, Identity, RunningServer, running_server, small_settings


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    return file


def test_ca(run: Any, tls_server: RunningServer, ca_file: Path) -> None:
    """`--ca` speaks TLS."""
    assert run("health", "--ca", str(ca_file), address=tls_server.address)[:2] == (0, "SERVING\n")


def test_tls(
    run: Any, tls_server: RunningServer, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--tls` trusts what the system trusts."""
    assert run("health", "--tls", address=tls_server.address)[0] == 1
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    assert run("health", "--tls", address=tls_server.address)[0] == 0


def test_server_name(run: Any, tls_server: RunningServer, ca_file: Path) -> None:
    """`--server-name` is what the certificate has to be for."""
    flags = ("health", "--ca", str(ca_file), "--server-name")
    assert run(*flags, "localhost", address=tls_server.address)[0] == 0
    status, out, err = run(*flags, "elsewhere", address=tls_server.address)
    assert (status, out) == (1, "UNREACHABLE\n")
    assert "is for another name" in err


def test_client_certificate(
    run: Any,
    store: Store,
    authority: trustme.CA,
    ca_file: Path,
    identity: Identity,
    issue: Callable[..., Identity],
) -> None:
    """`--certificate` and `--key` prove the caller."""
    own = issue(authority, "search")
    flags = ("--ca", str(ca_file), "--certificate", str(own.certificate), "--key", str(own.key))
    settings = small_settings(store, **identity.settings(), tls_client_ca=ca_file)
    with running_server(settings) as running:
        assert run("health", *flags, address=running.address)[0] == 0
        assert run("health", *flags[:2], address=running.address)[0] == 1


@pytest.mark.parametrize("option", ["--ca", "--certificate", "--key", "--token-file"])
def test_unreadable_file(option: str, run: Any, tmp_path: Path) -> None:
    """A file that cannot be read is an error that names it and its option."""
    missing = tmp_path / "missing.pem"
    status, out, err = run("health", option, str(missing))
    assert (status, out) == (2, "")
    assert err == (
        f"face-embedding: error: {option}: {missing} cannot be read: No such file or directory\n"
    )


def test_no_pem(run: Any, token_file: Path) -> None:
    """A file that is no PEM is an error."""
    status, _, err = run("health", "--ca", str(token_file))
    assert (status, err) == (
        2,
        "face-embedding: error: the ca is no PEM: it has no line with BEGIN\n",
    )


def test_certificate_without_key(run: Any, identity: Identity) -> None:
    """So is a certificate without its key."""
    status, _, err = run("health", "--certificate", str(identity.certificate))
    assert status == 2
    assert "given together" in err


def test_token_without_tls(run: Any, token_file: Path) -> None:
    """A token is not sent in plaintext unless that is allowed."""
    flags = ("health", "--token-file", str(token_file))
    status, _, err = run(*flags)
    assert status == 2
    assert "without TLS a token can be read on its way" in err
    assert run(*flags, "--allow-plaintext-token")[0] == 0


def test_token_file_by_variable(
    run: Any, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable names the token's file too."""
    monkeypatch.setenv("FACE_EMBEDDING_TOKEN_FILE", str(token_file))
    assert run("health")[0] == 2
    assert run("health", "--allow-plaintext-token")[0] == 0
    monkeypatch.setenv("FACE_EMBEDDING_TOKEN_FILE", "")
    assert run("health")[0] == 0


@pytest.mark.parametrize(
    ("content", "words"), [("\n", "is empty"), ("a b", "other than visible ASCII")]
)
def test_bad_token_file(content: str, words: str, run: Any, token_file: Path) -> None:
    """A file that holds no token is an error, which does not print what it holds."""
    token_file.write_text(content)
    status, _, err = run("health", "--token-file", str(token_file), "--allow-plaintext-token")
    assert status == 2
    assert words in err
    assert "a b" not in err


def test_model(run: Any) -> None:
    """`--model` names a model of the server."""
    assert run("info", "--model", MOBILE)[0] == 0
    status, _, err = run("info", "--model", "other")
    assert status == 2
    assert "not 'other'" in err
