"""Where Prometheus asks a worker, which has no server otherwise: a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from ragsaver.errors import UsageError
from ragsaver.workers.metrics import IngestionMetrics


@contextmanager
def exposed(metrics: IngestionMetrics, host: str, port: int) -> Iterator[str]:
    """Tell the metrics for the code inside; yields their URL.

    :param port: 0 takes a free one.
    :raises UsageError: if the address can't be had.
    """
    try:
        server, thread = start_http_server(port, host, registry=metrics.registry)
    except OSError as error:
        raise UsageError(
            f"can't tell metrics there: {error.strerror}",
            where=f"{host}:{port}",
            remedy="Choose another --metrics-port",
        ) from error
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
