"""The page's server: on this machine alone unless told otherwise, and calling nobody."""

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
from colorgan.serving.service import Studio, examples, gray_jpeg

PAGES = Path(__file__).parent
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """Answers of the server.

    Args:
        studio: what colours.
        max_megabytes: the largest file that is taken.
    """

    def __init__(self, studio: Studio, max_megabytes: float) -> None:
        self._studio, self._max_bytes = studio, int(max_megabytes * 1_000_000)

    async def file(self, request: Request) -> Response:
        """Answer with one of the page's own files."""
        name = request.path_params.get("name", "page.html")
        return FileResponse(PAGES / name)

    async def models(self, request: Request) -> Response:
        """Answer with the models there are."""
        choices = await run_in_threadpool(self._studio.choices)
        return JSONResponse([{"id": choice.id, "label": choice.label} for choice in choices])

    async def examples(self, request: Request) -> Response:
        """Answer with the names of the examples, or with one of them."""
        found, name = examples(), request.path_params.get("name")
        if name is None:
            return JSONResponse(list(found))
        if name not in found:
            return _refusal(404, "there is no such example")
        return Response(await run_in_threadpool(gray_jpeg, found[name]), media_type="image/jpeg")

    async def colorize(self, request: Request) -> Response:
        """Colour the photo in the body and answer where the result is."""
        asked = request.query_params
        try:
            saturation = float(asked.get("saturation", 1.0))
        except ValueError:
            saturation = math.nan
        content = await self._body(request)
        if content is None:
            return _refusal(413, f"the file is larger than {self._max_bytes / 1e6:g} MB")
        name, model = asked.get("name", ""), asked.get("model", "pretrained")
        try:
            id = await run_in_threadpool(self._studio.colorize, content, name, model, saturation)
        except UnreadablePhoto as problem:
            return _refusal(415, str(problem))
        except (ColorganError, ValueError, MemoryError) as error:
            return _refusal(400, str(error) or "too large for the memory of this machine")
        result = self._studio.result(id)
        if result is None:
            return _refusal(503, "too many photos at once; try again")
        width, height = result.size
        return JSONResponse({
            "id": id, "name": result.name, "width": width, "height": height,
            "seconds": round(result.seconds, 2),
        })  # fmt: skip

    async def result(self, request: Request) -> Response:
        """Answer with a file of a result."""
        result = self._studio.result(request.path_params["id"])
        kind = request.path_params["kind"]
        if result is None or kind not in result.files:
            return _refusal(404, "this result is not kept any longer: colour the photo again")
        response = Response(result.files[kind], media_type="image/jpeg")
        if kind == "file":
            response = Response(result.files[kind], media_type=result.media_type)
            ascii_name = result.name.encode("ascii", "replace").decode().replace('"', "")
            response.headers["Content-Disposition"] = f'attachment; filename="{ascii_name}"'
        return response

    async def _body(self, request: Request) -> bytes | None:
        """Return the body; None as soon as it is too large, however much more would come."""
        content = bytearray()
        try:
            async for chunk in request.stream():
                content += chunk
                if len(content) > self._max_bytes:
                    return None
        except ClientDisconnect:
            return b""
        return bytes(content)


def make_app(studio: Studio, max_megabytes: float, hosts: list[str]) -> Starlette:
    """Return the application; `hosts` are the names it answers to."""
    page = Page(studio, max_megabytes)

    async def secured(request: Request, answer: RequestResponseEndpoint) -> Response:
        response = await answer(request)
        response.headers.update(HEADERS)
        return response

    return Starlette(
        routes=[
            Route("/", page.file),
            Route("/{name:str}", _only(page.file, {"page.css", "page.js"})),
            Route("/api/models", page.models),
            Route("/api/examples", page.examples),
            Route("/api/examples/{name}", page.examples),
            Route("/api/colorize", page.colorize, methods=["POST"]),
            Route("/api/results/{id}/{kind}", page.result),
        ],
        middleware=[
            # A page elsewhere must not reach this one under a name of its own.
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(BaseHTTPMiddleware, dispatch=secured),
        ],
    )


def serve(
    host: str, port: int, model: str, device: str, max_megabytes: float, max_megapixels: float
) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        ColorganError: the model cannot be loaded, or the address cannot be had.
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
    app = make_app(Studio(device, model), max_megabytes, hosts)
    print(f"colorgan app: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(app, log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[listening])


def _only(answer: RequestResponseEndpoint, names: set[str]) -> RequestResponseEndpoint:
    async def answered(request: Request) -> Response:
        if request.path_params["name"] in names:
            return await answer(request)
        return _refusal(404, "there is no such page")

    return answered


def _refusal(code: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=code)
