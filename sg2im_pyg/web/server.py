"""Serves a page's application until it is stopped: the one place where uvicorn is started."""

import secrets
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.web.options import WebOptions, page_address

WAITING_SECONDS = 20
"""How long a connection may take to ask for something."""
_MOST_CONNECTIONS = 1_000
_CLOSING_SECONDS = 5
_BUSY = object()
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
]


def serve(
    application: ASGIApp,
    options: WebOptions,
    token: str | None,
    say: Callable[[str], None],
) -> None:
    """Serves an application until Ctrl-C or SIGTERM; requests that have begun are answered first.

    Args:
        application: See :func:`~sg2im_pyg.web.application.make_application`.
        options: Where it is served.
        token: The secret of its link, if it has one.
        say: Is told the link as soon as it can be opened.

    Raises:
        Sg2ImError: If the address can not be listened at.
    """
    listener = _listen(options.host, options.port)
    with listener:
        host, port = listener.getsockname()[:2]
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        address = page_address(options, host, port, token)
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=_Protocol,
                ws="none",
                loop="asyncio",
                log_level="warning",
                access_log=False,  # addresses of people are written nowhere
                server_header=False,
                proxy_headers=options.address is not None,  # of a proxy on this computer
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=WAITING_SECONDS,
                timeout_graceful_shutdown=_CLOSING_SECONDS,
            )
        )
        # For a signal before uvicorn listens to them, and for the one that ended it, which uvicorn
        # hands on to whoever had it before.
        before = {number: signal.signal(number, partial(_end, server)) for number in _SIGNALS}
        try:
            say(address)
            sys.stdout.flush()
            if options.open:
                webbrowser.open(address)
            server.run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def draw_token() -> str:
    """A secret for a link, which nobody guesses."""
    return secrets.token_hex(16)


def _end(server: uvicorn.Server, *_: Any) -> None:
    server.should_exit = True


class _Protocol(H11Protocol):
    """A connection on which nothing is asked for is closed after a while: such ones would take the
    place of others."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(WAITING_SECONDS, self._close_if_waiting, None)

    def _close_if_waiting(self, answered: Any) -> None:
        """Closes it if all the time since the request that was answered, or none, nothing came."""
        if self.transport.is_closing():
            return
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self.cycle is answered:
            self.transport.close()
            return
        answered = self.cycle if is_waiting else _BUSY
        self.loop.call_later(WAITING_SECONDS, self._close_if_waiting, answered)


def _listen(host: str, port: int) -> socket.socket:
    """A socket at which browsers can already knock: they are answered when the server runs."""
    try:
        [found, *_] = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, place = found
        # On Windows "reuse" would share a port that is in use.
        listener = socket.create_server(place[:2], family=family, backlog=1024)
    except OSError as error:
        busy = error.errno is not None and "in use" in str(error).lower()
        if busy or getattr(error, "winerror", None) in (10013, 10048):
            raise Sg2ImError(
                f"Port {port} of {host} is in use: give another one with --port, or --port 0 for "
                "any that is free."
            ) from error
        raise Sg2ImError(
            f"{host}, port {port}, can not be listened at ({first_line(error)}): give another "
            "--host or --port."
        ) from error
    except UnicodeError as error:
        raise Sg2ImError(f"--host {host!r} is no address of this computer.") from error
    listener.setblocking(False)
    return listener
