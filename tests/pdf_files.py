"""Small PDF files, written by hand: pages of lines, an outline, a password."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

# A grey dot as wide as the page, as a scan without text would be.
PICTURE = "q 612 0 0 792 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x7f EI Q "

_CHARACTER_MAP = (
    "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def "
    "1 begincodespacerange <00> <FF> endcodespacerange {count} beginbfchar {pairs} endbfchar endcmap end end"
)


def pdf(
    pages: Sequence[Sequence[str]],
    outline: Sequence[tuple[str, int]] = (),
    encrypted: bool = False,
    drawn: Mapping[int, str] = MappingProxyType({}),
    fields: Sequence[tuple[str, str, str]] = (),
    means: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    """A PDF.

    :param pages: lines of text of each page.
    :param outline: titles with their page, from 0.
    :param drawn: what is drawn on a page before its text, by the page from 0: `PICTURE`, or `table(...)`.
    :param fields: of a form on the first page: what each is named, what it is called, and what is filled in.
    :param means: what signs say by the font's character map, in UTF-16.
    """
    first_page = 4
    first_outline = first_page + 2 * len(pages)
    first_field = first_outline + (len(outline) + 1 if outline else 0)
    named = " ".join(f"{first_field + n} 0 R" for n in range(len(fields)))
    form = f"/AcroForm << /Fields [{named}] /DA (/F1 12 Tf) >> " if fields else ""
    last = first_field + len(fields)
    kids = " ".join(f"{first_page + 2 * n} 0 R" for n in range(len(pages)))
    root = f"<< /Type /Catalog /Pages 2 0 R {f'/Outlines {first_outline} 0 R ' if outline else ''}{form}>>"
    objects = [
        root,
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica {f'/ToUnicode {last} 0 R ' if means else ''}>>",
    ]
    for n, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
        stream = f"{drawn.get(n, '')} BT /F1 12 Tf 50 750 Td {shown} ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {first_page + 2 * n + 1} 0 R "
            f"{f'/Annots [{named}] ' if fields and not n else ''}/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    if outline:
        first = first_outline + 1
        objects.append(
            f"<< /Type /Outlines /First {first} 0 R /Last {first_outline + len(outline)} 0 R /Count {len(outline)} >>"
        )
        for n, (title, page) in enumerate(outline):
            following = f"/Next {first + n + 1} 0 R " if n + 1 < len(outline) else ""
            objects.append(
                f"<< /Title ({title}) /Parent {first_outline} 0 R {following}"
                f"/Dest [{first_page + 2 * page} 0 R /Fit] >>"
            )
    for n, (name, called, value) in enumerate(fields):
        kind, said = ("/Btn", value) if value.startswith("/") else ("/Tx", f"({value})")
        objects.append(
            f"<< /Type /Annot /Subtype /Widget /FT {kind} /T ({name}) {f'/TU ({called}) ' if called else ''}/V {said} "
            f"/Rect [200 {700 - 30 * n} 400 {720 - 30 * n}] /F 4 >>"
        )
    if means:
        pairs = " ".join(f"<{ord(sign):02x}> <{said.hex()}>" for sign, said in means.items())
        characters = _CHARACTER_MAP.format(count=len(means), pairs=pairs)
        objects.append(f"<< /Length {len(characters)} >>\nstream\n{characters}\nendstream")
    trailer = f"/Size {len(objects) + 1} /Root 1 0 R"
    if encrypted:
        key = "41" * 32
        objects.append(f"<< /Filter /Standard /V 1 /R 2 /O <{key}> /U <{key}> /P -4 >>")
        trailer = f"/Size {len(objects) + 1} /Root 1 0 R /Encrypt {len(objects)} 0 R /ID [<{key[:32]}> <{key[:32]}>]"
    data = b"%PDF-1.4\n"
    places: list[int] = []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< {trailer} >>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + end.encode()


def packed_pdf(packed: bytes, more: str = "") -> bytes:
    """A PDF of one page whose content is packed already.

    :param more: in the dictionary of its stream.
    """
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 5 0 R /Resources << /Font << /F1 4 0 R >> >> >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d /Filter /FlateDecode %s>>\nstream\n%s\nendstream" % (len(packed), more.encode(), packed),
    ]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, one) for number, one in enumerate(objects, 1))
    return b"%PDF-1.4\n" + body + b"trailer\n<< /Size 6 /Root 1 0 R >>\n%%EOF\n"


def table(
    rows: Sequence[Sequence[str]],
    *,
    left: float = 50,
    top: float = 600,
    widths: Sequence[float] = (150, 150),
    height: float = 40,
    lines: str = "re S",
) -> str:
    """A table with a box around each cell, which a page draws.

    :param rows: texts of the cells; `\n` begins a line.
    :param lines: `re S` for drawn boxes, `re f` for borders of thin filled ones, nothing for none.
    """
    shown: list[str] = []
    for n, row in enumerate(rows):
        bottom = top - (n + 1) * height
        for column, text in enumerate(row):
            x, width = left + sum(widths[:column]), widths[column]
            sides = [(x, bottom, width, height)]
            if lines == "re f":
                sides = [(x, y, width, 0.5) for y in (bottom, bottom + height)]
                sides += [(edge, bottom, 0.5, height) for edge in (x, x + width)]
            if lines:
                shown += [f"{a} {b} {c} {d} {lines}" for a, b, c, d in sides]
            said = " 0 -12 Td ".join(f"({line}) Tj" for line in text.split("\n"))
            shown.append(f"BT /F1 10 Tf {x + 4} {bottom + height - 12} Td {said} ET")
    return " ".join(shown) + " "
