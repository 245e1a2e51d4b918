"""How the address of a server is shown: without who asks it."""


def without_password(url: str) -> str:
    """An address without user, password and query, each of which may be a secret.

    A password may hold what a URL has to escape: all that stands before the last `@` goes.
    """
    start = url.find("://") + 3 if "://" in url else 0
    return (url[:start] + url[start:].rpartition("@")[2]).partition("?")[0]
