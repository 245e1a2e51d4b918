"""The embedded engine has one exception for everything: what one means."""

import errno
import re
from pathlib import Path

from ragsaver.errors import IndexLocked, RagSaverError, StorageError

# What the system said, as the engine repeats it.
_OF_THE_SYSTEM = re.compile(r'Os \{ code: (?P<code>\d+), kind: \w+, message: "(?P<said>[^"]*)" \}')
_REMEDIES = {
    errno.EFBIG: "Raise the limit on the size of files (`ulimit -f`); the index takes files of 32 MiB",
    errno.EDQUOT: "Free some of the user's quota on the disk",
    errno.EMFILE: "Raise the limit on open files (`ulimit -n`)",
    errno.EROFS: "Make the disk writable, or set RAGSAVER_HOME to a folder that is",
    errno.EACCES: "Give this user the right to write there",
}


def explained(error: Exception, folder: Path) -> RagSaverError:
    """What went wrong with the index in a folder, and what to do."""
    text = str(error)
    if "WouldBlock" in text:
        return IndexLocked(
            "the index is open in another process", where=str(folder), remedy="Wait for it to end, or stop it"
        )
    if "No space left" in text:
        return StorageError("the disk is full", where=str(folder), remedy="Free some space and run it again")
    if refused := _OF_THE_SYSTEM.search(text):
        said, remedy = refused["said"], _REMEDIES.get(int(refused["code"]), "Check the disk and the folder's rights")
        return StorageError(f"the system refused: {said}", where=str(folder), remedy=f"{remedy}, then run it again")
    return StorageError(
        f"the index failed: {text}",
        where=str(folder),
        remedy="`ragsaver verify` checks and repairs it; where it fails alike, delete that folder and run it for each "
        "collection: it brings back what is in",
    )
