"""The page is for everyone who can use a browser, and keeps to itself what it is given."""

import base64
from pathlib import Path

import pytest
import screenshot
from axe_core_python.selenium import Axe
from browsing import Page
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from support.hosts import serving

# What has the focus, and whether that is seen.
FOCUS = """
    const element = document.activeElement;
    const style = getComputedStyle(element.id === 'files' ? element.parentElement : element);
    const label = element.getAttribute('aria-label');
    return {
        name: element.id || label || element.value || element.className,
        isSeen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    };
"""


def press(page: Page, *keys: str) -> str:
    """Press keys; return what has the focus then."""
    ActionChains(page.chrome).send_keys(*keys).perform()
    focus = page.run(FOCUS)
    assert focus["isSeen"], f"nothing shows that {focus['name']} has the focus"
    return str(focus["name"])


def go_to(page: Page, name: str) -> str:
    """Press Tab until something has the focus whose name begins like this."""
    for _ in range(20):
        found = press(page, Keys.TAB)
        if found.startswith(name):
            return found
    pytest.fail(f"the Tab key does not lead to {name}")


def test_keyboard(page: Page, people: list[Path]) -> None:
    """Operating points, pairs and photographs are reached and chosen by keys, which is seen."""
    page.add(*people)
    go_to(page, "files")
    go_to(page, "clear")
    chosen = go_to(page, page.text("#points .chosen").split()[0])
    assert press(page, Keys.ARROW_DOWN) != chosen
    assert page.text("#points .chosen").split()[0] != chosen
    assert go_to(page, "Faces 1 and 2")
    # Over the empty diagonal.
    assert press(page, Keys.ARROW_DOWN).startswith("Faces 3 and 2")
    assert press(page, Keys.ENTER).startswith("Faces 3 and 2")
    assert "Similarity of faces 3 and 2: " in page.text("#status")
    for file in people:
        assert go_to(page, "Remove").endswith(file.name)
    press(page, Keys.ENTER)
    assert page.texts("h3") == [file.name for file in people[:2]]


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_other_ways(page: Page, people: list[Path], way: str) -> None:
    """Photographs can be dropped on the page, and pasted."""
    script = """
        const bytes = Uint8Array.from(atob(args[1]), (letter) => letter.charCodeAt());
        const data = new DataTransfer();
        data.items.add(new File([bytes], 'given.jpg', { type: 'image/jpeg' }));
        const options = { bubbles: true, dataTransfer: data, clipboardData: data };
        const Event = { drop: DragEvent, paste: ClipboardEvent }[args[0]];
        document.body.dispatchEvent(new Event(args[0], options));
    """
    page.run(script, way, base64.b64encode(people[0].read_bytes()).decode())
    page.wait_for(1)
    assert page.texts("h3") == ["given.jpg"]
    assert page.all("rect")


@pytest.mark.parametrize("width", [320, 390])
def test_telephone(page: Page, people: list[Path], group: Path, width: int) -> None:
    """On a telephone nothing is wider than it; tables are scrolled by themselves."""
    page.resize(width, is_phone=True)
    page.add(*people, group, Path(__file__))
    page.run("document.querySelector('details').open = true;")
    assert page.run("return document.documentElement.scrollWidth;") == width
    assert page.run("return innerWidth;") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(page: Page, people: list[Path], group: Path, scheme: str) -> None:
    """In light and dark axe finds no fault: contrast, names, roles, order of headings."""
    page.prefer(scheme)
    page.add(*people, group, Path(__file__))
    page.run("document.querySelector('details').open = true;")
    colour = page.run("return getComputedStyle(document.body).backgroundColor;")
    assert (max(map(int, colour[4:-1].split(","))) < 64) == (scheme == "dark")
    faults = Axe().run(page.chrome)["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in faults] == []


def test_no_other_hosts(page: Page, people: list[Path]) -> None:
    """The page asks nobody but its own host, and its policy lets it ask nobody else."""
    page.add(*people)
    own = page.run("return location.origin;")
    asked = page.requests()
    assert f"{own}/v1/embeddings" in asked
    assert [url for url in asked if not url.startswith((f"{own}/", f"blob:{own}/"))] == []
    with serving() as other:
        script = """
            const image = new Image();
            const ended = new Promise((done) => {
                image.onload = image.onerror = ({ type }) => done(type);
            });
            image.src = args[0];
            return [await ended, await fetch(args[0]).catch(() => 'refused')];
        """
        assert page.run(script, other.url("/picture.png")) == ["error", "refused"]
        assert not other.requests


def test_screenshot(page: Page, people: list[Path], tmp_path: Path) -> None:
    """The picture for the documentation has the page down to the photographs, and is small."""
    file = tmp_path / "page.png"
    screenshot.take(page, people, file)
    with Image.open(file) as picture:
        assert picture.width == round(screenshot.WIDTH * screenshot.SCALE)
        assert picture.height > picture.width / 2
    assert file.stat().st_size < 200_000


def test_nothing_is_kept(page: Page, people: list[Path]) -> None:
    """Photographs and answers are in no storage of the browser."""
    page.add(*people)
    script = """
        return [localStorage.length, sessionStorage.length, document.cookie,
                (await indexedDB.databases()).length, (await caches.keys()).length];
    """
    assert page.run(script) == [0, 0, "", 0, 0]
