"""An address that is shown holds nothing of who asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.addresses import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("http://me:pass@127.0.0.1:8080/v1?key=k", "http://127.0.0.1:8080/v1"),
        ("rediss://:p/a?s#s://@w@redis:6379/0", "rediss://redis:6379/0"),
        ("me:pass@host:1", "host:1"),
        ("api.openai.com", "api.openai.com"),
    ],
)
def test_the_server_is_named_and_nobody_else(url: str, shown: str):
    assert without_password(url) == shown


@given(st.text(min_size=1))
def test_no_password_is_shown_whatever_is_in_it(password: str):
    assert without_password(f"http://me:{password}@host:1/v1") == "http://host:1/v1"
