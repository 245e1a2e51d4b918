"""Where on the server's machine something is, is nobody's business who asks over HTTP: its name says enough.

An operator finds the whole path in the log, under the request's id.
"""

import re
from functools import lru_cache
from pathlib import Path

# One in quotes may have spaces; another ends where a sentence goes on. An address is none.
_QUOTED = re.compile(r"""(?P<quote>['"`])(?P<path>/[^'"`\n]+)(?P=quote)""")
_BARE = re.compile(r"""(?<![\w:/.~@%-])/[^\s'"`,;()<>\[\]]*[^\s'"`,;()<>\[\].:]""")


def is_path(text: str) -> bool:
    """Whether it is an absolute path of this machine, as far as one can tell: paths of the API are none."""
    return text.startswith("/") and _is_root(text.strip("/").partition("/")[0])


def without_paths(text: str, *known: str) -> str:
    """A text whose absolute paths are names.

    :param known: paths that it may have, with spaces or not.
    """
    for path in known:
        if is_path(path):
            text = text.replace(path, named(path))
    text = _QUOTED.sub(lambda found: found["quote"] + _named_if(found["path"]) + found["quote"], text)
    return _BARE.sub(lambda found: _named_if(found[0]), text)


def named(path: str) -> str:
    """The name at the end of a path, with the line that it may have."""
    return path.rstrip("/").rpartition("/")[2]


def _named_if(path: str) -> str:
    return named(path) if is_path(path) else path


@lru_cache(maxsize=256)
def _is_root(name: str) -> bool:
    try:
        return bool(name) and Path("/", name).exists()
    except (OSError, ValueError):
        return False
