"""The app's server: addresses, what it refuses, and how it starts and ends. Nothing is written, nothing is fetched."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import unquote, urlsplit

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hvit.app.page import FILES, POLICY, render_app
from hvit.app.state import Gone, Images, Slow
from hvit.errors import UserError
from hvit.markup import quoted, short_number

_UPLOADS = 4  # files that arrive at the same time; each is in memory
_CONNECTIONS = 64
_MOST_JSON = 64 * 2**10  # bytes
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class _TooMuch(UserError):
    """A request that is larger than it may be."""


def make_app(images: Images, hosts: Iterable[str] = ()) -> ASGIApp:
    """The app, without a server. hosts: names by which it may be addressed, besides localhost and numbers."""
    limits, uploads = images.limits, asyncio.Semaphore(_UPLOADS)

    async def page(request: Request) -> Response:
        return HTMLResponse(render_app(images))

    async def file(request: Request) -> Response:
        content, kind = FILES[request.url.path]
        return Response(content(), media_type=kind)

    async def add(request: Request) -> Response:
        async with uploads:
            content = await _body(request, limits.most_bytes, limits.seconds, "an image file")
            name = unquote(request.headers.get("x-file-name", ""))
            return JSONResponse(await run_in_threadpool(images.add, content, name))

    async def blocks(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(images.blocks, request.path_params["identity"]))

    async def hidden(request: Request) -> Response:
        cells = _cells(await _body(request, _MOST_JSON, limits.seconds, "a list of blocks"))
        return JSONResponse(await run_in_threadpool(images.hide, request.path_params["identity"], cells))

    async def explanation(request: Request) -> Response:
        identity, number = request.path_params["identity"], request.path_params["number"]
        return HTMLResponse(await run_in_threadpool(images.card, identity, number))

    routes = [
        Route("/", page),
        *(Route(address, file) for address in FILES),
        Route("/images", _answering(add), methods=["POST"]),
        Route("/images/{identity}/blocks", _answering(blocks)),
        Route("/images/{identity}/hidden", _answering(hidden), methods=["POST"]),
        Route("/images/{identity}/classes/{number:int}", _answering(explanation)),
    ]
    return _Guard(Starlette(routes=routes), frozenset(hosts))


def _answering(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose every failure is one sentence, as {"problem": ...}."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except UserError as error:
            status = {Gone: 404, Slow: 503, _TooMuch: 413}.get(type(error), 400)
            return JSONResponse({"problem": str(error)}, status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:  # such as a GPU without memory: the page says so, the terminal says what
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"hvit app: {type(error).__name__}: {line[:300]}", file=sys.stderr, flush=True)
            return JSONResponse({"problem": "this could not be computed; the terminal of hvit app says why"}, 500)

    return answer


async def _body(request: Request, most: int, seconds: float, what: str) -> bytes:
    """The body of a request, which must not be larger, and must have come within some seconds."""
    content = bytearray()
    too_much = f"{what} may have {short_number(most)}B at most"
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _TooMuch(too_much)
    try:
        with anyio.fail_after(seconds):
            async for part in request.stream():
                content += part
                if len(content) > most:
                    raise _TooMuch(too_much)
    except TimeoutError:
        raise Slow(f"{what} did not arrive within {seconds:g} seconds") from None
    return bytes(content)


def _cells(content: bytes) -> list[tuple[int, int]]:
    """Rows and columns of blocks, from JSON."""
    try:
        cells = json.loads(content)["cells"]
        if not all(type(part) is int for row, column in cells for part in (row, column)):
            raise TypeError
        return [(row, column) for row, column in cells]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError('blocks are given as {"cells": [[row, column], ...]}') from None


class _Guard:
    """Answers only those who address this machine, and only its own page; adds the headers of every answer.

    A name of somebody else's that leads here (DNS rebinding) and pages of others that send requests are refused.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if not self._is_known(host):
            answer = JSONResponse({"problem": f"this page is not at {quoted(host)}: use the address it printed"}, 421)
        elif origin is not None and urlsplit(origin).netloc != host:
            answer = JSONResponse({"problem": "requests of other pages are refused"}, 403)
        else:
            answer = self.app
        await answer(scope, receive, send_guarded)

    def _is_known(self, host: str) -> bool:
        """Whether a host is a number, which nobody can redirect, or one of this machine's names."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name == "localhost" or name in self.hosts or _is_number(name)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UserError where that is impossible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {quoted(host)} is no address of this machine: {error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise UserError(
            f"cannot listen on {host} at port {port}: {reason}; choose another --port, 0 takes a free one"
        ) from error
    return listening


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches a socket."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def address_of(listening: socket.socket) -> str:
    """The address of the page, for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    parsed = ipaddress.ip_address(host.partition("%")[0])
    if parsed.is_unspecified:
        host = "127.0.0.1" if parsed.version == 4 else "::1"
    return f"http://{f'[{host}]' if parsed.version == 6 else host}:{port}/"


def serve(app: ASGIApp, listening: socket.socket, seconds: float = 60.0) -> None:
    """Serves until a signal ends it; Ctrl-C then raises KeyboardInterrupt.

    seconds: within which a connection must have sent a request.
    """
    config = uvicorn.Config(
        app, http=_impatient(seconds), ws="none", lifespan="off", log_config=None, log_level="critical",
        access_log=False, server_header=False, proxy_headers=False, limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=5, timeout_graceful_shutdown=1,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def _impatient(seconds: float) -> type[H11Protocol]:
    """A protocol that closes connections on which no request came."""

    class Impatient(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            super().connection_made(transport)
            self.loop.call_later(seconds, self._unless_asked)

        def _unless_asked(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

    return Impatient
