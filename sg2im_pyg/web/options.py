"""Where a page is served and who may ask for it: the options that all pages have."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from sg2im_pyg.errors import Sg2ImError, shortened
from sg2im_pyg.system.options import check_options, option


@dataclass
class WebOptions:
    """Where a page is served."""

    host: str = option("127.0.0.1", metavar="ADDRESS")
    """Address of this computer to listen at; 0.0.0.0: all of them, for other computers to reach."""
    port: int = option(8000, least=0, most=65535)
    """Port to listen at; 0: any that is free."""
    address: str | None = option(None, metavar="URL")
    """How others reach the page where something stands in between, such as https://example.org/study."""
    token: str | None = option(None, metavar="TEXT")
    """Secret that stands in the link where others can reach the page; null: one is drawn."""
    open: bool = False
    """Whether to open the page in the browser."""

    def __post_init__(self) -> None:
        check_options(self)
        if self.token is not None and not (
            8 <= len(self.token) <= 200 and self.token.isascii() and self.token.isalnum()
        ):
            raise Sg2ImError("--token must be 8 to 200 letters and digits.")
        if self.address is not None:
            _check_address(self.address)

    @property
    def is_public(self) -> bool:
        """Whether anybody but this computer's own users can reach the page."""
        return self.address is not None or not is_loopback(self.host)

    @property
    def is_encrypted(self) -> bool:
        """Whether others reach the page by HTTPS."""
        return self.address is not None and self.address.lower().startswith("https:")

    @property
    def hosts(self) -> frozenset[str] | None:
        """Names by which the page may be asked for; none where any is allowed.

        A page that only this computer reaches is asked for by this computer's own names: a web
        site whose name was made to point here (DNS rebinding) is refused. Where others reach it by
        addresses that are not known here, the token keeps such sites out.
        """
        if not is_loopback(self.host) and self.address is None:
            return None
        names = {"localhost", "127.0.0.1", "[::1]", _in_url(self.host)}
        if self.address is not None:
            names.add(_host(self.address))
        return frozenset(names)


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is this computer's own, which no other reaches.

    Examples:
        >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "")]
        [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page_address(options: WebOptions, host: str, port: int, token: str | None) -> str:
    """The link to a page, as a person opens it.

    Args:
        options: Its options.
        host: Name of this computer for others.
        port: The port in use.
        token: Secret that is asked for; none where it is not.
    """
    address = (options.address or f"http://{_in_url(host)}:{port}").rstrip("/") + "/"
    return address if token is None else f"{address}?token={token}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_right = is_right and not (parts.query or parts.fragment or parts.username)
        _ = parts.port
    except ValueError:
        is_right = False
    if not is_right or not address.isascii() or not address.isprintable():
        raise Sg2ImError(
            f"--address must be such as https://example.org/study, got {shortened(repr(address))}."
        )


def _host(address: str) -> str:
    return _in_url(urlsplit(address).hostname or "")
