"""A web page as a document: looked at when it is listed, fetched only when it has to be read."""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial

import httpcore
import httpx

from ragsaver import __version__
from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.bounded import gunzip, join, too_large
from ragsaver.ingestion.converters import HTML, MARKDOWN, PDF, TEXT, format_of
from ragsaver.ingestion.sources.connections import GuardedTransport, all_within
from ragsaver.ingestion.sources.item import SourceItem, unreadable
from ragsaver.settings import SourcesSettings

MAX_REDIRECTS = 5
_TYPES = {
    "text/html": HTML,
    "application/xhtml+xml": HTML,
    "text/plain": TEXT,
    "text/markdown": MARKDOWN,
    "text/x-markdown": MARKDOWN,
    "application/pdf": PDF,
}
_BOM = b"\xef\xbb\xbf"
_FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a page's headers tell of it."""

    format: str
    version: str


class Web:
    """The way to pages.

    :param max_bytes: of one page.
    """

    def __init__(self, settings: SourcesSettings, max_bytes: int) -> None:
        transport = GuardedTransport(allow_private=settings.allow_private_addresses)
        headers = {"User-Agent": f"ragsaver/{__version__}", "Accept-Encoding": "gzip"}
        # A proxy of the environment would connect in our place, to addresses that nobody has checked.
        self._client = httpx.Client(transport=transport, headers=headers, trust_env=False)
        self._seconds = settings.timeout_s
        self._max_bytes = max_bytes
        # The last item that can still be read keeps the connections; then they are closed.
        weakref.finalize(self, transport.close)

    def item(self, url: str) -> SourceItem:
        """The page as a document; what is wrong with it is said when it is read."""
        try:
            url = address_of(url)
            seen = self._look(url)
        except UnreadableDocument as error:
            # The error's place is the address without a password that was in it.
            shown = error.where or url
            return unreadable(shown, shown, error)
        return SourceItem(url, url, None, seen.version, seen.format, partial(self._page, url, seen.format))

    def fetch(self, url: str) -> bytes:
        """What the address gives, of whatever type.

        :raises UnreadableDocument: if it gives nothing, too much, or takes too long.
        """
        with self._answer("GET", url) as answer:
            return self._body(answer, url)

    def _look(self, url: str) -> _Seen:
        with self._answer("HEAD", url, any_status=True) as answer:
            if answer.status_code == httpx.codes.OK and "content-type" in answer.headers:
                return _seen(answer, url)
        # Not every server answers HEAD: the headers of GET tell the same, and the body is not read.
        with self._answer("GET", url) as answer:
            return _seen(answer, url)

    def _page(self, url: str, expected: str) -> bytes:
        with self._answer("GET", url) as answer:
            if (kind := _seen(answer, url).format) != expected:
                raise UnreadableDocument(
                    f"is {kind} now and was {expected} a moment ago", where=url, remedy="Ingest it again"
                )
            data = self._body(answer, url)
            return data if kind == PDF else _in_unicode(data, answer.charset_encoding)

    @contextmanager
    def _answer(self, method: str, url: str, *, any_status: bool = False) -> Iterator[httpx.Response]:
        """The answer at the end of the redirects, its body not read yet."""
        try:
            with all_within(self._seconds):
                answer = self._follow(self._client.build_request(method, url), url)
                try:
                    if answer.status_code != httpx.codes.OK and not any_status:
                        raise UnreadableDocument(
                            f"the server answers {answer.status_code} {answer.reason_phrase}".rstrip(), where=url
                        )
                    yield answer
                finally:
                    answer.close()
        except (httpcore.TimeoutException, httpx.TimeoutException) as error:
            raise UnreadableDocument(
                f"takes longer than {self._seconds:g} s", where=url, remedy="Try again, or raise `sources.timeout_s`"
            ) from error
        except _FAILURES as error:
            raise UnreadableDocument(
                f"can't be fetched: {str(error) or type(error).__name__}", where=url, remedy="Check the address"
            ) from error
        except UnreadableDocument as error:
            raise UnreadableDocument(error.problem, where=url, remedy=error.remedy) from error

    def _follow(self, request: httpx.Request, url: str) -> httpx.Response:
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._client.send(request, stream=True, follow_redirects=False)
            if answer.next_request is None:
                return answer
            answer.close()
            request = answer.next_request
            address_of(str(request.url))
        raise UnreadableDocument(f"is redirected more than {MAX_REDIRECTS} times", where=url)

    def _body(self, answer: httpx.Response, url: str) -> bytes:
        announced = answer.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise too_large(self._max_bytes, url)
        parts: Iterable[bytes] = answer.iter_raw()
        encoding = answer.headers.get("content-encoding", "identity").strip().lower()
        # httpx would unpack whole pieces at once: a bomb has to meet the limit before it is in memory.
        if encoding in ("gzip", "x-gzip"):
            parts = gunzip(parts, url)
        elif encoding not in ("identity", ""):
            raise UnreadableDocument(f"comes packed as {encoding}, which was not asked for", where=url)
        return join(parts, self._max_bytes, url)


def address_of(url: str) -> str:
    """A page's address as its name: without the fragment, which no server sees.

    :raises UnreadableDocument: if it is none, or holds a password, which a citation would show.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UnreadableDocument(f"is no address: {error}", where=url) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UnreadableDocument("is no http or https address", where=url)
    if parsed.userinfo:
        shown = str(parsed.copy_with(userinfo=b""))
        raise UnreadableDocument("its address holds a name or password", where=shown, remedy="Leave them out")
    return str(parsed.copy_with(fragment=None))


def _seen(answer: httpx.Response, url: str) -> _Seen:
    declared = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    kind = _TYPES.get(declared)
    if kind is None:
        raise UnreadableDocument(
            f"is {declared or 'of no type'}, which can't be read",
            where=url,
            remedy=f"Types that can: {', '.join(_TYPES)}",
        )
    # Markdown is mostly served as plain text; its name tells it.
    if kind == TEXT and format_of(answer.url.path) == MARKDOWN:
        kind = MARKDOWN
    return _Seen(kind, version_of(answer.headers))


def version_of(headers: httpx.Headers) -> str:
    """What the headers say that changes with the content; `""` if nothing does for sure.

    A time of the last change tells seconds apart: one so fresh that another change could hide behind it says
    nothing (RFC 9110, section 8.8.2.2).
    """
    if "etag" in headers:
        return headers["etag"]
    changed = headers.get("last-modified", "")
    try:
        age = parsedate_to_datetime(headers.get("date", "")) - parsedate_to_datetime(changed)
    except (ValueError, TypeError):
        return ""
    return changed if age.total_seconds() > 1 else ""


def _in_unicode(data: bytes, charset: str | None) -> bytes:
    """The text in UTF-8 with a mark that says so, if the server told its encoding and told the truth."""
    if charset is None or data.startswith((_BOM, b"\xff\xfe", b"\xfe\xff")):
        return data
    try:
        return _BOM + data.decode(charset).encode()
    except (LookupError, ValueError):
        return data
