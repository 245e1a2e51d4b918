"""A sitemap gives a site's pages, and one that is broken, hostile or too large is reported and stops nothing."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.sources import SourceItem, list_sources
from ragsaver.settings import SourcesSettings
from tests.ingestion.sources.site import Site, serving

NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as served:
        yield served


def items(site: Site, path: str = "/sitemap.xml", max_pages: int = 100, **globs) -> list[SourceItem]:
    settings = SourcesSettings(allow_private_addresses=True, sitemap_max_pages=max_pages)
    home = Path("/nowhere")
    named = f"sitemap:{site.address}{path}"
    return list(list_sources([named], home=home, cwd=home, settings=settings, max_bytes=100_000, **globs))


def pages(*addresses: str) -> str:
    image = '<i:image xmlns:i="http://www.google.com/schemas/sitemap-image/1.1"><i:loc>http://x/y.png</i:loc></i:image>'
    return f"<urlset {NAMESPACE}>{''.join(f'<url>{image}<loc> {one} </loc></url>' for one in addresses)}</urlset>"


def index(*addresses: str) -> str:
    return f"<sitemapindex {NAMESPACE}>{''.join(f'<sitemap><loc>{one}</loc></sitemap>' for one in addresses)}</sitemapindex>"


def test_its_pages_come_in_order_and_once(site: Site):
    b, a = site.page("/b", "b", "text/plain"), site.page("/a", "a", "text/plain")
    site.page("/sitemap.xml", pages(b, a, b), "application/xml")
    assert [(item.source, item.read()) for item in items(site)] == [(a, b"a"), (b, b"b")]


def test_an_index_is_followed_packed_or_not_and_a_circle_ends(site: Site):
    a, b = site.page("/a", "a"), site.page("/b", "b")
    one = site.page("/one.xml.gz", gzip.compress(pages(a).encode()), "application/gzip")
    two = site.page("/two.xml", pages(b), "text/xml")
    site.page("/sitemap.xml", index(one, two, site.address + "/sitemap.xml"), "application/xml")
    assert [item.source for item in items(site)] == [a, b]


def test_globs_choose_pages_by_their_paths(site: Site):
    a, b = site.page("/docs/a", "a"), site.page("/blog/b", "b")
    site.page("/sitemap.xml", pages(a, b))
    assert [item.source for item in items(site, include=["/docs/"])] == [a]
    assert "HEAD /blog/b" not in site.asked


BILLION_LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>'
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><urlset><url><loc>&a;</loc></url></urlset>'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BILLION_LAUGHS, "no sitemap"),
        (OUTSIDE, "no sitemap"),
        ("<html><p>Not here</html>", "no sitemap"),
        ("", "no sitemap"),
        (pages(), "names no page"),
        (gzip.compress(bytes(50_000_000), mtime=0), "more than"),
        (gzip.compress(b"<urlset>", mtime=0)[:-4], "ends too early"),
        (b"x" * 200_000, "more than"),
    ],
)
def test_a_sitemap_that_is_none_is_an_item_that_says_so_and_the_others_go_on(site: Site, body: bytes | str, said: str):
    a = site.page("/a", "a", "text/plain")
    bad, good = site.page("/bad.xml", body, "application/xml"), site.page("/good.xml", pages(a))
    site.page("/sitemap.xml", index(bad, site.address + "/gone.xml", good))
    found = {item.source: item for item in items(site)}
    assert list(found) == [f"sitemap:{bad}", f"sitemap:{site.address}/gone.xml", a]
    with pytest.raises(UnreadableDocument, match=said):
        found[f"sitemap:{bad}"].read()
    with pytest.raises(UnreadableDocument, match="404"):
        found[f"sitemap:{site.address}/gone.xml"].read()
    assert found[a].read() == b"a"


def test_pages_beyond_the_limit_are_left_out_and_that_is_said(site: Site):
    site.page("/sitemap.xml", pages(*(site.page(f"/{number}", "x") for number in range(5))))
    note, *found = items(site, max_pages=3)
    with pytest.raises(UnreadableDocument, match="more than 3 pages"):
        note.read()
    assert len(found) == 3
