"""Functions that a guarded worker imports by name: what a file may do to its reader, on purpose."""

import ctypes
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import ParsedDocument
from ragsaver.ingestion.converters import convert


def to_blocks(task: tuple[str, bytes]) -> ParsedDocument:
    return convert(*task)


def length(task: tuple[str, bytes]) -> int:
    return len(task[1])


def behave(task: str) -> Any:
    """Do what the task says; `ok...` comes back as it is."""
    if task == "hang":
        while True:
            pass
    if task == "hang outside of Python":
        ctypes.CDLL(None).pause()
    if task == "eat":
        eaten = []
        while True:
            eaten.append(bytearray(2**24))
    if task == "exit":
        os._exit(7)
    if task == "leave":
        os._exit(0)
    if task.startswith("leave once "):
        try:
            Path(task.removeprefix("leave once ")).touch(exist_ok=False)
        except FileExistsError:
            return "stayed"
        os._exit(0)
    if task == "segfault":
        ctypes.string_at(0)
    if task == "abort":
        os.abort()
    if task == "fail":
        raise KeyError("no such thing")
    if task == "unreadable":
        raise UnreadableDocument("is odd", where=task, remedy="Mend it")
    if task == "unpicklable":
        return lambda: None
    if task == "pid":
        return os.getpid()
    return task


def loaded(task: tuple[str, bytes]) -> list[str]:
    """What a worker has imported after a conversion, with what cuts the document."""
    convert(*task)
    import_module("ragsaver.ingestion.preparing")
    return sorted(sys.modules)
