"""A real runtime in the process: the shipped model and the embedded index, in a folder of the test's own."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from ragsaver.settings import DatabaseSettings, ServerSettings, Settings, quiet_haystack

quiet_haystack()  # before Haystack is imported

from ragsaver.pipelines.runtime import Runtime, open_runtime  # noqa: E402
from tests.clock import Clock  # noqa: E402
from tests.databases import KINDS  # noqa: E402
from tests.databases import database as kept_in  # noqa: E402
from tests.lasting import lasting  # noqa: E402

# All that tests ask is on this machine: to read the world's authorities for each client takes longer than its requests.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("nobody.pem"))

# A shell that runs the tests in the background makes them, and all that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines are shared: an example that takes long has not failed.
# `--hypothesis-profile=thorough` looks longer
hypothesis_settings.register_profile("thorough", deadline=None, max_examples=300)
hypothesis_settings.register_profile("patient", deadline=None, max_examples=40)
hypothesis_settings.load_profile("patient")

# Those that start processes come first, so that no core is left with a long one while the others have none.
LONG = ("e2e", "workers", "test_docs.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: tests wait for the processes that they have started."""
    return max(1, 3 * len(os.sched_getaffinity(0)) // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(part in LONG for part in item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def what_lasts() -> Iterator[None]:
    """Runtimes in this process share what is slow to begin."""
    with lasting():
        yield


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest) -> Iterator[DatabaseSettings]:
    """Where manifest and jobs are kept: a test that asks for it runs on each."""
    with kept_in(request.param) as made:
        yield made


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    called = ServerSettings(allowed_hosts=["testserver"])  # as Starlette's client calls it
    settings = Settings(home=tmp_path / "home", pipelines_dir=tmp_path / "pipelines", server=called)
    with open_runtime(settings, "a test") as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()
