"""`ragsaver worker`: take part in the ingestion that others queue."""

import signal
from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, say
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings


def worker(
    queues: Annotated[str, typer.Option(help="What to do: convert, embed, or both with a comma.")] = "convert,embed",
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Documents at a time.")] = 2,
    autoscale: Annotated[
        str | None,
        typer.Option(metavar="MAX,MIN", help="As many at a time as the queues need, within these, not --concurrency."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Own the index too, and bring in what is embedded.")] = False,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Tell Prometheus at this port; 0 takes a free one.")
    ] = None,
) -> None:
    """Convert and embed queued documents, until SIGTERM."""
    with errors_told(as_json=False):
        quiet_haystack()
        settings = load_settings()
        from ragsaver.cli.cache_room import tell_unbounded_cache
        from ragsaver.workers.scaling import narrowed
        from ragsaver.workers.worker import Told, run_worker

        # Celery stops at the first signal when its work is done; until it listens, a signal ends the start.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        tell_unbounded_cache(settings)
        code = run_worker(
            settings,
            [name.strip() for name in queues.split(",") if name.strip()],
            concurrency,
            apply=apply,
            told=Told(
                ready=lambda: say("RAGSaver worker is ready", err=True),
                metrics_port=settings.queue.metrics_port if metrics_port is None else metrics_port,
                metrics_at=lambda url: say(f"RAGSaver worker tells its metrics at {url}", err=True),
            ),
            autoscale=None if autoscale is None else narrowed(settings.queue.scaling, autoscale),
        )
    if code:
        raise typer.Exit(code)
