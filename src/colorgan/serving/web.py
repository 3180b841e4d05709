"""The web server of `colorgan app`: a page to drop photos on, by default for this machine alone."""

from __future__ import annotations

import math
import socket
import warnings
from pathlib import Path

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from colorgan.data.decode import UnreadablePhoto
from colorgan.errors import ColorganError
from colorgan.serving.service import ColorizeService, examples, gray_jpeg

FOLDER = Path(__file__).parent
PAGE_FILES = ("page.css", "page.js")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Handlers:
    """The handlers of the server's routes.

    Args:
        service: colours the photos.
        max_megabytes: size of the largest file that is accepted.
    """

    def __init__(self, service: ColorizeService, max_megabytes: float) -> None:
        self._service, self._max_bytes = service, int(max_megabytes * 1_000_000)

    async def page(self, request: Request) -> Response:
        """Return page.html, or another of the page's files."""
        name = request.path_params.get("name", "page.html")
        if name not in ("page.html", *PAGE_FILES):
            return _error(404, "there is no such page")
        return FileResponse(FOLDER / name)

    async def models(self, request: Request) -> Response:
        """Return the models to choose from."""
        choices = await run_in_threadpool(self._service.models)
        return JSONResponse([{"id": id, "label": label} for id, label in choices.items()])

    async def examples(self, request: Request) -> Response:
        """Return the names of the examples, or one example in gray."""
        found, name = examples(), request.path_params.get("name")
        if name is None:
            return JSONResponse(list(found))
        if name not in found:
            return _error(404, "there is no such example")
        return Response(await run_in_threadpool(gray_jpeg, found[name]), media_type="image/jpeg")

    async def colorize(self, request: Request) -> Response:
        """Colour the photo in the request's body; return the id of the result."""
        query = request.query_params
        try:
            saturation = float(query.get("saturation", 1.0))
        except ValueError:
            saturation = math.nan
        content = await self._body(request)
        if content is None:
            return _error(413, f"the file is larger than {self._max_bytes / 1e6:g} MB")
        name, model = query.get("name", ""), query.get("model", "pretrained")
        try:
            id, result = await run_in_threadpool(
                self._service.colorize, content, name, model, saturation
            )
        except UnreadablePhoto as error:
            return _error(415, str(error))
        except (ColorganError, OSError, ValueError, MemoryError) as error:
            return _error(400, str(error) or "too large for the memory of this machine")
        width, height = result.size
        return JSONResponse({
            "id": id, "name": result.name, "width": width, "height": height,
            "seconds": round(result.seconds, 2),
        })  # fmt: skip

    async def result(self, request: Request) -> Response:
        """Return `before`, `after` or `file` of a result."""
        result = self._service.result(request.path_params["id"])
        kind = request.path_params["kind"]
        if result is None or kind not in result.files:
            return _error(404, "this result is not kept any longer: colour the photo again")
        media_type = result.media_type if kind == "file" else "image/jpeg"
        return Response(result.files[kind], media_type=media_type)

    async def _body(self, request: Request) -> bytes | None:
        """Return the body, or None as soon as it is too large, without reading the rest."""
        content = bytearray()
        try:
            async for chunk in request.stream():
                content += chunk
                if len(content) > self._max_bytes:
                    return None
        except ClientDisconnect:
            return b""
        return bytes(content)


def make_app(service: ColorizeService, max_megabytes: float, hosts: list[str]) -> Starlette:
    """Return the ASGI application; `hosts` are the host names it answers to, `*` any."""
    handlers = Handlers(service, max_megabytes)

    async def add_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    return Starlette(
        routes=[
            Route("/", handlers.page),
            Route("/{name:str}", handlers.page),
            Route("/api/models", handlers.models),
            Route("/api/examples", handlers.examples),
            Route("/api/examples/{name}", handlers.examples),
            Route("/api/colorize", handlers.colorize, methods=["POST"]),
            Route("/api/results/{id}/{kind}", handlers.result),
        ],
        middleware=[
            # Against DNS rebinding: another site must not reach this server by its own name.
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(BaseHTTPMiddleware, dispatch=add_headers),
        ],
    )


def serve(
    host: str, port: int, model: str, device: str, max_megabytes: float, max_megapixels: float
) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        ColorganError: the model cannot be loaded, or the address is not available.
    """
    hosts = list(LOOPBACK) if host in LOOPBACK else ["*"]
    Image.MAX_IMAGE_PIXELS = int(max_megapixels * 1_000_000)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ColorganError(
            f"--host {host} --port {port}: {error.strerror or error}; another port may be free"
        ) from None
    app = make_app(ColorizeService(device, model), max_megabytes, hosts)
    print(f"colorgan app: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(app, log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[listening])


def _error(code: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=code)
