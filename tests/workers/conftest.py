from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.fleet import Project, RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def project(tmp_path: Path, redis: RedisServer) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, redis)
