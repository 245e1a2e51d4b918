"""The `ragsaver` command, run by tests: it writes down each text it embeds, and dies where it is told to, once.

RAGSAVER_TEST_PAID names a file that gets a line for each text, RAGSAVER_TEST_STEPS one for each step of a document.
RAGSAVER_TEST_DIE lists STEP:SOURCE, with a plus before it to die there until there is a mark `healed`;
RAGSAVER_TEST_WAIT is one where it stands still, says `reached`, and waits for `go_on`. RAGSAVER_TEST_MARKS is a folder
that keeps these marks, and remembers who has died.
"""

import functools
import hashlib
import os
import signal
import threading
from pathlib import Path

from ragsaver.cli.main import main
from ragsaver.ingestion.applying import Applier
from ragsaver.workers import draining, stages
from tests.model_runs import tell_runs


def counting(texts: list[str], query: bool) -> None:
    with open(os.environ["RAGSAVER_TEST_PAID"], "a") as paid:
        paid.write("".join(f"{digest(text)}\n" for text in texts if not query and text not in ("warm", "ready")))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def perhaps_die(step: str, source: str = "") -> None:
    place = f"{step}:{source}"
    with open(os.environ["RAGSAVER_TEST_STEPS"], "a") as steps:
        steps.write(f"{place}\n")
    deaths = os.environ.get("RAGSAVER_TEST_DIE", "").split(",")
    marks = Path(os.environ["RAGSAVER_TEST_MARKS"])
    if place == os.environ.get("RAGSAVER_TEST_WAIT"):
        (marks / "reached").touch()
        while not (marks / "go_on").exists():
            threading.Event().wait(0.02)
    healed = (marks / "healed").exists()
    if (f"+{place}" in deaths and not healed) or (place in deaths and first_time(place)):
        os.kill(os.getpid(), signal.SIGKILL)


def first_time(place: str) -> bool:
    try:
        (Path(os.environ["RAGSAVER_TEST_MARKS"]) / place.replace("/", "_")).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    tell_runs(counting)
    stages._go_on = perhaps_die
    draining.Applier = lambda *parts, fault, **more: Applier(*parts, **more, fault=functools.partial(perhaps_die))
    main()
