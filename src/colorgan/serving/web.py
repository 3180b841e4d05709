"""The web server of `colorgan app`: a page to drop photos on, by default for this machine alone."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import math
import os
import re
import socket
import threading
import warnings
from collections.abc import Mapping
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
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from colorgan.data.decode import UnreadablePhoto, read_head
from colorgan.errors import ColorganError
from colorgan.serving.service import ColorizeService, examples, gray_jpeg

PAGE = Path(__file__).parent / "page"
SMALL = 2_000_000
"""Pixels of a photo that does not wait for larger ones."""
WAITING = 8
"""Photos that may wait, of either kind."""
UPLOADS_KEPT = 4
"""Memory for uploads, half-sent and waiting, in files of the largest size."""
SECONDS_TO_ASK = 10
"""After these, and twice these at most, a connection without a whole request head is closed."""
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

    async def colorize(self, request: Request) -> Response:
        """Colour the photo in the request's body; return the id of the result."""
        content = bytearray()
        try:
            async with asyncio.timeout(SECONDS_TO_SEND):
                await self._receive(request, content)
            return await self._in_turn(request, content)
        except TimeoutError:
            raise HTTPException(408, f"the upload took over {SECONDS_TO_SEND} seconds") from None
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self._bytes_held -= len(content)

    async def result(self, request: Request) -> Response:
        """Return `before`, `after` or `file` of a result."""
        result = self._service.results.get(request.path_params["id"])
        kind = request.path_params["kind"]
        if result is None or kind not in result.files:
            raise HTTPException(404, "this result is not kept any longer: colour the photo again")
        if kind != "file":
            return Response(result.files[kind], media_type="image/jpeg")
        # RFC 6266: a name in any alphabet.
        name = f"attachment; filename*=UTF-8''{quote(result.name, safe='')}"
        headers = {"Content-Disposition": name}
        return Response(result.files["file"], headers=headers, media_type=result.media_type)

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

    async def _in_turn(self, request: Request, content: bytearray) -> Response:
        """Colour a photo as soon as those before it are done, unless its sender hangs up."""
        small = await run_sync(_is_small, content)
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
            response = await run_sync(self._colored, request, content, limiter=queue)
            tasks.cancel_scope.cancel()
        return response

    def _colored(self, request: Request, content: bytearray) -> Response:
        query = request.query_params
        try:
            saturation = float(query.get("saturation", 1.0))
        except ValueError:
            saturation = math.nan
        name, model = query.get("name", ""), query.get("model", "pretrained")
        try:
            id, result = self._service.colorize(bytes(content), name, model, saturation)
        except UnreadablePhoto as error:
            return _error(415, str(error))
        except MemoryError:
            return _error(400, "too large for the memory of this machine")
        except (ColorganError, ValueError) as error:
            return _error(400, str(error))
        except Exception as error:
            # No fault of one photo must end the others.
            return _error(500, f"it cannot be coloured: {type(error).__name__}: {error}")
        width, height = result.size
        return JSONResponse({
            "id": id, "name": result.name, "width": width, "height": height,
            "seconds": round(result.seconds, 2), "notes": result.notes,
        })  # fmt: skip


class Connection(H11Protocol):
    """A connection to a client, which is cut off if it asks for nothing: uvicorn would wait."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self.loop.call_later(SECONDS_TO_ASK, self._close_if_idle, self.cycle)

    def _close_if_idle(self, last: RequestResponseCycle) -> None:
        """Close it if there was no request after `last` and none is being answered."""
        if self.cycle is last and (last is None or last.response_complete):
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(SECONDS_TO_ASK, self._close_if_idle, self.cycle)


class Server(uvicorn.Server):
    """A server that ends soon after the first signal, whatever is half-sent or waits."""

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
        Route("/api/colorize", handlers.colorize, methods=["POST"]),
        Route("/api/results/{id}/{kind}", handlers.result),
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
        make_app(service, max_megabytes, names), http=Connection, ws="none", lifespan="off",
        log_level="warning", server_header=False, headers=list(HEADERS.items()),
    )  # fmt: skip
    Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # `localhost` is both; most expect 127.0.0.1.
        family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        every = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, dualstack_ipv6=every)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ColorganError(
            f"--host {host} --port {port}: {reason}; --host should be a name or address of this "
            "machine, and --port one that is free"
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
