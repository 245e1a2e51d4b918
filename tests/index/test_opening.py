"""Which engine the settings mean, and what is said where its client is not installed."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ragsaver.index.edge import EdgeIndex
from ragsaver.index.opening import asked_server, edge_identity, open_index, server_identity
from ragsaver.settings import IndexSettings
from tests.qdrant_server import qdrant_server

MODEL = {"dim": 8, "fingerprint": "f" * 32, "model_name": "tiny"}


def test_each_engine_is_the_one_that_is_named(tmp_path: Path) -> None:
    with closing(open_index(tmp_path, IndexSettings(quantization="turbo"), **MODEL)) as index:
        assert isinstance(index, EdgeIndex)
    assert asked_server(IndexSettings()) is None
    assert edge_identity(tmp_path).model_name == "tiny"
    with qdrant_server() as server:
        settings = IndexSettings(engine="qdrant", url=server.url, grpc_port=None, collection="mine", replicas=2)
        assert server_identity(settings) is None
        assert asked_server(settings) == f"Qdrant 1.19.1 at {server.url}, collection mine, not made yet"
        with closing(open_index(tmp_path, settings, **MODEL)) as index:
            assert index.scopes() == []
        assert server_identity(settings) == edge_identity(tmp_path)
        assert asked_server(settings) == f"Qdrant 1.19.1 at {server.url}, collection mine"


def test_a_client_that_is_not_installed_is_named_and_the_embedded_engine_needs_none(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["qdrant_client"] = None
from pathlib import Path
from ragsaver.errors import MissingExtra
from ragsaver.index.opening import open_index
from ragsaver.settings import IndexSettings
model = {MODEL!r}
open_index(Path({str(tmp_path)!r}), IndexSettings(), **model).close()
try:
    open_index(Path("."), IndexSettings(engine="qdrant", url="http://127.0.0.1:1"), **model)
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "qdrant_client package is not installed" in done.stdout and "ragsaver[qdrant]" in done.stdout, done.stderr
