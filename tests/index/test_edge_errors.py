"""What the embedded engine says is told with what to do about it."""

from pathlib import Path

import pytest

from ragsaver.errors import IndexLocked, StorageError
from ragsaver.index.edge_errors import explained

REFUSED = 'Service runtime error: failed to open WAL /x/wal: Can\'t init WAL: Os { code: %d, kind: %s, message: "%s" }'


@pytest.mark.parametrize(
    ("code", "kind", "said", "remedy"),
    [
        (27, "FileTooLarge", "File too large", "ulimit -f"),
        (24, "Uncategorized", "Too many open files", "ulimit -n"),
        (30, "ReadOnlyFilesystem", "Read-only file system", "RAGSAVER_HOME"),
        (5, "Uncategorized", "Input/output error", "Check the disk"),
    ],
)
def test_what_the_system_refused_is_told_in_its_words(code: int, kind: str, said: str, remedy: str):
    told = explained(Exception(REFUSED % (code, kind, said)), Path("/x"))
    assert isinstance(told, StorageError)
    assert (told.problem, told.where) == (f"the system refused: {said}", "/x")
    assert remedy in str(told.remedy)


def test_what_has_a_word_of_its_own_keeps_it():
    assert isinstance(explained(Exception("kind: WouldBlock"), Path("/x")), IndexLocked)
    assert explained(Exception("No space left on device"), Path("/x")).problem == "the disk is full"
    assert "ragsaver verify" in str(explained(Exception("a segment is broken"), Path("/x")))
