"""`ragsaver serve`: own the index and answer over HTTP."""

from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, say, tell_unused
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.")] = None,
) -> None:
    """Serve the REST API. Other commands then go through this process."""
    with errors_told(as_json=False):
        quiet_haystack()
        settings = load_settings()
        from ragsaver.cli.cache_room import tell_unbounded_cache
        from ragsaver.index.ownership import SERVES
        from ragsaver.logs.setup import configure
        from ragsaver.pipelines.live import open_live
        from ragsaver.server.run import run
        from ragsaver.workers.metrics import IngestionMetrics

        configure(settings)
        tell_unbounded_cache(settings)
        metrics = IngestionMetrics.of_process()
        with open_live(settings, SERVES, metrics.batch) as live:
            tell_unused(settings)
            run(
                live,
                settings.server.host if host is None else host,
                settings.server.port if port is None else port,
                lambda url: say(f"RAGSaver listens on {url}", err=True),
                metrics,
            )
