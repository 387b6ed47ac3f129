"""Fetches one file over HTTP: transfers that go on where they broke, mirrors, checksums."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from sg2im_pyg.errors import Sg2ImError, first_line
from sg2im_pyg.system.disk import check_space
from sg2im_pyg.system.files import read_json, sha256_of, write_json
from sg2im_pyg.system.progress import progress_bar, say


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched, and what is made of it in the data folder.

    Args:
        name: Name of the file.
        addresses: Where it can be fetched, in the order in which they are tried.
        size: Bytes, :obj:`None` where not known.
        sha256: Checksum as hexadecimal digits, :obj:`None` where not known.
        members: What is unpacked of an archive, as :func:`~sg2im_pyg.system.archives.unpack` takes
            it; nothing for a file that is used as it is.
        into: Folder below the data folder that the members land in; those that are in the data
            folder itself are taken too.
        unpacked_size: Bytes of the members, roughly; :obj:`None`: as many as the archive has.
        optional: Whether the preparation can do without it.
    """

    name: str
    addresses: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    members: tuple[str, ...] = ()
    into: str = "."
    unpacked_size: int | None = None
    optional: bool = False


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, and how often it is asked again.

    Args:
        connect_seconds: Longest wait for a connection.
        read_seconds: Longest wait for the next bytes; a transfer that stalls for longer is broken.
        attempts: So many attempts in a row that bring nothing new, and the next address is tried.
        first_wait: Seconds before the second attempt; each further wait is twice as long.
        longest_wait: Seconds that no wait exceeds.
        slow_seconds: Seconds after which a transfer must have had a pace.
        least_bytes_a_second: That pace; a server that drips is left.
        sleep: What waits.
    """

    connect_seconds: float = 20
    read_seconds: float = 60
    attempts: int = 5
    first_wait: float = 1
    longest_wait: float = 60
    slow_seconds: float = 600
    least_bytes_a_second: float = 1000
    sleep: Callable[[float], None] = time.sleep


PATIENCE = Patience()

_MOST_UNKNOWN = 4 * 2**30
"""Bytes of a file of which neither we nor the server know the size."""


def fetch(
    file: RemoteFile,
    folder: str | Path,
    mirror: str | None = None,
    progress: bool = True,
    patience: Patience = PATIENCE,
) -> Path:
    """Downloads a file, or goes on with its download, unless it is there.

    The bytes go to :obj:`NAME.part`; beside it :obj:`NAME.part.json` keeps where they come from
    and what the server calls this version of the file. A broken transfer goes on where it broke if
    the server still has that version; at another address it goes on only if a checksum will show
    whether the parts belong together.

    Args:
        file: What to fetch.
        folder: Folder to fetch it to.
        mirror: Address of a folder that holds the file under its name, tried first.
        progress: Say when an attempt fails, and show a bar if stderr is a terminal.
        patience: How long servers are waited for.

    Returns:
        The file's path.

    Raises:
        Sg2ImError: If a file of this name is there but is not the right one; if the disk has not
            enough room; if no address has the file.
    """
    return fetch_from(file, folder, mirror, progress, patience)[0]


def fetch_from(
    file: RemoteFile, folder: str | Path, mirror: str | None, progress: bool, patience: Patience
) -> tuple[Path, str | None]:
    """What :func:`fetch` does; gives also the address that had the file, :obj:`None` if it was
    there."""
    path = Path(folder) / file.name
    if path.exists():
        verify(file, path, progress)
        return path, None
    part = _Part(file, path.parent, progress, patience)
    addresses = _addresses(file, mirror, part.origin.get("address"))
    check_space({path.parent: part.bytes_left()}, f"Downloading {file.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    with requests.Session() as session:
        session.headers["User-Agent"] = "sg2im_pyg"
        session.headers["Accept-Encoding"] = "identity"  # ranges count the file's own bytes
        for address in addresses:
            try:
                part.transfer(session, address)
            except _Unusable as error:
                failures.append(f"{address} ({error})")
                continue
            part.path.replace(path)
            part.discard()
            if file.sha256:
                write_record(path, file.sha256, address)
            return path, address
    kept = "; what came so far is kept for the next attempt" if part.size() else ""
    raise Sg2ImError(
        f"{file.name} could not be downloaded from {', nor from '.join(failures)}{kept}: check the "
        f"network and try again, name a mirror, or put the file into {path.parent} yourself."
    )


def verify(file: RemoteFile, path: Path, progress: bool = True) -> None:
    """Raises unless a file that is there has the size and the checksum that are known.

    The checksum is computed once, see :func:`write_record`.

    Raises:
        Sg2ImError: If it does not fit.
    """
    found, record = path.stat(), read_json(record_path(path))
    known = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": file.sha256}
    if file.sha256 and known.items() <= record.items():
        return
    mismatch = _mismatch(file, path, progress)
    if mismatch:
        raise Sg2ImError(
            f"{path} is not the file that is expected, it {mismatch}: remove it to have it "
            "downloaded, or put the right file there."
        )
    if file.sha256:
        write_record(path, file.sha256, record.get("address"))


def write_record(path: Path, sha256: str, address: object) -> None:
    """Keeps beside a whole file, in :obj:`NAME.fetched.json`, what it is and where it came from."""
    found = path.stat()
    content = {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": sha256}
    with suppress(OSError):  # a folder that can only be read: it is computed again
        write_json(record_path(path), {**content, "address": address})


def record_path(path: Path) -> Path:
    """Where the record of a file lies."""
    return path.with_name(f"{path.name}.fetched.json")


class _Unusable(Exception):
    """An address does not have the file: the next one is tried."""


class _Broken(Exception):
    """A transfer ended early: the same address is asked again."""


class _Part:
    """A file on its way: its bytes so far, and where they come from."""

    def __init__(
        self, file: RemoteFile, folder: Path, progress: bool = True, patience: Patience = PATIENCE
    ) -> None:
        self.file, self.progress, self.patience = file, progress, patience
        self.path = folder / f"{file.name}.part"
        self._origin_path = folder / f"{file.name}.part.json"
        self.origin = read_json(self._origin_path)  # address, version, total
        kinds = {"address": str, "version": str, "total": int}
        if any(not isinstance(self.origin.get(n), kind | None) for n, kind in kinds.items()):
            self.origin = {}

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def bytes_left(self) -> int:
        return max((self.file.size or 0) - self.size(), 0)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)
        self.origin = {}

    def transfer(self, session: requests.Session, address: str) -> None:
        """Receives from one address, in as many attempts as bring the transfer forward."""
        farthest = failures = 0
        while True:
            try:
                self._receive(session, address)
                break
            except _Broken as error:
                reason = str(error)
            except requests.RequestException as error:
                reason = _reason(error)
                if isinstance(error, ValueError | requests.TooManyRedirects):  # no proper address
                    raise _Unusable(reason) from error
            if self.size() > farthest:
                farthest, failures = self.size(), 0
            failures += 1
            if failures >= self.patience.attempts:
                raise _Unusable(reason)
            wait = min(self.patience.first_wait * 2 ** (failures - 1), self.patience.longest_wait)
            say(f"{self.file.name}: {reason}, next attempt in {wait:g} s", self.progress)
            self.patience.sleep(wait)
        mismatch = _mismatch(self.file, self.path, self.progress)
        if mismatch:
            self.discard()
            raise _Unusable(f"what came {mismatch}")

    def _receive(self, session: requests.Session, address: str) -> None:
        """One request: appends to the part, or begins it anew."""
        expected = self.file.size
        version: str | None = self.origin.get("version")
        total: int | None = self.origin.get("total") or expected
        same_place = version is not None and self.origin.get("address") == address
        # Without a version or a checksum nothing would tell whether the rest belongs to the part.
        start = self.size() if same_place or (self.file.sha256 and total) else 0
        if start and start == total:
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and same_place:
            headers["If-Range"] = str(version)
        timeout = (self.patience.connect_seconds, self.patience.read_seconds)
        with session.get(address, headers=headers, timeout=timeout, stream=True) as response:
            status = response.status_code
            if status in (408, 425, 429) or status >= 500:
                raise _Broken(f"the server answers with status {status}")
            if status == 416 and start:
                self.discard()
                raise _Broken("the server has no more bytes than there are already")
            if status not in (200, 206) or (status == 206 and not start):
                raise _Unusable(f"the server answers with status {status}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise _Unusable("the server sends the file in another encoding")
            version_now, (begin_now, total_now) = _version(response), _extent(response)
            if None not in (total_now, expected) and total_now != expected:
                raise _Unusable(f"the file has {total_now:,} bytes there instead of {expected:,}")
            if status == 206:
                another = same_place and version_now not in (None, version)
                if another or (begin_now, total_now) != (start, total):
                    self.discard()
                    raise _Broken("the server goes on with another file")
            else:
                self.discard()
                start, total = 0, total_now
            if status == 200 or not same_place:
                self.origin = {"address": address, "version": version_now, "total": total}
                write_json(self._origin_path, self.origin)
            if total is not None:  # as announced, where the size was not known before
                check_space({self.path.parent: total - start}, f"Downloading {self.file.name}")
            self._append(response, start, expected if total is None else total)
        if total is None and self.size() > _MOST_UNKNOWN:
            self.discard()
            raise _Unusable(f"the server sends more than {_MOST_UNKNOWN:,} bytes without saying so")
        if total is not None and self.size() < total:  # urllib3 before 2 says nothing
            raise _Broken(f"the connection ended after {self.size():,} of {total:,} bytes")
        if total is not None and self.size() > total:
            self.discard()
            raise _Unusable(f"the server sends more than the {total:,} bytes that it announced")

    def _append(self, response: requests.Response, start: int, limit: int | None) -> None:
        bar = progress_bar(self.file.name, limit, self.progress, initial=start, leave=False)
        with bar, self.path.open("ab") as stream:
            began, first = time.monotonic(), stream.tell()
            # Small pieces: what a broken connection leaves of one is lost.
            for piece in response.iter_content(2**16):
                stream.write(piece)
                bar.update(len(piece))
                if stream.tell() > (_MOST_UNKNOWN if limit is None else limit):
                    break  # the size is looked at later: this only keeps the disk from filling
                passed = time.monotonic() - began
                slowest = self.patience.least_bytes_a_second
                if passed > self.patience.slow_seconds and stream.tell() - first < passed * slowest:
                    raise _Unusable("the server sends next to nothing")


def _version(response: requests.Response) -> str | None:
    """What names the version of a file in If-Range; weak tags are not allowed there."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _extent(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte of an answer, and size of the whole file."""
    if response.status_code == 206:
        text = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})", text)
        return (int(found[1]), int(found[2])) if found else (None, None)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def _reason(error: Exception) -> str:
    """What went wrong with a connection, in a few words."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    for kind, words in (
        (requests.exceptions.SSLError, "no secure connection"),
        (requests.exceptions.ProxyError, "the proxy can not be reached"),
        (requests.exceptions.ChunkedEncodingError, "the connection broke"),
        (requests.ConnectionError, "the server can not be reached"),
    ):
        if isinstance(error, kind):
            return words
    return first_line(error)


def _addresses(file: RemoteFile, mirror: str | None, begun_at: str | None) -> list[str]:
    addresses = list(file.addresses)
    if begun_at in addresses:  # first where a broken transfer can go on
        addresses.sort(key=lambda address: address != begun_at)
    if mirror is not None:
        if not re.match(r"https?://[^/]", mirror):
            raise Sg2ImError(
                f"The mirror must be an address that begins with http:// or https://, got {mirror}."
            )
        addresses.insert(0, f"{mirror.rstrip('/')}/{file.name}")
    return addresses


def _mismatch(file: RemoteFile, path: Path, progress: bool) -> str | None:
    """In which way a file is not the expected one, :obj:`None` if it is."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes instead of {file.size:,}"
    if file.sha256 is None:
        return None
    with progress_bar(f"Checking {file.name}", size, progress, leave=False) as bar:
        found = sha256_of(path, bar.update)
    if found == file.sha256:
        return None
    return f"has the SHA-256 checksum {found} instead of {file.sha256}"


def bytes_left(file: RemoteFile, folder: Path) -> int:
    """How much of a file is still to come, 0 where its size is not known."""
    return _Part(file, folder).bytes_left()
