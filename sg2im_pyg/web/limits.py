"""How much one client may ask for."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_CLIENTS = 20_000


class RateLimit:
    """So many requests a second of each client, and so many at once after a pause.

    What is known of a client is how much it has left, for as long as that matters, and in memory
    only.

    Args:
        per_second: Requests a second that can go on for ever.
        burst: Requests at once.
        clock: Seconds that pass.

    Examples:
        >>> now = [0.0]
        >>> limit = RateLimit(2, burst=2, clock=lambda: now[0])
        >>> [limit.wait("a") for _ in range(3)]
        [0.0, 0.0, 0.5]
        >>> limit.wait("b")
        0.0
        >>> now[0] = 0.5
        >>> limit.wait("a")
        0.0
    """

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, cost: float = 1) -> float:
        """Takes a request of a client into account.

        Args:
            client: Who asks.
            cost: How many requests it counts for.

        Returns:
            Zero, or the seconds after which it may ask again.
        """
        now = self._clock()
        left, before = self._clients.get(client, (float(self._burst), now))
        left = min(self._burst, left + (now - before) * self._per_second)
        is_allowed = left >= cost
        self._clients[client] = (left - cost if is_allowed else left, now)
        self._clients.move_to_end(client)
        while len(self._clients) > _MOST_CLIENTS:  # those that asked for nothing the longest
            self._clients.popitem(last=False)
        return 0.0 if is_allowed else (cost - left) / self._per_second


def client_of(address: str) -> str:
    """Who counts as one client: an address, or the network of one of IPv6, of which a client has
    as many as it likes.

    Examples:
        >>> client_of("192.0.2.7"), client_of("2001:db8::1") == client_of("2001:db8::2")
        ('192.0.2.7', True)
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
