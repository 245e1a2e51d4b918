"""Which code answers, besides RAGSaver's own? Its source where it is the team's, its version where it is installed.

What a class stands on is read as well: the modules of its package, and those of the classes it is derived from.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

_SHIPPED = "ragsaver"
_INSTALLED = {"site-packages", "dist-packages"}
# Every pipeline has components of it; looking through all that is installed takes a tenth of a second.
_DISTRIBUTIONS = {"haystack": ["haystack-ai"]}


def code_of(classes: Iterable[type]) -> list[str]:
    """What changes when the code of these classes does, sorted: digests and versions."""
    modules = {one.__module__ for cls in classes for one in cls.__mro__}
    return sorted({told for module in modules for told in _told(module)})


@lru_cache(maxsize=1024)  # the source that runs is the one that was imported, not one that was written since
def _told(module: str) -> tuple[str, ...]:
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None)
    if top == _SHIPPED or top in sys.stdlib_module_names or file is None:
        return ()
    source = Path(file)
    if not _INSTALLED.isdisjoint(source.parts):
        names = _DISTRIBUTIONS.get(top) or packages_distributions().get(top, [])
        return tuple(f"{name} {version(name)}" for name in names) or (_digest(source),)
    return tuple(_digest(one) for one in _together(source, in_package=bool(sys.modules[module].__package__)))


def _together(source: Path, *, in_package: bool) -> Iterator[Path]:
    yield source
    if in_package:
        yield from (one for one in source.parent.glob("*.py") if one != source and one.is_file())


def _digest(file: Path) -> str:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
