from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.workers.fleet import Project


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def project(tmp_path: Path, redis: RedisServer) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, redis)
