"""The embedded engine has one exception for everything: what one means."""

from pathlib import Path

from ragsaver.errors import IndexLocked, RagSaverError, StorageError


def explained(error: Exception, folder: Path) -> RagSaverError:
    """What went wrong with the index in a folder, and what to do."""
    text = str(error)
    if "WouldBlock" in text:
        return IndexLocked(
            "the index is open in another process", where=str(folder), remedy="Wait for it to end, or stop it"
        )
    if "No space left" in text:
        return StorageError("the disk is full", where=str(folder), remedy="Free some space and run it again")
    return StorageError(
        f"the index failed: {text}", where=str(folder), remedy="`ragsaver verify` checks and repairs it"
    )
