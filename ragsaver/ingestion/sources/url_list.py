"""Pages by a list: a text file with an address on each line, `#` before a remark."""

from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ragsaver.errors import UnreadableDocument, UsageError, VanishedDocument
from ragsaver.ingestion.bounded import read_file
from ragsaver.ingestion.sources.item import SourceItem
from ragsaver.ingestion.sources.lists import Listing
from ragsaver.ingestion.sources.pages import Web
from ragsaver.ingestion.sources.rules import Selection


def addresses_in(file: Path, max_bytes: int) -> list[str]:
    """The addresses in a list file.

    :raises UsageError: if it can't be read or holds none.
    """
    try:
        text = read_file(str(file), str(file), max_bytes).decode("utf-8-sig")
    except (UnreadableDocument, UnicodeDecodeError) as error:
        raise UsageError(
            _problem(error), where=str(file), remedy="Name a text file with an address on each line"
        ) from error
    lines = (line.strip() for line in text.splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UsageError("holds no address", where=str(file), remedy="Write one on each line")
    return found


def pages_of(
    web: Web, addresses: Collection[str], selection: Selection, listing: Listing, where: str
) -> Iterator[SourceItem]:
    """The pages in the order of their addresses, each looked at when its turn comes.

    :param selection: asked for each page's path.
    :param listing: gets the pages' names.
    :param where: the list.
    :raises UsageError: if the list names pages and none of them is taken.
    """
    for address in sorted(set(addresses)):
        if selection.takes_all_the_way(_path(address)):
            item = web.item(address)
            listing.pages.add(item.source)
            yield item
    if addresses and not listing.pages:
        raise UsageError("patterns leave out every page that it names", where=where, remedy="Check the patterns")
    listing.ended = True


def _problem(error: UnreadableDocument | UnicodeDecodeError) -> str:
    if isinstance(error, VanishedDocument):
        return "there is no such file"
    return error.problem if isinstance(error, UnreadableDocument) else "is not UTF-8"


def _path(address: str) -> str:
    try:
        return urlsplit(address).path.lstrip("/")
    except ValueError:
        # No address: it is listed, and says so when it is read.
        return ""
