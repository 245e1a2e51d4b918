"""The `ragsaver` command, run by tests: RAGSAVER_TEST_SWITCH says what happens to it at the switch to a new half."""

import os
import signal
from pathlib import Path

from ragsaver.cli.main import main
from ragsaver.ingestion import half

switch = half.switch


def fated(home: Path, store: Path) -> None:
    fate = os.environ["RAGSAVER_TEST_SWITCH"]
    if fate == "full disk":
        os.fsync = no_space
    if fate == "dies before":
        os.kill(os.getpid(), signal.SIGKILL)
    switch(home, store)
    if fate == "dies after":
        os.kill(os.getpid(), signal.SIGKILL)


def no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


if __name__ == "__main__":
    half.switch = fated
    main()
