"""Photographs the page with three portraits: `make screenshot`."""

import argparse
import base64
import io
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from browsing import Page, browser, gateway
from PIL import Image

from support import MOBILE

# Enough for photographs of this size; the README's pictures are small.
COLOURS = 200
WIDTH, MARGIN, SCALE = 1088, 16, 0.85


def main() -> None:
    """Serve the trained MobileFaceNet with operating points, and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the test data")
    parser.add_argument("--photographs", type=Path, required=True, nargs="+")
    parser.add_argument("--output", type=Path, required=True, help="a PNG file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, calibration = Path(folder) / "store", Path(folder) / "calibration.json"
        weights = options.data / "models" / "model-y1.zip"
        run("models", "import", MOBILE, weights, "--store", store)
        lfw = options.data / "lfw"
        pairs = ["--pairs", lfw / "pairs_aligned.csv", "--images", lfw / "aligned"]
        run("calibrate", "--model", MOBILE, "--store", store, *pairs, "--output", calibration)
        with gateway(store, "--calibration", str(calibration)) as address, browser() as chrome:
            take(Page(chrome, address), options.photographs, options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")  # noqa: T201  # a command


def take(page: Page, photographs: Sequence[Path], output: Path) -> None:
    """Write a picture of the page with photographs, down to the last of them, as PNG."""
    page.resize(WIDTH, is_phone=False)
    files = [file.resolve() for file in photographs]
    page.add(*files)
    # Once more, as the first of a size makes the detector ready for it.
    page.one("#clear").click()
    page.add(*files)
    page.run("document.activeElement.blur();")
    place = page.one("#photographs").rect
    height = place["y"] + place["height"] + MARGIN
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height, "scale": SCALE}
    options = {"captureBeyondViewport": True, "clip": clip}
    picture = page.chrome.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
    with Image.open(io.BytesIO(base64.b64decode(picture))) as whole:
        whole.convert("RGB").quantize(COLOURS).save(output, optimize=True)


def run(*arguments: object) -> None:
    """Run a command of the server."""
    command = [sys.executable, "-m", "face_embedding_server", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
