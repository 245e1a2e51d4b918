"""Who starts a server or a worker is told if the embedding cache that it shares may grow without end."""

from ragsaver.caching.opening import unbounded_cache
from ragsaver.cli.output import say
from ragsaver.errors import RagSaverError
from ragsaver.settings import Settings


def tell_unbounded_cache(settings: Settings) -> None:
    """Say so on stderr; a Redis that can't be asked is told by whoever needs it."""
    try:
        problem = unbounded_cache(settings.embedding_cache)
    except RagSaverError:
        return
    if problem:
        say(f"warning: {problem}", err=True)
