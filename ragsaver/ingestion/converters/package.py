"""Is this ZIP package safe to give to a parser? Office and OpenDocument files are ZIP archives of XML parts.

Refused before any parser sees them: archives that unpack to far more than they are, entries whose names lead out of
the archive, encrypted and cut ones, and XML that declares a document type, which is where entities come from.
"""

import io
import zipfile
import zlib
from pathlib import PurePosixPath
from xml.parsers import expat

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.converters.limits import ConversionLimits

# Below this a high ratio harms nobody: small XML parts of empty cells compress very well.
_RATIO_FROM_BYTES = 2**20
_MAX_ENTRIES = 20_000
_PIECE_BYTES = 65_536
# Other encodings could hide a declaration from this check and show it to the parser.
_ENCODINGS = frozenset({"utf-8", "utf-16", "us-ascii", "iso-8859-1"})
_KINDS = {
    "word/": "a Word document",
    "ppt/": "a presentation",
    "xl/": "a workbook",
    "content.xml": "an OpenDocument text",
}
# `<` with or without a byte order mark, in UTF-8, UTF-16 and EBCDIC.
_XML_STARTS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<", b"\x4c\x6f\xa7\x94")
_XML_SUFFIXES = frozenset({".xml", ".rels", ".rdf", ".vml"})


def open_package(data: bytes, name: str, limits: ConversionLimits, holds: str) -> zipfile.ZipFile:
    """The archive, after every entry of it was unpacked once within the limits.

    :param holds: the folder, or the entry, that this kind of document has.
    :raises UnreadableDocument: if it is cut, encrypted, too large unpacked, or holds what no document needs.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, OverflowError) as error:
        raise broken(name, error) from None
    entries = archive.infolist()
    _check_names(entries, name)
    _check_sizes(entries, len(data), name, limits)
    for entry in entries:
        _check_entry(archive, entry, name)
    _check_kind(archive.namelist(), name, holds)
    return archive


def broken(name: str, error: Exception | str) -> UnreadableDocument:
    """What to say of a package that is cut off or damaged."""
    said = str(error) or type(error).__name__
    return UnreadableDocument(
        f"is cut off or damaged: {said}", where=name, remedy="Fetch it again, or open it and save it once more"
    )


def encrypted(name: str) -> UnreadableDocument:
    """What to say of a file that asks for a password."""
    return UnreadableDocument("is encrypted", where=name, remedy="Remove its password first")


def _check_names(entries: list[zipfile.ZipInfo], name: str) -> None:
    for entry in entries:
        if entry.flag_bits & 0x1:
            raise encrypted(name)
        # `orig_filename` is as the archive says it: the other one is already cut at a NUL.
        path = PurePosixPath(entry.orig_filename.replace("\\", "/"))
        drive = path.parts[:1] and path.parts[0].endswith(":")
        if path.is_absolute() or ".." in path.parts or drive or "\0" in entry.orig_filename:
            raise UnreadableDocument(
                f"holds an entry whose name leads out of it: {entry.orig_filename!a}",
                where=name,
                remedy="No office program writes such a file: ask where it comes from",
            )


def _check_sizes(entries: list[zipfile.ZipInfo], packed: int, name: str, limits: ConversionLimits) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.max_decompressed_mb * 2**20:
        raise UnreadableDocument(
            f"unpacks to {unpacked / 2**20:.0f} MB, {limits.max_decompressed_mb} are allowed",
            where=name,
            remedy="Split it, or raise `ingestion.max_decompressed_mb`",
        )
    if unpacked > _RATIO_FROM_BYTES and unpacked > limits.max_compression_ratio * packed:
        raise UnreadableDocument(
            f"unpacks to {unpacked / packed:.0f} times its size, {limits.max_compression_ratio} times are allowed",
            where=name,
            remedy="If you trust it, raise `ingestion.max_compression_ratio`",
        )
    if len(entries) > _MAX_ENTRIES:
        raise UnreadableDocument(
            f"holds {len(entries)} entries, {_MAX_ENTRIES} are allowed", where=name, remedy="Split it"
        )


def _check_kind(names: list[str], name: str, holds: str) -> None:
    if any(one.startswith(holds) for one in names):
        return
    is_it = next((kind for start, kind in _KINDS.items() if any(one.startswith(start) for one in names)), None)
    raise UnreadableDocument(
        f"is {is_it or 'a ZIP archive'}, not {_KINDS[holds]} as its name says",
        where=name,
        remedy="Give the file its right suffix, or leave it out",
    )


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> None:
    """Unpack one entry piece by piece: a size that lies shows as a wrong checksum, before it costs memory."""
    try:
        with archive.open(entry) as stream:
            piece = stream.read(_PIECE_BYTES)
            prolog = _Prolog(entry.filename, name) if _is_xml(entry.filename, piece) else None
            while piece:
                if prolog and not prolog.over:
                    prolog.feed(piece)
                piece = stream.read(_PIECE_BYTES)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise broken(name, error) from None


def _is_xml(entry: str, head: bytes) -> bool:
    suffix = PurePosixPath(entry).suffix.lower()
    # Drawing programs write a document type into pictures, and pictures are not read.
    return suffix != ".svg" and (suffix in _XML_SUFFIXES or _starts_as_xml(head))


def _starts_as_xml(head: bytes) -> bool:
    return head.lstrip(b" \t\r\n").startswith(_XML_STARTS)


class _Prolog:
    """Reads an XML part up to its first element: a document type can stand nowhere else."""

    def __init__(self, part: str, name: str) -> None:
        self.over = False
        self._part = part
        self._name = name
        self._parser = expat.ParserCreate()
        self._parser.XmlDeclHandler = self._declared
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._element

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.Parse(piece)
        except expat.ExpatError:
            # After the first element the parser itself will say what is wrong with the part.
            if not self.over and self._part.lower().endswith((".xml", ".rels")):
                raise broken(self._name, f"{self._part} is no XML") from None
            self.over = True

    def _element(self, tag: str, attributes: dict[str, str]) -> None:
        self.over = True

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise self._refused(f"is XML in the encoding {encoding!a}")

    def _doctype(self, *declared: object) -> None:
        raise self._refused("declares a document type, and with it entities that may expand without end")

    def _refused(self, problem: str) -> UnreadableDocument:
        return UnreadableDocument(
            f"its part {self._part} {problem}",
            where=self._name,
            remedy="No office program writes such a file: ask where it comes from",
        )
