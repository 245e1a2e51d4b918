"""What somebody filled into a PDF's form: it is drawn over the page, and no part of its text."""

import ctypes
import re
from collections.abc import Callable
from typing import Any

import pypdfium2
from pypdfium2 import raw

_FILLED_IN = (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX)
# The last step of a field's path, without its number: `form[0].page[0].Surname[0]`.
_LAST_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)(?:\[\d+\])?$")


def fields_of(document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage) -> list[str]:
    """The fields of a page that hold text, each with what it is called where it says so: `Surname: Lovelace`.

    :param document: with its forms initialised; one without forms has no fields.
    """
    if document.formenv is None:
        return []
    found: list[str] = []
    for number in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        if annotation:
            found += _filled(document.formenv, annotation)
            raw.FPDFPage_CloseAnnot(annotation)
    return list(dict.fromkeys(found))


def _filled(form: Any, annotation: Any) -> list[str]:
    if raw.FPDFAnnot_GetFormFieldType(form, annotation) not in _FILLED_IN:
        return []
    value = _said(raw.FPDFAnnot_GetFormFieldValue, form, annotation)
    called = _said(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _name(
        _said(raw.FPDFAnnot_GetFormFieldName, form, annotation)
    )
    return [f"{called}: {value}" if called else value] if value else []


def _name(path: str) -> str:
    """A field's own name, if a person gave it one: `Text12` and `f1_03` are no names."""
    last = _LAST_STEP.search(path)
    return last[1].strip() if last and not any(sign.isdigit() for sign in last[1]) else ""


def _said(ask: Callable[..., int], form: Any, annotation: Any) -> str:
    length = ask(form, annotation, None, 0)
    buffer = ctypes.create_string_buffer(length)
    ask(form, annotation, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), length)
    return " ".join(buffer.raw.decode("utf-16-le", errors="replace").replace("\0", "").split())
