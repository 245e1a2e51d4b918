"""Charts, diagrams and files of other programs in an Office document: shown there, and not read."""

from collections import Counter
from typing import Any

from ragsaver.ingestion.notes import Note, NoteCode

_GRAPHIC_DATA = "{http://schemas.openxmlformats.org/drawingml/2006/main}graphicData"
_OLE_OBJECT = "{urn:schemas-microsoft-com:office:office}OLEObject"
# How a drawing's address ends that says what it holds, and what a person calls it.
_KINDS = {"/chart": "chart", "/chartex": "chart", "/diagram": "diagram", "/ole": "embedded object"}


def objects_in(element: Any) -> Counter[str]:
    """How many of what there are in a part of a Word document or on a slide."""
    found: Counter[str] = Counter()
    for drawing in element.iter(_GRAPHIC_DATA):
        uri = drawing.get("uri", "")
        kind = next((kind for end, kind in _KINDS.items() if uri.endswith(end)), None)
        found.update([kind] if kind else [])
    found.update("embedded object" for _ in element.iter(_OLE_OBJECT))
    return found


def objects_note(found: Counter[str], where: str = "") -> Note:
    """What to say of them."""
    counts = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(found.items())]
    return Note(NoteCode.OBJECTS, f"{', '.join(counts)}: what they show is not in the index", where)
