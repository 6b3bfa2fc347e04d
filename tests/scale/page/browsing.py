"""The gateway with its page, as `make gateway` runs it, and the page in a browser."""

import base64
import contextlib
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from face_embedding_server.faces.images import Image
from support import MOBILE, wait_until
from support.processes import free_port

ROOT = Path(__file__).parents[3]
GATEWAY = ROOT / "deploy" / "gateway" / "on_loopback.py"
TOKEN = "a-token-of-the-tests"  # noqa: S105  # No secret.
_TIMEOUT_S = 60
# No sandbox: as root there is none. A machine may have little shared memory.
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars")


@contextlib.contextmanager
def gateway(store: Path, *server_flags: str, metrics: bool = False) -> Iterator[str]:
    """Run a server and Envoy before it until the block ends; yield the address, `HOST:PORT`."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, str(GATEWAY), "--store", str(store), "--model", MOBILE]
    command += ["--port", address.rpartition(":")[2], *(["--metrics"] if metrics else [])]
    with subprocess.Popen([*command, "--", *server_flags], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(f"http://{address}/v1/models", process))
            yield address
        finally:
            process.terminate()
            process.wait(_TIMEOUT_S)


def _answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "the gateway ended, and has said why"
    try:
        urllib.request.urlopen(url, timeout=_TIMEOUT_S).close()  # noqa: S310  # It is our own.
    except urllib.error.HTTPError as error:
        # Who is not let in has an answer too.
        return error.code == 401
    except OSError:
        return False
    return True


@contextlib.contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Run Chromium without a window, as Debian has it, until the block ends."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    missing = "there is no Chromium here: apt-get install chromium chromium-driver"
    assert program, missing
    assert driver, missing
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


class Page:
    """The page in a browser, and what a person sees and does there."""

    def __init__(self, chrome: webdriver.Chrome, address: str) -> None:
        self.chrome = chrome
        self.resize(1000, is_phone=False)
        self.prefer("light")
        self.requests()
        chrome.get(f"http://{address}/page/")
        wait_until(lambda: bool(self.text("[data-fact=version]") or self.text("#problem")))

    def prefer(self, scheme: str) -> None:
        """Have the system prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def resize(self, width: int, *, is_phone: bool) -> None:
        """Have a window, or a telephone, of this width in pixels."""
        size = {"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": is_phone}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def connect(self, *, is_offline: bool) -> None:
        """Cut the browser off, or connect it again."""
        conditions = {"offline": is_offline, "latency": 0, "downloadThroughput": -1}
        self.chrome.execute_cdp_cmd("Network.enable", {})
        self.chrome.execute_cdp_cmd(
            "Network.emulateNetworkConditions", {**conditions, "uploadThroughput": -1}
        )

    def add(self, *files: Path) -> None:
        """Choose photographs, and wait until each has its answer."""
        self.one("#files").send_keys("\n".join(str(file.resolve()) for file in files))
        self.wait_for(len(files))

    def wait_for(self, photographs: int) -> None:
        """Wait until at least so many photographs are there and have their answers."""
        wait_until(lambda: len(self.all(".photograph")) >= photographs)
        # Of a picture that is shown its size is known.
        pending = "[aria-busy=true], .picture:not([hidden]) svg:not([viewBox])"
        wait_until(lambda: not self.all(pending))

    def all(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What is seen of an element; nothing if it is hidden."""
        return self.one(selector).text

    def texts(self, selector: str) -> list[str]:
        return [each.text for each in self.all(selector)]

    def photograph(self, file: Path) -> WebElement:
        """The part of the page about a file."""
        (found,) = (
            each
            for each in self.all(".photograph")
            if each.find_element(By.TAG_NAME, "h3").text == file.name
        )
        return found

    def numbers(self, selector: str, names: Sequence[str]) -> list[list[float]]:
        """Attributes of all elements that a selector finds."""
        return [
            [float(each.get_attribute(name) or "nan") for name in names]
            for each in self.all(selector)
        ]

    def run(self, script: str, *arguments: object) -> Any:
        """Return what the body of an asynchronous function returns; its arguments are `args`."""
        wrapped = (
            "const args = [...arguments]; const done = args.pop();"
            f"(async () => {{ {script} }})()"
            ".then((value) => done({ value }), (error) => done({ error: String(error) }));"
        )
        answer = self.chrome.execute_async_script(wrapped, *arguments)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def crop(self, canvas: WebElement) -> Image:
        """The pixels of an aligned face that is shown, uint8 BGR."""
        read = """
            const { width, height } = args[0];
            const { data } = args[0].getContext('2d').getImageData(0, 0, width, height);
            return { width, height, data: btoa(String.fromCharCode(...data)) };
        """
        made = self.run(read, canvas)
        pixels = np.frombuffer(base64.b64decode(made["data"]), np.uint8)
        crop: Image = pixels.reshape(made["height"], made["width"], 4)[..., 2::-1]
        return crop

    def requests(self) -> list[str]:
        """The addresses that this page has asked for, or since this was last asked."""
        events = [json.loads(entry["message"]) for entry in self.chrome.get_log("performance")]
        return [
            event["message"]["params"]["request"]["url"]
            for event in events
            if event["message"]["method"] == "Network.requestWillBeSent"
        ]
