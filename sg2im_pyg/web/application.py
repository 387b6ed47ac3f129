"""A page's application: its routes, and the gate before them that every request passes.

The gate checks from top to bottom: the name that the page was asked for by, how much the client
asks for, the token, where a request that changes something comes from, and how much is sent. Each
answer, also a refusal, has the headers of :data:`HEADERS`; each refusal is one sentence, as JSON or
for a browser as HTML.
"""

import asyncio
import hashlib
import hmac
import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sg2im_pyg.web.limits import RateLimit, client_of
from sg2im_pyg.web.options import WebOptions

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""What a browser is told with each answer, unless the answer says otherwise."""

MOST_BYTES = 2**16
"""Bytes that a request may send by default."""
BODY_SECONDS = 15
"""Time in which all of them must have come."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_COOKIE_SECONDS = 30 * 24 * 3600
_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address is not asked in this way.",
}


def make_application(
    routes: Sequence[BaseRoute],
    options: WebOptions,
    token: str | None = None,
    most_bytes: int = MOST_BYTES,
    limit: RateLimit | None = None,
) -> ASGIApp:
    """The application of a page.

    Args:
        routes: What it answers to. Addresses within the page are relative ones, so that it can be
            reached below any path.
        options: Where it is served.
        token: Secret without which nothing is answered; none where the page is open to all that
            can reach it.
        most_bytes: Bytes that a request may send.
        limit: Requests of each client.
    """
    handlers: Mapping[Any, Any] = {HTTPException: _refused, Exception: _failed}
    application = Starlette(routes=routes, exception_handlers=handlers)
    return _Gate(application, options, token, most_bytes, limit)


async def read_json(request: Request) -> Any:
    """What a request sends, as JSON.

    Raises:
        HTTPException: If it is none, or does not come in time.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # other sites' forms cannot send this kind
        raise HTTPException(415, "Send JSON, with the content type application/json.")
    try:
        body = await asyncio.wait_for(request.body(), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise HTTPException(408, "The request did not come in time: send it again.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The connection broke: send the request again.") from None
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise HTTPException(400, "What was sent is no JSON.") from None


class StaticFiles:
    """Files that come with a page, by their names; they are read once, and no name that is asked
    for becomes a path.

    Args:
        files: Content and type of each file, by its name.
    """

    def __init__(self, files: Mapping[str, tuple[bytes, str]]) -> None:
        self._files = dict(files)
        self._tags = {
            name: f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            for name, (content, _) in files.items()
        }

    def answer(self, request: Request) -> Response:
        """The file that a request names."""
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        headers = {"Cache-Control": "no-cache", "ETag": self._tags[name]}
        if request.headers.get("if-none-match") == self._tags[name]:
            return Response(status_code=304, headers=headers)
        content, kind = self._files[name]
        return Response(content, media_type=kind, headers=headers)


class _Gate:
    """What every request passes."""

    def __init__(
        self,
        application: ASGIApp,
        options: WebOptions,
        token: str | None,
        most_bytes: int,
        limit: RateLimit | None,
    ) -> None:
        self._application, self._options, self._token = application, options, token
        self._most_bytes, self._limit = most_bytes, limit
        digest = hashlib.sha256((token or "").encode()).hexdigest()
        self._cookie = f"sg2im_{digest[:8]}"  # cookies of a host are shared by its ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._application(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        try:
            self._check_host(request)
            self._check_rate(request)
            answer = self._check_token(request)
            self._check_origin(request)
            receive = self._limited(request, receive)
        except HTTPException as error:
            answer = _refused(request, error)
        await (answer or self._application)(scope, receive, send_with_headers)

    def _check_host(self, request: Request) -> None:
        hosts = self._options.hosts
        if hosts is not None and _name(request.headers.get("host", "")) not in hosts:
            raise HTTPException(
                421, "The page is not served under this name: open it by the link it was given."
            )

    def _check_rate(self, request: Request) -> None:
        if self._limit is not None:
            check_rate(self._limit, request)

    def _check_token(self, request: Request) -> Response | None:
        """An answer that hands the token over as a cookie, so that it leaves the address line."""
        if self._token is None:
            return None
        if request.method == "GET" and request.url.path.endswith("/"):
            pairs = parse_qsl(request.url.query, keep_blank_values=True)
            given = [value for name, value in pairs if name == "token"]
            if given and self._is_token(given[0]):
                others = urlencode([pair for pair in pairs if pair[0] != "token"])
                answer = RedirectResponse(f"./?{others}" if others else "./", 303)
                answer.set_cookie(
                    self._cookie,
                    self._token,
                    max_age=_COOKIE_SECONDS,
                    secure=self._options.is_encrypted,
                    httponly=True,
                    samesite="lax",
                )
                return answer
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        kept = request.cookies.get(self._cookie, "")
        if self._is_token(kept) or (scheme.lower() == "bearer" and self._is_token(bearer.strip())):
            return None
        raise HTTPException(
            401,
            "Open this page by its whole link, with the token at its end, and let it set a cookie.",
            {"WWW-Authenticate": "Bearer"},
        )

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), str(self._token).encode())

    def _check_origin(self, request: Request) -> None:
        """Other sites may not change anything through the browser of somebody who has the token."""
        if request.method in _SAFE:
            return
        origin = request.headers.get("origin")
        own = {request.headers.get("host", "").lower()}
        if self._options.address is not None:
            own.add(urlsplit(self._options.address).netloc.lower())
        is_foreign = origin is not None and origin.lower().partition("://")[2] not in own
        if is_foreign or request.headers.get("sec-fetch-site") == "cross-site":
            raise HTTPException(403, "Another site may not send anything here.")

    def _limited(self, request: Request, receive: Receive) -> Receive:
        """Messages of a request, of which no more than allowed is taken."""
        announced = request.headers.get("content-length", "0")
        refusal = HTTPException(
            413,
            f"A request may send {self._most_bytes:,} bytes at most.",
            {"Connection": "close"},
        )
        if not announced.isdecimal() or len(announced) > 18 or int(announced) > self._most_bytes:
            raise refusal
        taken = 0

        async def receive_limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most_bytes:
                raise refusal
            return message

        return receive_limited


def check_rate(limit: RateLimit, request: Request) -> None:
    """Counts a request against a limit.

    Raises:
        HTTPException: If its client has to wait; ``Retry-After`` says how long.
    """
    client = client_of(request.client.host if request.client else "")
    seconds = math.ceil(limit.wait(client))
    if seconds:
        raise HTTPException(
            429,
            f"Too many requests at once: wait {seconds} seconds.",
            {"Retry-After": str(seconds)},
        )


def _refused(request: Request, error: HTTPException) -> Response:
    # Starlette's own words are kept only where nothing better is known.
    sentence = _SENTENCES.get(error.status_code, error.detail)
    return _answer(request, error.status_code, sentence, error.headers)


def _failed(request: Request, error: Exception) -> Response:
    return _answer(request, 500, "Something went wrong here: try again.", None)


def _answer(
    request: Request, status: int, sentence: str, headers: Mapping[str, str] | None
) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        text = html.escape(sentence)
        page = f'<!doctype html><html lang="en"><title>{status}</title><main><p>{text}</p></main>'
        return HTMLResponse(page, status, headers)
    return JSONResponse({"error": sentence}, status, headers)


def _refuse_constant(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


def _name(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()
