"""What no manifest can keep is told before it is tried."""

import pytest

from ragsaver.errors import UnreadableDocument, UsageError
from ragsaver.ingestion.gates import printable, require_name
from ragsaver.ingestion.sources import PostedDocument, require_sources


@pytest.mark.parametrize("name", ["a\0.md", "\udcff.md"])
def test_a_name_that_no_database_takes_fails_alone(name: str):
    with pytest.raises(UnreadableDocument, match="Rename it"):
        require_name(name)
    assert "\0" not in printable(name) and printable(name).encode()


@pytest.mark.parametrize("name", ["a\n.md", "größe 1.md", "世界"])
def test_other_names_of_files_are_taken(name: str):
    require_name(name)
    assert printable(name) == name


@pytest.mark.parametrize("name", ["a\n.md", "a\t", "\x7f"])
def test_a_posted_name_is_on_one_line(name: str):
    with pytest.raises(UsageError, match=r"control character U\+00"):
        require_sources([PostedDocument(name, "text")])
