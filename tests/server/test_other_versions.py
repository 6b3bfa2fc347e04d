"""Files of an operator that were written for an earlier version of the server, or a later one."""

import json
from pathlib import Path

import pytest

from face_embedding_server import settings
from face_embedding_server.inference import operating_points
from face_embedding_server.inference.operating_points import CalibrationError
from face_embedding_server.security.access import Access, AccessError
from face_embedding_server.settings import SettingsError

FIRST_SETTINGS = """
model = "face-recognition-resnet34-arcface"
backend = "openvino"
precision = "f32"
address = "127.0.0.1:50051"
store = "/var/lib/face-embedding"
max_faces_per_request = 64
max_message_bytes = 16777216
max_encoded_bytes = 10485760
max_stream_in_flight = 32
drain_s = 1.0
grace_s = 30.0
"""
FIRST_ACCESS = """
[search]
permissions = ["embed", "compare"]
certificates = ["search.example.org"]
[operator]
permissions = ["info"]
certificates = ["operator.example.org"]
"""
FIRST_CALIBRATION = {
    "space": "model/0123456789abcdef/fc1",
    "same_pairs": 300,
    "different_pairs": 900,
    "operating_points": [
        {
            "name": "fmr-1e-2",
            "threshold": 0.4,
            "threshold_low": 0.35,
            "threshold_high": 0.45,
            "false_match_rate": 0.01,
            "false_match_rate_high": 0.02,
            "false_non_match_rate": 0.01,
            "false_non_match_rate_high": 0.02,
        }
    ],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def read_access(path: Path) -> Access:
    return Access(path, takes_tokens=True, takes_certificates=True)


def test_first_settings(path: Path) -> None:
    """All settings of the first version are there, and those since have defaults."""
    path.write_text(FIRST_SETTINGS)
    assert settings.load({"config": path}, {}).model == "face-recognition-resnet34-arcface"


def test_later_settings(path: Path) -> None:
    """A setting of a later version is refused by its name: the server would not do what it says."""
    path.write_text(FIRST_SETTINGS + "later_s = 1\n")
    with pytest.raises(SettingsError, match="file sets 'later_s', which is not a setting; known"):
        settings.load({"config": path}, {})


def test_first_access(path: Path) -> None:
    """An access file of the first version that had some is taken."""
    path.write_text(FIRST_ACCESS)
    read_access(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('permissions = ["later"]', r"later\.permissions\.\S+: Input should be 'embed', 'comp"),
        ('permissions = []\nonly_from = ["::1"]', r"later\.only_from: Extra inputs are not perm"),
    ],
    ids=["permission", "key"],
)
def test_later_access(path: Path, more: str, message: str) -> None:
    """What a later version may say of a caller is refused: it may be what restricts it."""
    path.write_text(f"{FIRST_ACCESS}[later]\n{more}\n")
    with pytest.raises(AccessError, match=message):
        read_access(path)


def test_first_calibration(path: Path) -> None:
    """A calibration of the first version that made some is read."""
    path.write_text(json.dumps(FIRST_CALIBRATION, indent=2) + "\n")
    assert operating_points.read(path).get("fmr-1e-2").threshold == 0.4


def test_later_calibration(path: Path) -> None:
    """A key of a later version is refused: decisions may depend on it."""
    path.write_text(json.dumps(FIRST_CALIBRATION | {"of_backend": "openvino"}))
    with pytest.raises(CalibrationError, match=r"or of a later version \(of_backend: .* make it"):
        operating_points.read(path)


def test_calibration_that_lacks_something(path: Path) -> None:
    """A calibration without a key is refused by that key, as nothing stands for what it lacks."""
    path.write_text(json.dumps({k: v for k, v in FIRST_CALIBRATION.items() if k != "space"}))
    with pytest.raises(CalibrationError, match="space: Field required"):
        operating_points.read(path)
