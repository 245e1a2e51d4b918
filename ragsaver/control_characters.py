"""Characters that are not seen but obeyed: they colour, overwrite and reorder what a terminal shows, or end a line."""

# Of ASCII those that no text has: it has tabs, and ends of lines and pages.
NOT_IN_TEXT = bytes((*range(9), 0x0B, *range(0x0E, 0x20), 0x7F))

_CONTROLS = (*range(32), *range(127, 160))
_LINES_AND_DIRECTIONS = (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))

SHOWN = {code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" for code in (*_CONTROLS, *_LINES_AND_DIRECTIONS)}
_SHOWN_IN_TEXT = {code: SHOWN[code] for code in _CONTROLS if chr(code) not in "\n\t"}


def on_one_line(name: str) -> str:
    r"""A name as a person may be shown it: a newline as `\x0a`."""
    return name if name.isprintable() else name.translate(SHOWN)


def in_lines(text: str) -> str:
    r"""A text as a person may be shown it: newlines and tabs as they are, an escape as `\x1b`."""
    return text if text.isprintable() else text.translate(_SHOWN_IN_TEXT)


def first_control(name: str) -> int | None:
    """Where the first control character stands (Unicode's category Cc); None if there is none."""
    if name.isprintable():
        return None
    return next((place for place, character in enumerate(name) if ord(character) in _CONTROLS), None)
