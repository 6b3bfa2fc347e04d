"""Fixtures: two gateways, a browser, the page in it, and photographs."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browsing import TOKEN, Page, browser, gateway
from selenium import webdriver

from face_embedding_client import FaceEmbeddingClient
from face_embedding_models.store import Store
from support import MOBILE


@pytest.fixture(scope="session")
def calibration(
    trained_store: Store, test_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Operating points of the trained model, from the pairs of the test data."""
    file = tmp_path_factory.mktemp("calibration") / "calibration.json"
    folder = test_data / "faces"
    command = [sys.executable, "-m", "face_embedding_server", "calibrate", "--model", MOBILE]
    command += ["--store", trained_store.root, "--pairs", folder / "pairs.csv"]
    command += ["--images", folder / "aligned", "--output", file]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return file


@pytest.fixture(scope="session")
def address(trained_store: Store, calibration: Path) -> Iterator[str]:
    """A gateway that passes metrics on, before a trained model with operating points."""
    flags = ["--calibration", str(calibration)]
    with gateway(trained_store.root, *flags, metrics=True) as address:
        yield address


@pytest.fixture(scope="session")
def bare_address(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway before a stand-in that asks for a token, and has nothing else."""
    access = tmp_path_factory.mktemp("access") / "access.toml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    access.write_text(f'[tester]\npermissions = ["embed"]\ntokens = [{{ sha256 = "{digest}" }}]\n')
    flags = ["--access", str(access), "--allow-plaintext-tokens", "true", "--detector", "none"]
    with gateway(store.root, *flags) as address:
        yield address


@pytest.fixture(scope="session")
def chrome() -> Iterator[webdriver.Chrome]:
    """Chromium."""
    with browser() as chrome:
        yield chrome


@pytest.fixture
def page(chrome: webdriver.Chrome, address: str) -> Page:
    """The page of the first gateway, just opened."""
    return Page(chrome, address)


@pytest.fixture
def bare_page(chrome: webdriver.Chrome, bare_address: str) -> Page:
    """The page of the other one, just opened."""
    return Page(chrome, bare_address)


@pytest.fixture(scope="session")
def asked(address: str) -> Iterator[FaceEmbeddingClient]:
    """Our own client, through the first gateway."""
    with FaceEmbeddingClient(address) as client:
        yield client


@pytest.fixture(scope="session")
def people(test_data: Path) -> list[Path]:
    """Two photographs of one person, and one of another."""
    names = ("person00_00", "person00_01", "person01_00")
    return [test_data / "faces" / "photos" / f"{name}.jpg" for name in names]


@pytest.fixture(scope="session")
def group(people: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph with two people beside each other."""
    file = tmp_path_factory.mktemp("group") / "group.png"
    sides = [cv2.resize(cv2.imread(str(each)), (360, 480)) for each in (people[0], people[2])]
    cv2.imwrite(str(file), np.hstack(sides))
    return file
