"""What goes wrong is said by its name, with what to do about it."""

from pathlib import Path

import cv2
import numpy as np
from browsing import TOKEN, Page
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from support import wait_until


def error_of(page: Page, file: Path) -> str:
    """What is said of a file, where assistive programs read it out at once."""
    return page.photograph(file).find_element(By.CSS_SELECTOR, "[role=alert]").text


def test_refusals(page: Page, people: list[Path], tmp_path: Path) -> None:
    """A photograph that the server refuses says why, and keeps no other from its answer."""
    nobody, text = tmp_path / "nobody.png", tmp_path / "text.jpg"
    cv2.imwrite(str(nobody), np.full((200, 200, 3), 127, np.uint8))
    text.write_text("no photograph")
    page.add(nobody, text, *people[:2])
    assert error_of(page, nobody).startswith("NO_FACE_FOUND: faces[0]")
    assert "Crop the photograph" in error_of(page, nobody)
    assert error_of(page, text).startswith("IMAGE_UNREADABLE: faces[0]")
    assert "Save it as JPEG" in error_of(page, text)
    assert float(page.text("#similarity")) > 0


def test_too_large(page: Page, tmp_path: Path) -> None:
    """A file that is larger than the server takes is not sent."""
    file = tmp_path / "large.jpg"
    file.write_bytes(bytes(17 << 20))
    page.requests()
    page.add(file)
    assert error_of(page, file).startswith("IMAGE_TOO_LARGE: the file has 17825792 bytes")
    assert not [url for url in page.requests() if url.endswith("/v1/embeddings")]


def test_no_gateway(page: Page, people: list[Path]) -> None:
    """If nothing answers that is said, and the photograph can be sent again."""
    page.connect(is_offline=True)
    try:
        page.add(people[0])
    finally:
        page.connect(is_offline=False)
    assert error_of(page, people[0]).startswith("NO_GATEWAY: ")
    page.one(".again").click()
    wait_until(lambda: bool(page.all(".faces li")))
    assert not error_of(page, people[0])


def test_bare_server(bare_page: Page, people: list[Path]) -> None:
    """Without a token, a detector, trained weights or metrics, each is said, or not shown."""
    page = bare_page
    assert page.text("#problem").startswith("CREDENTIALS_MISSING: ")
    page.one("#token").send_keys(TOKEN, Keys.ENTER)
    wait_until(lambda: bool(page.text("[data-fact=version]")))
    assert not page.text("#problem")
    assert "mean nothing" in page.text("#weights")
    assert page.text("[data-fact=detector]") == "none"
    page.add(people[0])
    assert error_of(page, people[0]).startswith("NO_DETECTOR: ")
    assert "--detector mtcnn" in error_of(page, people[0])
    assert not page.text("#live")
    assert len([url for url in page.requests() if url.endswith("/metrics")]) == 1
