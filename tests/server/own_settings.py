"""A server with settings of a test's own, beside the index that a runtime has."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ragsaver.components.resources import Resources
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from ragsaver.spend.prices import PriceBook
from tests.listening import listening


@contextmanager
def served_with(runtime: Runtime, settings: Settings) -> Iterator[tuple[str, Access, Resources]]:
    resources = replace(runtime.resources, settings=settings, prices=PriceBook(settings.spend.prices))
    access = Access(LiveRuntime(Runtime(resources)), "token")
    try:
        with listening(create_app(access)) as url:
            yield url, access, resources
    finally:
        access.close()
        resources.till.close()
