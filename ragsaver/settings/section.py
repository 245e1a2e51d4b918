"""What every section of the settings is, and what names in them may look like."""

from pydantic import BaseModel, ConfigDict

NAME = r"^[A-Za-z0-9._-]{1,64}$"
RATE = r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$"
SCHEMA_NAME = r"^[a-z_][a-z0-9_]{0,39}$"
CLASS_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"


def named_place(place: object) -> object:
    """Let no empty path pass: as a path it is the working folder."""
    if isinstance(place, str) and not place.strip():
        raise ValueError("name a place: an empty one would be the working folder")
    return place


class Section(BaseModel):
    """Some settings: unknown keys are refused, and nothing changes them."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
