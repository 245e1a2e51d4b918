"""No page is fetched from an address that is not public, however the address is reached or written."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.sources import SourceItem, addresses, list_sources
from ragsaver.settings import SourcesSettings
from tests.ingestion.sources.site import Site, serving


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as served:
        yield served


def item(url: str) -> SourceItem:
    home = Path("/nowhere")
    (found,) = list_sources([url], home=home, cwd=home, settings=SourcesSettings(timeout_s=5), max_bytes=1000)
    return found


def refused(url: str) -> bool:
    with pytest.raises(UnreadableDocument) as caught:
        item(url).read()
    return "not public" in caught.value.problem and "sources.allow_private_addresses" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"])
def test_this_machine_is_refused_by_default_however_it_is_written(site: Site, host: str):
    site.page("/a", "secret")
    port = site.address.rpartition(":")[2]
    assert refused(f"http://{host}:{port}/a")
    assert site.asked == []


@pytest.mark.parametrize(
    "address",
    [
        *"0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.168.1.1 192.0.2.1 198.18.0.1".split(),
        *"224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255".split(),
        *":: ::1 ::7f00:1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:7f00:1:: 2001::1 2001:db8::1 fc00::1 fd12::1".split(),
        *"fe80::1 fe80::1%eth0 fec0::1 ff02::1 nonsense".split(),
    ],
)
def test_an_address_that_is_not_public_is_known(address: str):
    assert not addresses.is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_that_is_public_is_known(address: str):
    assert addresses.is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_in_a_wrapper_is_as_public_as_bare(address):
    bare = addresses.is_public(str(address))
    assert addresses.is_public(f"64:ff9b::{address}") == bare
    assert addresses.is_public(f"::ffff:{address}") == bare


def test_a_name_that_resolves_to_one_private_address_among_others_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(addresses, "resolve", lambda host, port: ["93.184.216.34", "127.0.0.1"])
    assert refused(site.address.replace("127.0.0.1", "public.example") + "/a")
    assert site.asked == []


@pytest.mark.parametrize(
    "to", ["http://inside.example:{port}/secret", "http://127.0.0.1:{port}/secret", "//127.0.0.1:{port}/secret"]
)
def test_a_redirect_to_a_private_address_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch, to: str):
    """The first host counts as public here, and leads to the site; what it redirects to does not."""
    port = site.address.rpartition(":")[2]
    genuine = addresses.is_public
    monkeypatch.setattr(
        addresses, "resolve", lambda host, port: ["127.0.0.2" if host == "outside.example" else "127.0.0.1"]
    )
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.2" or genuine(address))
    monkeypatch.setattr(socket, "create_connection", _to_the_loopback(socket.create_connection))
    site.page("/secret", "secret")
    site.redirect("/a", to.format(port=port))
    assert refused(f"http://outside.example:{port}/a")
    assert set(site.asked) == {"HEAD /a"}


def test_the_address_that_was_checked_is_the_one_connected_to(site: Site, monkeypatch: pytest.MonkeyPatch):
    """A name that answers differently the second time (DNS rebinding) is not asked a second time."""
    port = site.address.rpartition(":")[2]
    connected: list[str] = []
    asked: list[str] = []

    def connect(address: tuple[str, int], *arguments: object, **options: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError("nothing there")

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    monkeypatch.setattr(addresses, "resolve", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(UnreadableDocument, match="can't be fetched"):
        item(f"http://rebinding.example:{port}/a").read()
    assert (connected, asked) == (["93.184.216.34"], ["rebinding.example"])


def test_a_proxy_of_the_environment_is_not_used(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", site.address)
    assert refused("http://10.0.0.1/")
    assert site.asked == []


def test_a_host_that_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch):
    def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(addresses, "resolve", resolve)
    with pytest.raises(UnreadableDocument, match="not known"):
        item("http://nobody.example/").read()


def _to_the_loopback(genuine):
    return lambda address, *arguments, **options: genuine(("127.0.0.1", address[1]), *arguments, **options)
