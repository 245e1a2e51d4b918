"""Take out of a text what points at a person or opens a door: each find is replaced by a mark that says what it was.

Rules look for forms, not for meaning: names, addresses and what is written in words stay
(docs/how-to/log-by-policy.md says what is not found). Where in doubt they take too much.
"""

import ipaddress
import re
from collections.abc import Callable

_SPACE = r" \t\u00a0\u2009\u202f"
_NO_ADDRESS = r"\s@＠<>()\[\],;:\""

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_IN_URL = re.compile(r"(?<=://)[^\s/@]{1,1024}@")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?")
# As the makers of well-known services begin their tokens.
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:rsk|sk|pk|rk|gh[pousr]|github_pat|glpat|xox[abeprs]|hf|npm|pypi|SG|dop_v1|shpat|ya29)[-_.][A-Za-z0-9_.-]{12,}"
    r"|AIza[A-Za-z0-9_-]{20,}|A(?:KI|SI)A[A-Z0-9]{12,})"
)
_NAMED = re.compile(
    r"(?i)(?<![A-Za-z])"
    r"((?:[a-z0-9]{1,32}[_-]){0,4}(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|key|sig|signature|authorization)"
    r"[\"']?[ \t]{0,8}[:=][ \t]{0,8}[\"']?(?:(?:bearer|basic)[ \t]+)?)"
    r"[^\s&\"',;]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+(?=[^\s\d]{0,256}\d)[A-Za-z0-9._~+/=-]{8,}")
_OPAQUE = re.compile(r"(?<![A-Za-z0-9_+-])(?=[A-Za-z_+-]*[0-9])(?=[0-9_+-]*[A-Za-z])[A-Za-z0-9_+-]{32,}={0,2}")
_EMAIL = re.compile(rf"[^{_NO_ADDRESS}]{{1,128}}(?:[@＠]|%40)[^{_NO_ADDRESS}?!'`{{}}|/\\#$%&*=+^~]{{1,255}}(?<!\.)")
# A domain that begins as a token does has been taken for one.
_MASKED_EMAIL = re.compile(rf"[^{_NO_ADDRESS}]{{1,128}}(?:[@＠]|%40)\[secret\]")
_AT = re.compile("[@＠]|%40")
_IBAN = re.compile(
    rf"(?<![A-Za-z0-9])[A-Za-z]{{2}}\d{{2}}(?:[{_SPACE}-]?[A-Za-z0-9]{{4}}){{2,7}}(?:[{_SPACE}-]?[A-Za-z0-9]{{1,3}})?"
    r"(?![A-Za-z0-9])"
)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]{0,40}(?:[0-9.]{7,15})?")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d)")
_CARD = re.compile(rf"(?<!\d)\d(?:[{_SPACE}./–—-]{{0,2}}\d){{12,}}")
_DATE = (
    r"(?!\d{4}[-./]\d{1,2}[-./]\d{1,2}(?!\d)|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}(?!\d)"
    r"|(?:19|20)\d\d ?[-–/] ?(?:19|20)\d\d(?!\d))"
)
_PHONE = re.compile(rf"(?<![\w]){_DATE}(?:\+ ?)?\(?\d(?:[{_SPACE}./()–-]{{0,3}}\d){{6,}}")

Rule = Callable[[str], str]


def _marked(form: re.Pattern[str], mark: str) -> Rule:
    return lambda text: form.sub(mark, text)


def _ipv6(text: str) -> str:
    def marked(found: re.Match[str]) -> str:
        whole = found[0]
        for end in range(len(whole), max(len(whole) - 3, 1), -1):  # a full stop or a colon may stand behind it
            try:
                ipaddress.IPv6Address(whole[:end])
            except ValueError:
                continue
            return "[ip]" + whole[end:]
        return whole

    return _IPV6.sub(marked, text) if ":" in text else text


def _email(text: str) -> str:
    if not _AT.search(text):  # most texts have none, and to look costs most
        return text
    return _EMAIL.sub("[email]", _MASKED_EMAIL.sub("[email]", text))


# What opens doors: never wanted in a log, whatever the policy. A rule is tried where a text has one of its signs: most
# have none, and to look for a sign costs less than the rule.
_SECRETS: tuple[tuple[tuple[str, ...], Rule], ...] = (
    (("-----BEGIN ",), _marked(_PRIVATE_KEY, "[secret]")),
    (("://",), _marked(_IN_URL, "[secret]@")),
    (("eyJ",), _marked(_JWT, "[secret]")),
    (("",), _marked(_PREFIXED, "[secret]")),
    ((":", "="), _marked(_NAMED, r"\1[secret]")),
    (("",), _marked(_BEARER, r"\1 [secret]")),
)
_PEOPLE: tuple[Rule, ...] = (
    _email,
    _marked(_OPAQUE, "[secret]"),
    _marked(_IBAN, "[iban]"),
    _ipv6,
    _marked(_IPV4, "[ip]"),
    _marked(_CARD, "[card]"),
    _marked(_PHONE, "[phone]"),
)


def without_secrets(text: str) -> str:
    """The text, less what looks like a key, a token or a password."""
    if text.isalnum():  # every other form of them has some other sign in it
        return _PREFIXED.sub("[secret]", text)
    for signs, rule in _SECRETS:
        if any(sign in text for sign in signs):
            text = rule(text)
    return text


def redact(text: str) -> str:
    """The text, less e-mail addresses, phone numbers, numbers of cards and accounts, IP addresses, keys and tokens."""
    text = without_secrets(text)
    for rule in _PEOPLE:
        text = rule(text)
    return text
