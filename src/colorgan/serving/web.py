"""The web server of `colorgan app`: a page to drop photos on, by default for this machine alone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import json
import math
import os
import re
import socket
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import anyio
import uvicorn
from anyio.to_thread import run_sync
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from colorgan.data.decode import UnreadablePhoto, read_head
from colorgan.errors import ColorganError, describe
from colorgan.serving.choices import lightness_at, wheel
from colorgan.serving.service import Asked, ColorizeService, Photo, examples, gray_jpeg

PAGE = Path(__file__).parent / "page"
SMALL = 2_000_000
"""Pixels of a photo that does not wait for larger ones."""
WAITING = 8
"""Photos that may wait, of either kind."""
UPLOADS_KEPT = 4
"""Memory for uploads, half-sent and waiting, in files of the largest size."""
SECONDS_TO_SEND = 120
SECONDS_TO_DISCARD = 1
SECONDS_TO_END = 3
RETRY_AFTER = {"Retry-After": "5"}
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Handlers:
    """The handlers of the server's routes; larger files than `max_megabytes` are refused."""

    def __init__(self, service: ColorizeService, max_megabytes: float) -> None:
        self._service, self._max_bytes = service, int(max_megabytes * 1_000_000)
        self._bytes_held = 0
        # More at once would only share the same cores. All other requests use other threads.
        self._small, self._large = anyio.CapacityLimiter(1), anyio.CapacityLimiter(1)

    async def models(self, request: Request) -> Response:
        """Return the models to choose from."""
        choices = await run_sync(self._service.models)
        return JSONResponse([{"id": id, "label": label} for id, label in choices.items()])

    async def examples(self, request: Request) -> Response:
        """Return the names of the examples, or one example in gray."""
        found, name = examples(), request.path_params.get("name")
        if name is None:
            return JSONResponse(list(found))
        if name not in found:
            raise HTTPException(404, "there is no such example")
        return Response(await run_sync(gray_jpeg, found[name]), media_type="image/jpeg")

    async def upload(self, request: Request) -> Response:
        """Keep the photo in the request's body; return its id."""

        def added(content: bytes) -> Response:
            id, photo = self._service.add(content, request.query_params.get("name", ""))
            width, height = photo.size
            return JSONResponse({
                "id": id, "width": width, "height": height, "notes": photo.notes,
                "reduced": photo.preview.size != photo.size,
            })  # fmt: skip

        return await self._received(request, added)

    async def before(self, request: Request) -> Response:
        """Return a kept photo in gray."""
        content = await run_sync(self._service.before, self._photo(request))
        return Response(content, media_type="image/jpeg")

    async def wheel(self, request: Request) -> Response:
        """Return the wheel of the colours of a place."""
        photo, query = self._photo(request), request.query_params
        try:
            x, y = float(query.get("x", "")), float(query.get("y", ""))
            content = await run_sync(wheel, round(lightness_at(photo.preview, x, y)))
        except (ValueError, OverflowError):
            raise HTTPException(400, "x and y should be numbers from 0 to 1") from None
        return Response(content, media_type="image/png")

    async def color(self, request: Request) -> Response:
        """Return `preview` or `file` of a kept photo in colour, or the likely `colours` of a place.

        The body is a file of hints with the fields of `Asked`.
        """
        photo, kind = self._photo(request), request.path_params["kind"]
        if kind not in ("preview", "file", "colours"):
            raise HTTPException(404, "there is no such answer")

        def answer(body: bytes) -> Response:
            asked = Asked.parse(body, request.query_params.get("name", "the page"))
            if kind == "colours":
                return JSONResponse(self._service.colours(photo, asked))
            if kind == "preview":
                return Response(self._service.preview(photo, asked), media_type="image/jpeg")
            name, file = self._service.file(photo, asked)
            # RFC 6266: a name in any alphabet.
            disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
            notes = quote(json.dumps(file.notes))
            headers = {"Content-Disposition": disposition, "Colorgan-Notes": notes}
            return Response(file.content, 200, headers, f"image/{file.format.lower()}")

        small = kind != "file" or math.prod(photo.size) <= SMALL
        return await self._received(request, answer, small)

    def _photo(self, request: Request) -> Photo:
        photo = self._service.photos.get(request.path_params["id"])
        if photo is None:
            raise HTTPException(404, "this photo is not kept any longer: send it again")
        return photo

    async def _received(
        self, request: Request, answer: Callable[[bytes], Response], small: bool | None = None
    ) -> Response:
        """Receive the request's body and answer to it in turn; by `small` it has its queue."""
        content = bytearray()
        try:
            async with asyncio.timeout(SECONDS_TO_SEND):
                await self._receive(request, content)
            if small is None:
                small = await run_sync(_is_small, content)
            return await self._in_turn(request, partial(answer, bytes(content)), small)
        except TimeoutError:
            raise HTTPException(408, f"the upload took over {SECONDS_TO_SEND} seconds") from None
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._bytes_held -= len(content)

    async def _receive(self, request: Request, content: bytearray) -> None:
        """Append the request's body to `content`, and refuse it as soon as it is too large."""
        try:
            if request.headers.get("content-type", "").startswith("multipart/"):
                raise HTTPException(415, "the body should be the photo alone, not a form")
            too_large = HTTPException(413, f"the file is larger than {self._max_bytes / 1e6:g} MB")
            if int(request.headers.get("content-length", 0)) > self._max_bytes:
                raise too_large
            async for chunk in request.stream():
                content += chunk
                self._bytes_held += len(chunk)
                if len(content) > self._max_bytes:
                    raise too_large
                if self._bytes_held > UPLOADS_KEPT * self._max_bytes:
                    raise HTTPException(503, "too many uploads at once; try again", RETRY_AFTER)
        except HTTPException:
            # Many senders do not see an answer that comes while they send.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_TO_DISCARD):
                    while (await request.receive()).get("more_body"):
                        pass
            raise

    async def _in_turn(
        self, request: Request, answer: Callable[[], Response], small: bool
    ) -> Response:
        """Queue a request: answer it after those before, unless the client disconnects."""
        queue = self._small if small else self._large
        if queue.statistics().tasks_waiting >= WAITING:
            raise HTTPException(503, f"{WAITING} photos are waiting; try again", RETRY_AFTER)
        response = Response(status_code=400)
        async with anyio.create_task_group() as tasks:

            async def leave_when_gone() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(leave_when_gone)
            response = await run_sync(_or_sentence, answer, limiter=queue)
            tasks.cancel_scope.cancel()
        return response


def _or_sentence(answer: Callable[[], Response]) -> Response:
    """Return the answer, or an error as one sentence: a fault of one photo must not end others."""
    try:
        return answer()
    except UnreadablePhoto as error:
        return _error(415, str(error))
    except (ColorganError, ValueError, MemoryError) as error:
        return _error(400, describe(error))
    except Exception as error:
        return _error(500, f"it cannot be coloured: {type(error).__name__}: {error}")


class Server(uvicorn.Server):
    """A uvicorn server that ends soon after the first signal, whatever is half-sent or queued."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what can be finished in SECONDS_TO_END; nothing on the disk is lost."""
        timer = threading.Timer(SECONDS_TO_END, os._exit, [128 + sig])
        timer.daemon = True
        timer.start()
        super().handle_exit(sig, frame)


def make_app(service: ColorizeService, max_megabytes: float, names: set[str]) -> ASGIApp:
    """Return the ASGI application; `names` are the host names it answers to, none for any."""
    handlers = Handlers(service, max_megabytes)
    routes = [
        Route("/api/models", handlers.models),
        Route("/api/examples", handlers.examples),
        Route("/api/examples/{name}", handlers.examples),
        Route("/api/photos", handlers.upload, methods=["POST"]),
        Route("/api/photos/{id}/before", handlers.before),
        Route("/api/photos/{id}/wheel", handlers.wheel),
        Route("/api/photos/{id}/{kind}", handlers.color, methods=["POST"]),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _answer})

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = re.sub(r":\d*$", "", host).strip("[]")
        answer: ASGIApp = app
        # Against DNS rebinding: another site must not reach this server by its own name.
        if names and name not in names:
            answer = _error(400, f"{name!r} is not a name of this app: {', '.join(sorted(names))}")
        elif scope["method"] == "POST" and _is_foreign(headers, host):
            answer = _error(403, "pages of other sites must not send photos here")
        await answer(scope, receive, send)

    return guarded


def serve(
    host: str, port: int, model: str, device: str, max_megabytes: float, max_megapixels: float
) -> None:
    """Serve the page until Ctrl-C; ColorganError if there is no such model or address."""
    host = host.strip("[]").lower()
    listening = _listen(host, port)
    Image.MAX_IMAGE_PIXELS = int(max_megapixels * 1_000_000)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    service = ColorizeService(device, model)
    bound, port = listening.getsockname()[:2]
    only_here = ipaddress.ip_address(bound).is_loopback
    names = {host, "localhost", "127.0.0.1", "::1"} if only_here else set()
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, host)
    shown = f"[{shown}]" if ":" in shown else shown
    print(f"colorgan app: http://{shown}:{port} (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(
        make_app(service, max_megabytes, names), http="h11", ws="none", lifespan="off",
        log_level="warning", server_header=False, headers=list(HEADERS.items()),
    )  # fmt: skip
    Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    every = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=every)
    except (OSError, UnicodeError) as error:
        raise ColorganError(
            f"--host {host} --port {port}: {describe(error)}; --host should be a name or address "
            "of this machine, and --port one that is free"
        ) from None


def _is_small(content: bytearray) -> bool:
    try:
        return read_head(io.BytesIO(content))[1] <= SMALL
    except Exception:
        # What cannot be opened may be anything.
        return False


def _is_foreign(headers: Headers, host: str) -> bool:
    """Return whether a browser says that another site's page sends this."""
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    # Browsers leave that header out where the page is not from this machine and not https.
    origin = headers.get("origin")
    return origin is not None and origin.lower().partition("://")[2] != host


def _answer(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail, error.headers)


def _error(code: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": " ".join(sentence.split())}, status_code=code, headers=headers)
