"""What points at a person or opens a door goes; what a question is about stays."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragsaver.logs.redaction import _SECRETS, redact, without_secrets

# Words that can stand around a find without being a part of it.
AROUND = st.sampled_from(["", "Write to ", "(", "<", "„", "Frage: ", "mailto:", "电话 ", "see\n"])
BEHIND = st.sampled_from(["", " please", ")", ">", ".", ", thanks", "\nbye", "?"])
SEPARATOR = st.sampled_from(["", " ", "-", ".", "\u00a0"])


@given(AROUND, st.emails(), BEHIND)
@example("Write to ", "jane.doe@pk.A.A.A.A.A.COM", ".")
@example("", "jane.doe@sk-mail-of-ours.example.com", "")
def test_nothing_of_an_email_address_survives(before: str, email: str, behind: str):
    redacted = redact(before + email + behind)
    local, _, domain = email.partition("@")
    left = redacted.replace("[email]", "").replace("[secret]", "")
    assert "@" not in left
    assert domain not in left
    assert len(local) < 4 or local not in left


@given(AROUND, st.lists(st.integers(0, 9), min_size=13, max_size=19), st.data(), BEHIND)
def test_no_digit_of_a_card_survives(before: str, digits: list[int], data: st.DataObject, behind: str):
    separator = data.draw(SEPARATOR)
    groups = ["".join(map(str, digits[at : at + 4])) for at in range(0, len(digits), 4)]
    redacted = redact(before + separator.join(groups) + behind)
    assert not any(one.isdigit() for one in redacted)


def iban(country: str, check: int, account: str) -> str:
    return f"{country}{check:02}{account}"


@given(
    AROUND,
    st.builds(
        iban,
        st.sampled_from(["DE", "FR", "GB", "MT", "NO", "ch"]),
        st.integers(2, 98),
        st.text("0123456789", min_size=11, max_size=30),
    ),
    st.booleans(),
    BEHIND,
)
def test_no_digit_of_an_account_survives(before: str, account: str, grouped: bool, behind: str):
    shown = " ".join(account[at : at + 4] for at in range(0, len(account), 4)) if grouped else account
    assert not any(one.isdigit() for one in redact(f"{before}{shown}{behind}"))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.sampled_from(["", "(", "from ", "host "]), BEHIND)
def test_no_ip_address_survives(address: ipaddress.IPv4Address | ipaddress.IPv6Address, before: str, behind: str):
    redacted = redact(f"{before}{address}{behind}")
    assert str(address) not in redacted
    assert "[ip]" in redacted


@given(st.text("0123456789", min_size=7, max_size=12), SEPARATOR, st.sampled_from(["", "+", "+49 ", "00"]), BEHIND)
def test_no_phone_number_survives(digits: str, separator: str, before: str, behind: str):
    groups = separator.join([digits[:3], digits[3:6], digits[6:]])
    shown = f"call {before}{groups}{behind}"
    redacted = redact(shown)
    assert redacted != shown
    assert groups not in redacted


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-4f9aK2mQ8vXw7LpZ",
        "rsk_0123456789abcdef_" + "aB3-" * 10 + "xyz",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_keys_and_tokens_go(secret: str):
    redacted = redact(f"My key is {secret}, why is it refused?")
    assert secret not in redacted
    assert redacted.startswith("My key is [secret]")
    assert redacted.endswith("why is it refused?")


@pytest.mark.parametrize("secret", ["AKIAIOSFODNN7EXAMPLE", "AIzaSyD09tSrke72PouQMnMX0a7eZSW0jkFMBWY"])
def test_a_key_of_letters_and_digits_goes_where_it_is_all_of_a_field(secret: str):
    assert without_secrets(secret) == "[secret]"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://bob:hunter2@db/x", "postgresql://[secret]@db/x"),
        ("GET https://api.example/v1?key=hunter2&q=owls", "GET https://api.example/v1?key=[secret]&q=owls"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer [secret]"),
        ('{"client_secret": "hunter2", "a": 1}', '{"client_secret": "[secret]", "a": 1}'),
        ("OPENAI_API_KEY=hunter2 ragsaver serve", "OPENAI_API_KEY=[secret] ragsaver serve"),
    ],
)
def test_what_is_named_like_a_secret_goes_from_any_line(text: str, left: str):
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "Who issued 12 permits in 2024, and 1,250 in 2025?",
        "Was the office open on 2026-11-26 at 12:30:45, or on 26.11.2026?",
        "What changed between 2019-2024 in section 4.2.1 of std::vector?",
        "Which token limits hold, and what does the key say about passwords?",
        "The basic information about the bearer of a passport",
        "req_" + "a" * 20,
    ],
)
def test_what_is_no_such_thing_stays(text: str):
    assert redact(text) == text


@given(st.text())
def test_what_was_redacted_is_not_changed_again(text: str):
    once = redact(text)
    assert redact(once) == once


def test_a_long_text_without_a_space_takes_no_time_that_grows_with_its_square():
    for piece in ("a", "1", "a_", "1 ", "a1", ":", "f:", "@", "x@"):
        assert len(redact(piece * 50_000)) <= 4 * 100_000


_PIECES = (
    *(
        "-----BEGIN PRIVATE KEY-----",
        "MIIE",
        "https://",
        "me:pass@host",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi",
        "sk-4f9aK2mQ8vXw7L",
    ),
    *("AKIAIOSFODNN7EXAMPLE", "password", "api_key", ":", "=", " ", "\n", "Bearer ", "a1b2c3d4e5", "hunter2", "owls"),
)


@given(st.lists(st.sampled_from(_PIECES), max_size=6).map("".join))
def test_a_rule_is_left_out_only_where_it_would_find_nothing(text: str):
    by_all = text
    for _, rule in _SECRETS:
        by_all = rule(by_all)
    assert text.isalnum() or without_secrets(text) == by_all
