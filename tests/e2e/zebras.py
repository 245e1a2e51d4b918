"""A project whose old and new index tell themselves apart by their passages, and clients that ask it all the time."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from ragsaver.models.registry import bundled_folder
from tests.commands import as_json, run

DOCUMENTS = 24

# The old half's passages are longer than the new half's longest.
WORDS = 100
OLD = "chunking: {min_words: 300, max_words: 400}\n"
NEW = "embedding: {model: other-model}\nchunking: {min_words: 20, max_words: 60}\n"


def make(project: Path, settings: str = "", **more: str) -> None:
    """Its documents are in by the old settings.

    :param settings: of both halves.
    """
    (project / "docs").mkdir()
    for n in range(DOCUMENTS):
        (project / "docs" / f"{n:02}.md").write_text(f"# Zebra {n}\n\n{text_about(n)}\n")
    shutil.copytree(bundled_folder(), project / "other-model")
    tokenizer = project / "other-model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    (project / "ragsaver.yaml").write_text(OLD + settings)
    run(project, "ingest", "docs", **more)


def text_about(n: int) -> str:
    return "\n\n".join(
        f"Zebra number {n} walks on day {day}, " + "and eats grass " * 6 + "at noon." for day in range(8)
    )


def words(passage: dict) -> int:
    return len(passage["text"].split())


def half_of(passages: list[dict]) -> str:
    """From which half an answer's passages come: all of one, or it is a mixture."""
    kinds = {"old" if words(passage) > WORDS else "new" for passage in passages}
    return kinds.pop() if len(kinds) == 1 else f"mixture: {[words(one) for one in passages]}"


class Client(threading.Thread):
    """Asks all the time, and keeps what each answer was."""

    def __init__(self, ask: Callable[[httpx.Client], str], url: str) -> None:
        super().__init__()
        self._ask, self._url = ask, url
        self._stopping = threading.Event()
        self._answered = threading.Condition()
        self.answers: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stopping.is_set():
                try:
                    answer = self._ask(client)
                except Exception as error:  # told by the test's own thread
                    answer = repr(error)
                with self._answered:
                    self.answers.append(answer)
                    self._answered.notify_all()

    def one_more(self) -> None:
        """Wait for an answer to a question that was asked from now on."""
        with self._answered:
            there = len(self.answers)
            assert self._answered.wait_for(lambda: len(self.answers) >= there + 2, timeout=60)

    def stop(self) -> list[str]:
        self._stopping.set()
        self.join(60)
        return self.answers


def search(client: httpx.Client) -> str:
    answer = client.post("/v1/search", json={"query": "which zebra walks on day 3?", "top_k": 8})
    return half_of(answer.json()["passages"]) if answer.status_code == 200 else answer.text


def ask(client: httpx.Client) -> str:
    answer = client.post("/v1/query", json={"query": "When does zebra number 3 eat grass?"})
    return "answered" if answer.status_code == 200 and answer.json()["answer"] else answer.text


def stream(client: httpx.Client) -> str:
    body = {"query": "When does zebra number 3 eat grass?", "stream": True}
    answer = client.post("/v1/query", json=body)
    return "answered" if answer.status_code == 200 and "event: result" in answer.text else answer.text


class Poster:
    """Posts another document with each call."""

    def __init__(self) -> None:
        self.posted: list[str] = []

    def __call__(self, client: httpx.Client) -> str:
        source = f"late-{len(self.posted)}.md"
        document = {"source": source, "text": f"# Late\n\n{text_about(1000 + len(self.posted))}"}
        answer = client.post("/v1/documents", json={"documents": [document]})
        if answer.status_code != 200 or answer.json()["errors"]:
            return answer.text
        self.posted.append(source)
        return "posted"


def sources(project: Path, **more: str) -> set[str]:
    return {one["source"] for one in as_json(project, "documents", "list", **more)["documents"]}
