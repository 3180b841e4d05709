"""The page of `colorgan app`: its answers over HTTP, and the whole of it in a real Chromium."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import signal
import socket
import threading
import time
import urllib.error
import zipfile
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import uvicorn
from browsing import (
    PHONE,
    PORTRAIT,
    ROOT,
    SECONDS_TO_WAIT,
    ask,
    color,
    drop,
    message,
    open_page,
    send,
    served,
    settled,
    shown_pixels,
    start,
    thumbs,
)
from PIL import Image, ImageOps
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from colorgan.inference.image import Picture
from colorgan.serving import service, web
from servers import wait_for


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page in the project, with the bundled model."""
    with served(ROOT, "--max-megabytes", "0.5", "--max-megapixels", "2") as address:
        yield address


def encoded(format: str, side: int = 60, **options: Any) -> bytes:
    buffer = io.BytesIO()
    ramp = np.linspace(0, 255, side * side).reshape(side, side).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_photo_comes_back_in_its_format(address: str, format: str) -> None:
    code, told = send(address, encoded(format), "?name=my+boat.x")
    assert (code, told["width"], told["height"]) == (200, 60, 60)
    code, headers, content = color(address, told)
    assert code == 200
    assert "my%20boat_colored." in headers["Content-Disposition"]
    assert headers["Content-Type"] == f"image/{format.lower()}"
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size, image.mode) == (format, (60, 60), "RGB")
    before = ask(f"{address}/api/photos/{told['id']}/before")
    for _, headers, content in (before, color(address, told, "preview")):
        assert headers["Content-Type"] == "image/jpeg"
        assert Image.open(io.BytesIO(content)).size == (60, 60)


@pytest.mark.parametrize(
    ("name", "download"),
    [
        ("a%0Ab%0D%0Ac.png", "a_b__c_colored.png"),
        ("%22Oma%22%20%26%20%C3%96l%20%E8%88%9F.png", "_Oma_ & Öl 舟_colored.png"),
        ("..%2F..%5Cetc%2Fpasswd", "passwd_colored.png"),
        # A lone surrogate, as names that are no text have, and a character that turns the text.
        ("%ED%A0%80%E2%80%AEx.png", "\ufffd\ufffd\ufffd_x_colored.png"),
        ("%C3%96" * 300 + ".png", "Ö" * 121 + "_colored.png"),
        ("", "photo_colored.png"),
    ],
)
def test_any_name_of_a_photo_can_be_downloaded(address: str, name: str, download: str) -> None:
    headers = color(address, send(address, encoded("PNG"), f"?name={name}")[1])[1]
    message = Message()
    message["Content-Disposition"] = headers["Content-Disposition"]
    assert message.get_filename() == download


@pytest.mark.parametrize(
    ("query", "body", "headers", "code", "said"),
    [
        ("", b"", {}, 415, "the file is empty"),
        ("", b"garbage" * 999, {}, 415, "not a JPEG"),
        ("", b"x" * 600_000, {}, 413, "larger than 0.5 MB"),
        ("", b"x", {"Content_Length": "99999999999"}, 413, "larger than 0.5 MB"),
        ("", b"--x", {"Content_Type": "multipart/form-data; boundary=x"}, 415, "the photo alone"),
        ("", encoded("PNG", 1500), {}, 415, "too large: over 2000000 pixels"),
    ],
)
def test_what_is_wrong_is_said_and_the_page_goes_on(
    address: str, query: str, body: bytes, headers: dict[str, str], code: int, said: str
) -> None:
    found, _, answer = ask(f"{address}/api/photos{query}", body, **headers)
    assert (found, said in json.loads(answer)["error"]) == (code, True), answer
    assert send(address, encoded("PNG"))[0] == 200


HINT = {"x": 0.5, "y": 0.5, "colour": "#2e6b3f"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "models/pretrained"}, "there is no model"),
        ({"saturation": 5}, "saturation is 5"),
        ({"hints": [HINT | {"x": 60}]}, "outside of the picture, which has 60 x 60 pixels"),
        ({"hints": [HINT] * 10_000}, "10000 hints are too many"),
        ({"hints": None}, "hints is None"),
    ],
)
def test_what_is_wrong_with_hints_and_settings_is_said(
    address: str, asked: dict[str, Any], said: str
) -> None:
    told = send(address, encoded("PNG"))[1]
    for kind in ("preview", "file", "colours"):
        code, _, answer = color(address, told, kind, **asked)
        assert (code, said in json.loads(answer)["error"]) == (400, True), answer
    assert ask(f"{address}/api/photos/{told['id']}/preview", b"no JSON")[0] == 400


def test_a_place_has_its_colours(address: str) -> None:
    """The ramp is white below: there, and only there, the wheel is pale."""
    told = send(address, encoded("PNG"))[1]
    code, _, answer = color(address, told, "colours", x=0.5, y=0.5)
    colours = json.loads(answer)
    assert code == 200
    assert 4 <= len(colours) <= 7
    assert len(set(colours[:-1])) == len(colours) - 1  # the network's own may be gray, too
    red, green, blue = bytes.fromhex(colours[-1][1:])
    assert max(red, green, blue) - min(red, green, blue) <= 1  # the last one is gray
    strongest = []
    for y in (0.5, 0.99):
        code, _, content = ask(f"{address}/api/photos/{told['id']}/wheel?x=0.5&y={y}")
        assert code == 200
        pixels = np.asarray(Image.open(io.BytesIO(content))).astype(int)
        inside = pixels[pixels[..., 3] == 255]
        strongest.append(np.ptp(inside[:, :3], axis=-1).max())
    assert strongest[0] > 180 > 120 > strongest[1]
    assert ask(f"{address}/api/photos/{told['id']}/wheel?x=nan&y=inf")[0] == 400


def bordered(format: str, **options: Any) -> bytes:
    """A photo of 2000 x 900 pixels in a border of 41; more than a preview has."""
    with Image.open(ROOT / "data/sample/landscape/machu_picchu.webp") as image:
        inner = image.convert("L").resize((1918, 818)).point(lambda value: value // 2)
    buffer = io.BytesIO()
    paper = Image.new("L", (2000, 900), 250)
    paper.paste(inner, (41, 41))
    paper.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_preview_has_the_colours_and_the_border_of_the_file(
    address: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    told = send(address, bordered("JPEG", exif=exif))[1]
    assert told["reduced"]
    width, height = told["width"], told["height"]
    assert (width > height) == (orientation == 1)
    taken = []
    for y in range(42, 49):
        hints = [{"x": width // 2, "y": y, "colour": "#a0308c"}]
        codes = {color(address, told, kind, hints=hints)[0] for kind in ("preview", "file")}
        assert len(codes) == 1, y
        taken += [y] * (codes == {200})
    assert 0 < len(taken) < 7
    hints = [{"x": 0.5, "y": 0.3, "colour": "#a0308c"}]
    pictures = []
    for kind in ("preview", "file"):
        with Image.open(io.BytesIO(color(address, told, kind, hints=hints)[2])) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            pictures.append(np.asarray(upright.resize((400, 400))).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() < 3


def test_what_a_file_cannot_keep_is_said_with_it(address: str) -> None:
    told = send(address, encoded("BMP"))[1]
    headers = color(address, told, hints=[HINT])[1]
    assert json.loads(unquote(headers["Colorgan-Notes"])) == ["not kept in BMP: XMP"]


def test_a_hundred_megabytes_in_chunks_are_refused_before_they_are_read(address: str) -> None:
    """The sender may notice by a closed connection, or by the answer."""
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        chunks = {"Transfer_Encoding": "chunked"}
        assert ask(f"{address}/api/photos", bytes(100_000_000), **chunks)[0] == 413
    assert send(address, encoded("PNG"))[0] == 200


def test_it_answers_to_its_own_name_and_asks_for_nothing_outside(address: str) -> None:
    code, headers, _ = ask(f"{address}/")
    assert code == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    port = address.rpartition(":")[2]
    for host in (f"localhost:{port}", f"[::1]:{port}", "127.0.0.1"):
        assert ask(f"{address}/", Host=host)[0] == 200
    for host in ("rebound.example", f"localhost.rebound.example:{port}", "[", ""):
        assert ask(f"{address}/", Host=host)[0] == 400
    for path in ("/server.py", "/../pyproject.toml", "/api/examples/x", "/api/photos/x/before"):
        assert ask(f"{address}{path}")[0] == 404
    for file in (ROOT / "src/colorgan/serving/page").iterdir():
        assert "http" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Origin": "http://HOST"}, 200),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://proxy.example"}, 200),
        ({"Origin": "http://other.example"}, 403),
        ({"Origin": "null"}, 403),
        # Another server of this machine, such as a notebook.
        ({"Origin": "http://localhost:8888", "Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
def test_the_pages_of_other_sites_cannot_send_photos(
    address: str, headers: dict[str, str], code: int
) -> None:
    host = address.removeprefix("http://")
    headers = {name: value.replace("HOST", host) for name, value in headers.items()}
    assert ask(f"{address}/api/photos", encoded("PNG"), **headers)[0] == code


@pytest.mark.parametrize(
    ("host", "shown"),
    [("::1", "[::1]"), ("::", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("LOCALHOST", "localhost")],
)
def test_the_address_that_is_printed_works(host: str, shown: str) -> None:
    with served(ROOT, "--host", host) as address:
        assert address.startswith(f"http://{shown}:")
        own = {"Origin": address}
        assert ask(f"{address}/")[0] == 200
        assert ask(f"{address}/api/photos", encoded("PNG"), **own)[0] == 200
        if host == "::":
            assert ask(f"http://127.0.0.1:{address.rpartition(':')[2]}/")[0] == 200


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "Address already in use"),
        ("x" * 70, ""),
    ],
)
def test_a_port_or_host_that_cannot_be_had_is_named(
    address: str, colorgan: Callable[..., Any], host: str, reason: str
) -> None:
    port = address.rpartition(":")[2]
    said = colorgan("app", "--host", host, "--port", port)
    assert said.code == 1
    assert said.err.startswith(f"colorgan: --host {host} --port {port}: {reason}")


def test_a_signal_ends_it_whatever_is_half_sent_or_waits(tmp_path: Path) -> None:
    server, address = start(ROOT)
    host, port = address.removeprefix("http://").split(":")
    head = f"POST /api/photos HTTP/1.1\r\nHost: {host}\r\nContent-Length: "
    large = encoded("PNG", 4000)
    sent = [
        *([f"{head}{len(large)}\r\n\r\n".encode() + large] * 9),
        *([f"{head}9999\r\n\r\nhalf".encode()] * 40),
        head.encode(),
        b"",
    ]
    with contextlib.ExitStack() as stack:
        for content in sent:
            client = stack.enter_context(socket.create_connection((host, int(port))))
            client.sendall(content)
        assert ask(f"{address}/")[0] == 200
        server.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        rest = server.communicate(timeout=60)[0]
        assert time.monotonic() - begin < 20
    assert server.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in rest, rest


class Held:
    """A service that takes photos when it is told to, and fails at a photo named `broken`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.names: list[str] = []

    def add(self, content: bytes, name: str) -> tuple[str, service.Photo]:
        self.names.append(name)
        if name != "small":
            self.go.wait(SECONDS_TO_WAIT)
        if name == "broken":
            raise TypeError("a bug\nof two lines")
        picture = Picture(np.zeros((1, 1), np.uint8))
        return "id", service.Photo(content, name, (1, 1), picture, ())


class TestUnderPressure:
    """Of files up to 2 MB."""

    @pytest.fixture
    def held(self) -> Held:
        return Held()

    @pytest.fixture
    def address(self, held: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        listening = socket.create_server(("127.0.0.1", 0))
        self.handlers = web.Handlers(held, 2.0)
        monkeypatch.setattr(web, "Handlers", lambda *_: self.handlers)
        app = web.make_app(held, 2.0, set())
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        held.go.set()
        server.should_exit = server.force_exit = True
        thread.join()

    def send(self, address: str, name: str, content: bytes, length: int) -> socket.socket:
        """Begin an upload of so many bytes, and do not wait for the answer."""
        host, port = address.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        head = f"POST /api/photos?name={name} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}"
        client.sendall(head.encode() + b"\r\n\r\n" + content)
        return client

    def refused(self, address: str, content: bytes = b"x") -> str:
        """Send one photo more than the server takes; return the sentence."""
        code, headers, body = ask(f"{address}/api/photos", content)
        assert code == 503
        assert int(headers["Retry-After"]) > 0
        return str(json.loads(body)["error"])

    def wait_for_queue(self, length: int) -> None:
        queues = (self.handlers._small, self.handlers._large)
        wait_for(lambda: sum(one.statistics().tasks_waiting for one in queues) == length)

    def test_beyond_the_queue_it_is_busy_and_the_page_is_there(
        self, address: str, held: Held
    ) -> None:
        first = self.send(address, "first", b"x", 1)
        while not held.names:
            time.sleep(0.05)
        others = [self.send(address, "other", b"x", 1) for _ in range(web.WAITING)]
        self.wait_for_queue(8)
        assert "8 photos are waiting" in self.refused(address)
        assert ask(f"{address}/")[0] == 200
        # Those who hang up leave the queue, and a place for others.
        for client in others:
            client.close()
        self.wait_for_queue(0)
        last = self.send(address, "last", b"x", 1)
        self.wait_for_queue(1)
        held.go.set()
        for client in (first, last):
            assert client.recv(12) == b"HTTP/1.1 200"
            client.close()
        assert held.names == ["first", "last"]

    def test_a_small_photo_does_not_wait_for_large_ones(self, address: str, held: Held) -> None:
        """Files of a few kB, which would be the same by their bytes."""
        large = encoded("PNG", 1500)
        with self.send(address, "large", large, len(large)):
            while not held.names:
                time.sleep(0.05)
            assert ask(f"{address}/api/photos?name=small", encoded("PNG"))[0] == 200
        assert held.names == ["large", "small"]

    def test_half_sent_photos_have_a_limit_in_memory_and_time(
        self, address: str, held: Held, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held.go.set()
        clients = [self.send(address, "half", bytes(1_900_000), 2_000_000) for _ in range(4)]
        wait_for(lambda: self.handlers._bytes_held == 4 * 1_900_000)
        assert "too many uploads" in self.refused(address, bytes(1_000_000))
        for client in clients:
            client.close()
        with monkeypatch.context() as limit:
            limit.setattr(web, "SECONDS_TO_SEND", 0.2)
            with self.send(address, "half", b"x", 2) as client:
                assert client.recv(12) == b"HTTP/1.1 408"
        wait_for(lambda: self.handlers._bytes_held == 0)
        assert ask(f"{address}/api/photos", bytes(2_000_000))[0] == 200

    def test_a_bug_is_a_sentence(self, address: str, held: Held) -> None:
        held.go.set()
        code, _, body = ask(f"{address}/api/photos?name=broken", b"x")
        assert code == 500
        expected = "it cannot be coloured: TypeError: a bug of two lines"
        assert json.loads(body) == {"error": expected}
        assert ask(f"{address}/api/photos", b"x")[0] == 200


def test_photos_take_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo that is larger than the bound is kept, too: as the only one."""
    monkeypatch.chdir(ROOT)
    colors = service.ColorizeService("cpu", "pretrained")
    content = encoded("PNG")
    ids = [colors.add(content, "a.png")[0]]
    monkeypatch.setattr(service, "BYTES_KEPT", 2 * colors.photos[ids[0]].n_bytes())
    for side in (60, 60, 900):
        ids.append(colors.add(encoded("PNG", side), "a.png")[0])
        assert list(colors.photos) == (ids[-1:] if side == 900 else ids[-2:])


class TestInABrowser:
    """Upload, wait, compare, download, and the file checked."""

    pytestmark = pytest.mark.slow

    def test_from_upload_to_download(
        self, browser: webdriver.Chrome, address: str, photo: Path, downloads: Path
    ) -> None:
        wait = open_page(browser, address, PORTRAIT)
        wait.until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#examples img")) >= 10)
        browser.find_element(By.ID, "file").send_keys(str(photo))
        wait.until(lambda b: settled(b, 1))
        with Image.open(photo) as image:
            width, height = image.size
        assert message(browser).startswith(f"old photo.png · {width} × {height} · ")
        # The slider moves the line, by keys as by hand.
        browser.find_element(By.ID, "compare").send_keys(Keys.END)
        frame = browser.find_element(By.ID, "frame")
        assert "--at: 100%" in (frame.get_attribute("style") or "")
        self.download(browser, "download")
        file = downloads / "old photo_colored.png"
        wait.until(lambda b: file.is_file())
        with Image.open(photo) as before, Image.open(file) as after:
            assert (after.format, after.size, after.mode) == ("PNG", before.size, "RGB")
            pixels = np.asarray(after).astype(int)
            assert np.ptp(pixels, axis=-1).mean() > 4
            difference = np.asarray(after.convert("L")).astype(int) - np.asarray(before)
            assert np.abs(difference).mean() < 8
        # Weaker colours, by the other slider.
        browser.find_element(By.TAG_NAME, "summary").click()
        browser.find_element(By.ID, "saturation").send_keys(Keys.HOME)
        wait.until(lambda b: settled(b, 1) and np.ptp(shown_pixels(b), axis=-1).max() <= 2)

    def test_an_example_and_a_phone(self, browser: webdriver.Chrome, address: str) -> None:
        wait = open_page(browser, address, PHONE)
        wait.until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#examples button")) >= 10)
        button = browser.find_elements(By.CSS_SELECTOR, "#examples button")[3]
        browser.execute_script("arguments[0].click()", button)
        wait.until(lambda b: settled(b, 1))
        wide = "return document.documentElement.scrollWidth - window.innerWidth"
        assert browser.execute_script(wide) <= 0
        assert browser.find_element(By.ID, "after").rect["width"] > 300

    def test_of_several_photos_each_has_its_result_or_its_sentence(
        self, browser: webdriver.Chrome, downloads: Path
    ) -> None:
        """With names as cameras, scanners and jokers give them; and without the server at last."""
        files = {
            "a\nb\r\n.png": encoded("PNG"),
            "letter.png": b"Dear Sir",
            "<i>Öl & 舟.jpg": encoded("JPEG"),
            "a\rb\n\n.png": encoded("PNG"),
        }
        with served(ROOT) as address:
            wait = open_page(browser, address, PORTRAIT)
            drop(browser, files)
            wait.until(lambda b: settled(b, 4))
            assert [one.rpartition(", ")[2] == "coloured" for one in thumbs(browser)] == [
                True, False, True, True,
            ]  # fmt: skip
            browser.find_elements(By.CLASS_NAME, "thumb")[1].click()
            assert "unreadable" in message(browser)
            self.download(browser, "all")
            wait.until(lambda b: "Not in the download: letter.png" in message(b))
            wait.until(lambda b: (downloads / "coloured.zip").is_file())
        with zipfile.ZipFile(downloads / "coloured.zip") as packed:
            assert packed.testzip() is None
            names = ["a_b___colored.png", "_i_Öl & 舟_colored.jpg", "a_b___colored (2).png"]
            assert packed.namelist() == names
            for name in names:
                assert Image.open(packed.open(name)).size == (60, 60)
        # What was there stays, and what is new is told from it.
        drop(browser, {"late.png": encoded("PNG")})
        wait.until(lambda b: message(b).startswith("late.png: colorgan does not answer"))
        assert thumbs(browser)[0].endswith("coloured")

    def download(self, browser: webdriver.Chrome, what: str) -> None:
        browser.find_elements(By.TAG_NAME, "summary")[1].click()
        browser.find_element(By.ID, what).click()

    def test_a_photo_that_is_dropped_at_the_first_sight_of_the_page_is_coloured(
        self, browser: webdriver.Chrome, address: str
    ) -> None:
        """Before the page is read to its end; the browser would leave it and show the photo."""
        early = {
            "source": f"""new MutationObserver((_, watching) => {{
          if (!document.querySelector("#drop")) return;
          watching.disconnect();
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob("{base64.b64encode(encoded("PNG")).decode()}"),
                                        (character) => character.charCodeAt(0));
          data.items.add(new File([bytes], "early.png"));
          const drop = new DragEvent("drop", {{ dataTransfer: data, cancelable: true }});
          window.taken = !document.dispatchEvent(drop);
          window.atTheEnd = document.readyState;
        }}).observe(document, {{ childList: true, subtree: true }});"""
        }
        added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", early)
        browser.get(address)
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        WebDriverWait(browser, SECONDS_TO_WAIT).until(lambda b: settled(b, 1))
        assert browser.execute_script("return [window.taken, window.atTheEnd]") == [True, "loading"]

    def test_it_has_asked_nobody_else_and_had_no_error(
        self, browser: webdriver.Chrome, address: str
    ) -> None:
        """Over all that was done in the browser above."""
        asked = set()
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.add(message["params"]["request"]["url"])
        assert asked
        assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in asked), asked
        wrong = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
        # The letter that is no photo, and the server that had ended.
        expected = ("415", "ERR_CONNECTION_REFUSED")
        assert all(any(e in entry["message"] for e in expected) for entry in wrong), wrong
