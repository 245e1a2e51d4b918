"""Which addresses may a page be fetched from? Those of the public internet, unless the operator says otherwise."""

import ipaddress
import socket

from ragsaver.errors import UnreadableDocument

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all that IANA has given out: RFC 4291, section 2.4
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


def allowed_addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host, each fit to be connected to.

    Whoever connects has to connect to one of these: a second look-up may answer differently.

    :raises UnreadableDocument: if the host has no address, or a single one that is not public.
    """
    try:
        addresses = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise UnreadableDocument(
            f"the host {host} is not known: {error}", where=host, remedy="Check the address and the network"
        ) from error
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise UnreadableDocument(
                    f"the host {host} has the address {address}, which is not public",
                    where=host,
                    remedy="If it is yours and meant, set `sources.allow_private_addresses`",
                )
    return addresses


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for a host's addresses, the best first. The one place that does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet: not private, local, shared, reserved or a group's.

    An IPv6 address that carries an IPv4 one is as public as what it carries.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64:
            return _is_public_v4(ipaddress.IPv4Address(parsed.packed[-4:]))
        carried = parsed.ipv4_mapped or parsed.sixtofour
        if carried is not None:
            return _is_public_v4(carried)
        return parsed in _GLOBAL_UNICAST and parsed.is_global and not parsed.is_reserved
    return _is_public_v4(parsed)


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved
