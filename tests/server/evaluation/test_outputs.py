"""What an evaluation could not write after all its work is refused before it."""

from pathlib import Path
from typing import Any

import pytest

PAIRS = ("--model", "none", "--pairs", "none.csv", "--images", "none")


@pytest.mark.parametrize("place", [".", "gone/calibration.json", "file/calibration.json"])
def test_calibration(place: str, run: Any, tmp_path: Path) -> None:
    """A calibration is a file, in a folder that is there."""
    (tmp_path / "file").write_text("")
    status, _, err = run("calibrate", *PAIRS, "--output", tmp_path / place)
    assert status == 2
    assert "is no file in a folder that is there" in err


@pytest.mark.parametrize("place", ["file", "file/report"])
def test_report(place: str, run: Any, tmp_path: Path) -> None:
    """A report is a folder, and in none that is a file."""
    (tmp_path / "file").write_text("")
    status, _, err = run("evaluate", *PAIRS, "--output", tmp_path / place)
    assert status == 2
    assert f"{tmp_path / place} is no folder that can be written to" in err


def test_rates(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rates are numbers, which the error says."""
    with pytest.raises(SystemExit):
        run("calibrate", *PAIRS, "--output", tmp_path / "x", "--rates", "1e-2;1e-3")
    assert "'1e-2;1e-3' is no list of rates with commas" in capsys.readouterr().err
