"""Outlook messages: the subject, who wrote to whom and when, the body, and the names of what is attached."""

import codecs
import io
from dataclasses import replace
from typing import Any

from oxmsg import Message

from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.html import from_html
from ragsaver.ingestion.converters.plain_text import from_text
from ragsaver.ingestion.converters.rows import squeeze
from ragsaver.ingestion.notes import attachments_note


def from_msg(data: bytes, name: str) -> ParsedDocument:
    """Blocks of a .msg; attachments are named, not read."""
    message = Message.load(io.BytesIO(data))
    subject = squeeze(message.subject)
    blocks = [Block("heading", subject, level=1)] if subject else []
    if about := _about(message):
        blocks.append(Block("list", "\n".join(about)))
    # A heading of the body stands below the subject.
    blocks += [replace(one, level=one.level + 1) if one.kind == "heading" else one for one in _body(message, name)]
    attached = [squeeze(one.file_name or "") for one in message.attachments]
    if any(attached):
        blocks.append(Block("list", "\n".join(f"Attachment: {one}" for one in attached if one)))
    notes = (attachments_note(attached),) if attached else ()
    return ParsedDocument(tuple(blocks), subject or None, notes)


def _about(message: Any) -> list[str]:
    headers = {key.lower(): value for key, value in message.message_headers.items()}
    people = ", ".join(f"{one.name} <{one.email_address}>" for one in message.recipients)
    sent = message.sent_date.isoformat(" ", "minutes") if message.sent_date else headers.get("date", "")
    told = {"From": message.sender, "To": headers.get("to") or people, "Cc": headers.get("cc"), "Date": sent}
    return [f"{what}: {squeeze(value)}" for what, value in told.items() if value and value.strip()]


def _body(message: Any, name: str) -> tuple[Block, ...]:
    # Outlook keeps both; the page has the lists and tables, the text is what is left of them.
    try:
        html = message.html_body
    except (LookupError, UnicodeDecodeError):  # in an encoding that it does not name rightly
        html = None
    if html:
        # Marked as UTF-8, since the page itself may still declare the encoding that it had.
        found = from_html(codecs.BOM_UTF8 + html.encode(errors="replace"), name).blocks
        if found:
            return found
    return from_text((message.body or "").encode(errors="replace"), name).blocks
