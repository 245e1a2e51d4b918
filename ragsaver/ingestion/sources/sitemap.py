"""Which pages does a site have? Its sitemap says so, or an index of sitemaps does (sitemaps.org)."""

import io
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.bounded import gunzip, join
from ragsaver.ingestion.sources.item import SourceItem, unreadable
from ragsaver.ingestion.sources.lists import SITEMAP, Listing
from ragsaver.ingestion.sources.pages import Web, address_of
from ragsaver.ingestion.sources.rules import Selection
from ragsaver.ingestion.sources.url_list import pages_of

_MAX_SITEMAPS = 1000
_GZIP = b"\x1f\x8b"


def list_sitemap(
    web: Web, url: str, selection: Selection, listing: Listing, *, max_pages: int, max_bytes: int
) -> Iterator[SourceItem]:
    """The pages of a sitemap in the order of their addresses; a sitemap that can't be read is an item of its own.

    :param selection: asked for each page's path.
    :param listing: gets the pages' names, and whether a sitemap or a page was left out.
    :param max_pages: what is beyond is left out, and that is reported.
    :param max_bytes: of one sitemap, unpacked.
    """
    pages: dict[str, None] = {}
    waiting, known = [url], {url}
    while waiting:
        sitemap = waiting.pop()
        try:
            found, more = _read(web, sitemap, max_bytes)
            pages.update(dict.fromkeys(found))
            if len(pages) > max_pages:
                pages = dict.fromkeys(list(pages)[:max_pages])
                raise UnreadableDocument(
                    f"lists more than {max_pages} pages: the rest is left out",
                    where=sitemap,
                    remedy="Raise `sources.sitemap_max_pages`, or name its parts one by one",
                )
            fresh = [one for one in dict.fromkeys(more) if one not in known]
            if len(known) + len(fresh) > _MAX_SITEMAPS:
                raise UnreadableDocument(
                    f"leads to more than {_MAX_SITEMAPS} sitemaps: they are left out", where=sitemap
                )
        except UnreadableDocument as error:
            listing.broken = True
            yield unreadable(f"{SITEMAP}{sitemap}", sitemap, error)
            if len(pages) >= max_pages:
                break
            continue
        known.update(fresh)
        waiting.extend(reversed(fresh))
    yield from pages_of(web, pages, selection, listing, f"{SITEMAP}{url}")


def _read(web: Web, url: str, max_bytes: int) -> tuple[list[str], list[str]]:
    """The pages and the sitemaps that one sitemap names."""
    data = web.fetch(address_of(url))
    if data.startswith(_GZIP):
        data = join(gunzip([data], url), max_bytes, url)
    pages: list[str] = []
    sitemaps: list[str] = []
    try:
        # No DTD: so nothing can be declared that expands.
        for _, element in iterparse(io.BytesIO(data), events=("end",), forbid_dtd=True):
            name = _local(element)
            if name in ("url", "sitemap"):
                place = next((one.text.strip() for one in element if _local(one) == "loc" and one.text), "")
                if place:
                    (pages if name == "url" else sitemaps).append(place)
                element.clear()
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        raise UnreadableDocument(f"is no sitemap: {error}", where=url, remedy="Check the address") from error
    if not pages and not sitemaps:
        raise UnreadableDocument("names no page", where=url, remedy="Check that it is a sitemap")
    return pages, sitemaps


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
