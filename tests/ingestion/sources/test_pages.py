"""Pages are fetched within their limits, one that fails stops no other, and their addresses are their names."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from ragsaver import __version__
from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.sources import SourceItem, list_sources
from ragsaver.ingestion.sources.pages import version_of
from ragsaver.settings import SourcesSettings
from tests.ingestion.sources.site import Site, serving

CWD = Path("/nowhere")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as served:
        yield served


def items(*paths: str, cwd: Path = CWD, timeout_s: float = 20, max_bytes: int = 10_000, **globs) -> list[SourceItem]:
    settings = SourcesSettings(allow_private_addresses=True, timeout_s=timeout_s)
    return list(list_sources(paths, home=cwd / "home", cwd=cwd, settings=settings, max_bytes=max_bytes, **globs))


def problem(item: SourceItem) -> str:
    with pytest.raises(UnreadableDocument) as caught:
        item.read()
    assert caught.value.where == item.source
    return caught.value.problem


def test_a_page_is_named_by_its_address_and_read_when_asked(site: Site):
    url = site.page("/a.html?q=1", "<p>Hello</p>", ETag='"one"')
    (item,) = items(url + "#part")
    assert (item.source, item.location, item.version, item.format) == (url, url, '"one"', "html")
    assert site.asked == ["HEAD /a.html?q=1"]
    assert item.read() == b"<p>Hello</p>"
    assert site.agents == {f"ragsaver/{__version__}"}


@pytest.mark.parametrize(
    ("path", "type_", "expected"),
    [
        ("/a", "text/html; charset=utf-8", "html"),
        ("/a", "Application/XHTML+xml", "html"),
        ("/a.html", "text/plain", "text"),
        ("/a.md", "text/plain; charset=utf-8", "markdown"),
        ("/a", "text/markdown", "markdown"),
        ("/a", "application/pdf", "pdf"),
    ],
)
def test_the_type_that_is_declared_decides_the_format(site: Site, path: str, type_: str, expected: str):
    (item,) = items(site.page(path, "text", type_))
    assert item.format == expected


@pytest.mark.parametrize("type_", ["image/png", "application/octet-stream", None])
def test_a_page_of_another_type_is_not_read(site: Site, type_: str | None):
    (item,) = items(site.page("/a", "text", type_))
    assert "can't be read" in problem(item)


def test_the_encoding_that_the_server_tells_wins_over_the_one_in_the_page(site: Site):
    page = '<html><head><meta charset="utf-8"></head><body><p>Grüße aus Köln</p></body></html>'
    (item,) = items(site.page("/a", page.encode("latin-1"), "text/html; charset=iso-8859-1"))
    assert convert(item.source, item.read(), item.format).blocks[0].text == "Grüße aus Köln"


def test_a_server_that_knows_no_head_is_asked_with_get(site: Site):
    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.command == "HEAD":
            request.send_error(405)
            return
        request.send_response(200)
        request.send_header("Content-Type", "text/plain")
        request.send_header("ETag", '"two"')
        request.send_header("Content-Length", "4")
        request.end_headers()
        request.wfile.write(b"text")

    site.pages["/a"] = answer
    (item,) = items(site.address + "/a")
    assert (item.version, item.format, item.read()) == ('"two"', "text", b"text")


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"etag": 'W/"x"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, 'W/"x"'),
        (
            {"last-modified": "Mon, 01 Jan 2024 00:00:00 GMT", "date": "Mon, 01 Jan 2024 00:01:00 GMT"},
            "Mon, 01 Jan 2024 00:00:00 GMT",
        ),
        ({"last-modified": "Mon, 01 Jan 2024 00:00:00 GMT", "date": "Mon, 01 Jan 2024 00:00:01 GMT"}, ""),
        ({"last-modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, ""),
        ({"last-modified": "yesterday", "date": "Mon, 01 Jan 2024 00:00:01 GMT"}, ""),
        ({}, ""),
    ],
)
def test_a_version_is_told_only_by_what_changes_for_sure(headers: dict[str, str], version: str):
    assert version_of(httpx.Headers(headers)) == version


def test_redirects_are_followed_and_the_page_keeps_the_name_it_was_called_by(site: Site):
    site.page("/new", "text", "text/plain")
    url = site.redirect("/old", "/new", 301)
    (item,) = items(url)
    assert (item.source, item.read()) == (url, b"text")


def test_redirects_end(site: Site):
    site.page("/end", "text", "text/plain")
    for step in range(7):
        site.redirect(f"/{step}", f"/{step + 1}" if step < 6 else "/end")
    (near,) = items(site.address + "/2")
    (far,) = items(site.address + "/1")
    assert near.read() == b"text"
    assert "more than 5 times" in problem(far)


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://example.com/x", "http://user:secret@127.0.0.1/"])
def test_a_redirect_leads_only_to_pages(site: Site, to: str):
    (item,) = items(site.redirect("/a", to))
    assert "address" in problem(item)


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_without_end_is_cut_off_at_the_limit(site: Site, packed: bool):
    block = gzip.compress(bytes(2**24)) if packed else bytes(2**14)
    sent = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/plain")
        request.send_header("Connection", "close")
        request.close_connection = True
        if packed:
            request.send_header("Content-Encoding", "gzip")
        request.end_headers()
        while request.command == "GET" and not site.over.is_set():
            request.wfile.write(block)
            sent.append(len(block))

    site.pages["/a"] = answer
    (item,) = items(site.address + "/a", max_bytes=2**21)
    assert "more than the 2 MB" in problem(item)
    site.over.set()
    assert sum(sent) < 2**27


def test_a_page_that_announces_too_much_is_not_begun(site: Site):
    (item,) = items(site.page("/a", bytes(20_000), "text/plain"))
    assert "more than" in problem(item)


def test_a_packed_page_is_unpacked(site: Site):
    (item,) = items(site.page("/a", gzip.compress(b"text"), "text/plain", Content_Encoding="gzip"))
    assert item.read() == b"text"


@pytest.mark.parametrize("body", [gzip.compress(b"text" * 100, mtime=0)[:-9], b"no gzip at all"])
def test_broken_packing_is_said(site: Site, body: bytes):
    (item,) = items(site.page("/a", body, "text/plain", Content_Encoding="gzip"))
    assert "gzip" in problem(item)


@pytest.mark.parametrize("slow", ["headers", "body"])
def test_a_page_that_comes_in_drops_meets_the_limit_of_time(site: Site, slow: str):
    """Each drop comes well before any timeout of its own."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.command == "HEAD" or slow == "body":
            request.send_response(200)
            request.send_header("Content-Type", "text/plain")
            request.end_headers()
        while request.command == "GET" and not site.over.wait(0.05):
            request.wfile.write(b"x")

    site.pages["/a"] = answer
    (item,) = items(site.address + "/a", timeout_s=0.5)
    assert "longer than 0.5 s" in problem(item)


def test_a_server_that_never_answers_meets_the_limit_of_time(site: Site):
    site.pages["/a"] = lambda request: site.over.wait() and None
    (item,) = items(site.address + "/a", timeout_s=0.3)
    assert "longer than 0.3 s" in problem(item)


def test_one_page_that_fails_stops_no_other(site: Site, tmp_path: Path):
    good = site.page("/good.md", "# Good", "text/markdown")
    closed = "http://127.0.0.1:9/"
    lines = [
        "# pages",
        good,
        "",
        f"{site.address}/gone",
        closed,
        "no address",
        "ftp://x/y",
        "http://me:hunter2@x/",
        good + "#again",
    ]
    (tmp_path / "list.urls").write_text("\n".join(lines), encoding="utf-8-sig")
    found = {item.source: item for item in items("urls:list.urls", cwd=tmp_path)}
    assert found[good].read() == b"# Good"
    assert "404" in problem(found[f"{site.address}/gone"])
    assert "can't be fetched" in problem(found[closed])
    assert "address" in problem(found["no address"])
    assert "password" in problem(found["http://x/"])
    assert len(found) == 6


def test_globs_choose_pages_of_a_list_by_their_paths(site: Site, tmp_path: Path):
    urls = [site.page(f"/{name}", "text") for name in ("blog/a", "docs/b", "docs/old/c")]
    (tmp_path / "list").write_text("\n".join(urls))
    found = items("urls:list", cwd=tmp_path, include=["/docs/"], exclude=["old/"])
    assert [item.source for item in found] == [urls[1]]


def test_an_empty_list_is_told_at_once(tmp_path: Path):
    (tmp_path / "list").write_text("# nothing\n")
    with pytest.raises(UsageError, match="no address"):
        items("urls:list", cwd=tmp_path)
    with pytest.raises(UsageError, match="there is no such file"):
        items("urls:lst", cwd=tmp_path)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        items("https://me:hunter2@example.com/")
    assert "hunter2" not in str(caught.value)


def test_pages_can_be_read_by_several_threads_at_once(site: Site):
    urls = [site.page(f"/{number}", f"page {number}", "text/plain") for number in range(8)]
    texts: dict[str, bytes] = {}
    threads = [
        threading.Thread(target=lambda one=one: texts.__setitem__(one.source, one.read())) for one in items(*urls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {url: f"page {number}".encode() for number, url in enumerate(urls)}
