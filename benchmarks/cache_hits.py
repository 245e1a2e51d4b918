"""How many answers from the cache does a server give a second? Over `POST /v1/query`, answers that are all there.

    python benchmarks/cache_hits.py [--requests N] [--clients N] [--questions N] [--backend sqlite|memory]

A server of its own with a small corpus; the questions are asked once, then again and again by client processes that
share the machine with it. `server_cpu_ms` is what one request costs the server, in all its threads.
"""

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from process_memory import cpu_seconds


def main() -> None:
    """Serve, warm up, load, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--backend", default="sqlite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = [
            {"source": f"island-{n}.md", "text": f"# Island {n}\n\nThe beacon of island {n} was lit by keeper {n}."}
            for n in range(arguments.questions)
        ]
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        environment = {
            **os.environ,
            "RAGSAVER_HOME": str(Path(folder) / "home"),
            "RAGSAVER_CACHE__BACKEND": arguments.backend,
        }
        server = subprocess.Popen(
            [sys.executable, "-m", "ragsaver", "serve", "--port", str(port)], cwd=folder, env=environment
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait(url)
            httpx.post(f"{url}/v1/documents", json={"documents": corpus}, timeout=120).raise_for_status()
            bodies = [{"query": f"Who lit the beacon of island {n}?"} for n in range(arguments.questions)]
            for body in bodies:
                httpx.post(f"{url}/v1/query", json=body, timeout=120).raise_for_status()
            before = cpu_seconds(server.pid)
            started = time.perf_counter()
            each = arguments.requests // arguments.clients
            with multiprocessing.Pool(arguments.clients) as pool:
                spent = pool.starmap(load, [(url, bodies, each)] * arguments.clients)
            took_s = time.perf_counter() - started
            used_s = cpu_seconds(server.pid) - before
        finally:
            server.terminate()
            server.wait()
    latency = np.concatenate(spent) * 1000
    print(
        json.dumps(
            {
                "backend": arguments.backend,
                "requests": each * arguments.clients,
                "clients": arguments.clients,
                "requests_per_s": round(each * arguments.clients / took_s, 1),
                "latency_ms": {
                    "p50": round(float(np.median(latency)), 2),
                    "p99": round(float(np.quantile(latency, 0.99)), 2),
                },
                "server_cpu_ms": round(used_s * 1000 / (each * arguments.clients), 3),
                "cores": os.cpu_count(),
                "load_average": os.getloadavg()[0],
            }
        )
    )


def wait(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server does not start")


def load(url: str, bodies: list[dict[str, str]], requests: int) -> list[float]:
    """Ask over one connection, by hand: a client library would take more of the machine than the server."""
    host, port = url.removeprefix("http://").split(":")
    spent: list[float] = []
    with socket.create_connection((host, int(port))) as connection:
        file = connection.makefile("rb")
        for n in range(requests):
            body = json.dumps(bodies[n % len(bodies)]).encode()
            head = f"POST /v1/query HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\n\r\n"
            started = time.perf_counter()
            connection.sendall(head.encode() + body)
            headers = b""
            while not headers.endswith(b"\r\n\r\n"):
                headers += file.readline()
            lines = dict(line.split(": ", 1) for line in headers.decode().lower().split("\r\n")[1:] if ": " in line)
            file.read(int(lines["content-length"]))
            spent.append(time.perf_counter() - started)
            assert lines.get("x-ragsaver-cache") == "hit", headers
    return spent


if __name__ == "__main__":
    main()
