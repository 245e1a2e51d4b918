"""Whom is a document for that says nothing of it itself? The settings' rules tell, by where it lies.

A pattern is compared with the end of a path, so that it holds from whatever folder a command is run, and both with a
document's name and with the place that a link leads to. Of several rules that match the last one decides.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ragsaver.index.keys import GROUPS
from ragsaver.ingestion.sources.item import SourceItem
from ragsaver.settings import AccessRule

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):/+")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule; one that is `anchored` means a whole place, not the end of it."""

    pattern: re.Pattern[str]
    anchored: bool
    groups: tuple[str, ...]

    def matches(self, item: SourceItem) -> bool:
        names = (item.location,) if self.anchored else (item.location, item.source)
        return any(self.pattern.match(_path(name).lstrip("/")) for name in names if name)


def with_access(item: SourceItem, rules: Sequence[AccessRule]) -> SourceItem:
    """The document with the groups that the rules say may read it; as it is if none of them means it."""
    for rule in _compiled(tuple((one.glob, tuple(one.groups)) for one in reversed(rules))):
        if rule.matches(item):
            return item._replace(metadata={**item.metadata, GROUPS: sorted(set(rule.groups))})
    return item


@lru_cache(maxsize=16)
def _compiled(rules: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[_Rule, ...]:
    if not rules:
        return ()
    # Imported where used: most projects have no rules.
    from pathspec import GitIgnoreSpec

    made = []
    for glob, groups in rules:
        path = _path(glob)
        anchored = path.startswith("/")
        # What an expression of pathspec matches of a folder it matches of all that is in it.
        (compiled,) = GitIgnoreSpec.from_lines([path if anchored else f"**/{path}"]).patterns
        assert isinstance(compiled.regex, re.Pattern)  # the settings have refused what is no pattern
        made.append(_Rule(compiled.regex, anchored, groups))
    return tuple(made)


def _path(name: str) -> str:
    """An address as a path from its scheme down; a file's address as the file's."""
    found = _SCHEME.match(name)
    if found is None:
        return name.replace("\\", "/") if re.match(r"^[A-Za-z]:\\", name) else name
    rest = name[found.end() :]
    return f"/{rest}" if found[1].lower() in ("file", "local") else f"/{found[1].lower()}:/{rest}"
