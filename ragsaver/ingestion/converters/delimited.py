"""CSV and TSV: a table with its header, whatever separates the cells."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import ParsedDocument
from ragsaver.ingestion.converters.plain_text import decode
from ragsaver.ingestion.converters.rows import table

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 50
_SAMPLE_CHARS = 65_536


def from_csv(data: bytes, name: str) -> ParsedDocument:
    """The rows as one table block."""
    return _rows(data, name, _DELIMITERS)


def from_tsv(data: bytes, name: str) -> ParsedDocument:
    """The rows as one table block; tabs part the cells unless there are none."""
    return _rows(data, name, "\t" + _DELIMITERS)


def delimiter_of(sample: str, candidates: Sequence[str] = _DELIMITERS) -> str:
    """What separates the cells: the delimiter that cuts most rows into the same number, more than one, of cells.

    :param sample: the first rows; a last row that is cut off does no harm.
    :param candidates: the first one wins where they are equal.
    """

    def agreement(delimiter: str) -> tuple[float, int]:
        rows = [row for row in islice(csv.reader(io.StringIO(sample), delimiter=delimiter), _SAMPLE_ROWS) if row]
        widths = Counter(len(row) for row in rows if len(row) > 1)
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        return count / max(1, len(rows)), width

    return max(candidates, key=agreement)


def _rows(data: bytes, name: str, candidates: str) -> ParsedDocument:
    text = decode(data, name)
    csv.field_size_limit(sys.maxsize)  # the file's size is limited already
    try:
        first, _, rest = text.partition("\n")
        if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own way to say it
            delimiter, text = first.strip()[4], rest
        else:
            delimiter = delimiter_of(text[:_SAMPLE_CHARS], candidates)
        block = table(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise UnreadableDocument(
            f"its rows can't be told apart: {error}", where=name, remedy="Export it again"
        ) from None
    return ParsedDocument((block,) if block else ())
