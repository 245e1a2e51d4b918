"""The settings say a new model, and its index is still being built: what serves meanwhile?

The half in use, by the settings that it was last opened with. They are noted beside it, so that a server that is
started again in the middle of a migration does not stay away until its end.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from ragsaver.index.store import current_store
from ragsaver.ingestion.half import Building, Half
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings

# What decides how an index is built.
_SECTIONS = frozenset({"embedding", "chunking", "index"})

# What may be secret, and has no part in how an embedded index is built.
_AT_THE_SERVER = frozenset({"url", "api_key"})

_FILE = "built-by.json"

_log = logging.getLogger(__name__)


def note(store: Path, settings: Settings) -> None:
    """Remember by which settings a store is open."""
    kept = settings.model_dump(mode="json", include=set(_SECTIONS), exclude={"index": set(_AT_THE_SERVER)})
    text = json.dumps(kept, sort_keys=True)
    file = store / _FILE
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    draft = file.with_suffix(f".{os.getpid()}")  # several processes may note the same
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def settings_in_use(settings: Settings, encoder: Encoder) -> Settings:
    """The settings to open the half in use with: these, or while a half for these is built, those noted with it."""
    if not Half(settings, Building.of(settings, encoder)).begun():
        return settings
    file = current_store(settings.home) / _FILE
    if not file.exists():
        return settings
    _log.warning("until `ragsaver migrate` has built the new index, the old one serves by its own settings")
    noted: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    server = settings.index.model_dump(include=set(_AT_THE_SERVER))
    return Settings.model_validate({**settings.model_dump(), **noted, "index": {**noted["index"], **server}})
