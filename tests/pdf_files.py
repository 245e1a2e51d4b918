"""Small PDF files, written by hand: pages of lines, an outline, a password."""

from collections.abc import Collection, Sequence

# A grey dot as wide as the page, as a scan without text would be.
_PICTURE = "q 612 0 0 792 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x7f EI Q "


def pdf(
    pages: Sequence[Sequence[str]],
    outline: Sequence[tuple[str, int]] = (),
    encrypted: bool = False,
    pictures: Collection[int] = (),
) -> bytes:
    """A PDF.

    :param pages: lines of text of each page.
    :param outline: titles with their page, from 0.
    :param pictures: pages that a picture fills, from 0.
    """
    first_page = 4
    first_outline = first_page + 2 * len(pages)
    kids = " ".join(f"{first_page + 2 * n} 0 R" for n in range(len(pages)))
    root = f"<< /Type /Catalog /Pages 2 0 R {f'/Outlines {first_outline} 0 R ' if outline else ''}>>"
    objects = [
        root,
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
        stream = f"{_PICTURE if n in pictures else ''}BT /F1 12 Tf 50 750 Td {shown} ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {first_page + 2 * n + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    if outline:
        first, last = first_outline + 1, first_outline + len(outline)
        objects.append(f"<< /Type /Outlines /First {first} 0 R /Last {last} 0 R /Count {len(outline)} >>")
        for n, (title, page) in enumerate(outline):
            following = f"/Next {first + n + 1} 0 R " if n + 1 < len(outline) else ""
            objects.append(
                f"<< /Title ({title}) /Parent {first_outline} 0 R {following}"
                f"/Dest [{first_page + 2 * page} 0 R /Fit] >>"
            )
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
