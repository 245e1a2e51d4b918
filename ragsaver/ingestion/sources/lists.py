"""Which pages does a list name, and was all of it read? Only then is known what it does not name."""

from dataclasses import dataclass, field

URLS, SITEMAP = "urls:", "sitemap:"


@dataclass(slots=True)
class Listing:
    """What a list named when it was read; filled as its pages are asked for.

    :ivar pages: names of the pages that were taken, whether they can be read or not.
    :ivar broken: a part of the list could not be read, or was left out.
    :ivar ended: the last page was asked for.
    """

    pages: set[str] = field(default_factory=set)
    broken: bool = False
    ended: bool = False

    @property
    def whole(self) -> bool:
        """Whether a page that is not among these is not named."""
        return self.ended and not self.broken


# By what tells a list from others; a page that somebody named himself is a list of its own.
Lists = dict[str, Listing]
