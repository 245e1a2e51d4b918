"""The driver pg8000 as SQLAlchemy uses it here: it gives up, encrypts as the URL says, and lets go without a word."""

import contextlib
import socket
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.pg8000 import PGDialect_pg8000

from ragsaver.errors import MissingExtra, SettingsError

PORT = 5432
_CONNECT_S = 5.0
# That the server may say nothing for: no statement of ours takes so long.
_SILENT_S = 60.0
# As libpq names them, and as the driver does.
_TLS = {"disable": False, "prefer": None, "require": True}

registry.register("postgresql.ragsaver", __name__, "Dialect")


class Dialect(PGDialect_pg8000):
    """SQLAlchemy's own, but for how connections begin and end."""

    supports_statement_cache = True

    def connect(self, *_: Any, **how: Any) -> Any:
        """A connection by a socket that gives up: the driver's own ones wait for ever, also for a server that is gone.

        :param how: as the driver takes it.
        """
        import pg8000

        host, port = how.setdefault("host", "localhost"), how.setdefault("port", PORT)
        try:
            made = socket.create_connection((host, port), _CONNECT_S)
        except OSError as error:
            raise pg8000.InterfaceError(f"network error: {error.strerror or error}") from error
        made.settimeout(_SILENT_S)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return pg8000.Connection(**how, sock=made)
        except BaseException:
            made.close()
            raise

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether the connection is of no use any more: a server that says FATAL has closed it."""
        fields = e.args[0] if e.args else None
        fatal = isinstance(fields, dict) and fields.get("S") in ("FATAL", "PANIC")
        return fatal or bool(super().is_disconnect(e, connection, cursor))  # type: ignore[no-untyped-call]

    def do_close(self, dbapi_connection: Any) -> None:
        """Close it; one that is closed by the other side already is no error."""
        with contextlib.suppress(self.loaded_dbapi.Error, OSError):
            dbapi_connection.close()


def open_server(url: SecretStr) -> sa.Engine:
    """An engine on a database; nothing is connected yet.

    :param url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with `?sslmode=` and `sslrootcert=` or not.
    :raises MissingExtra: if the driver is not installed.
    :raises SettingsError: if the URL asks for something that there is not.
    """
    try:
        import pg8000  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "the pg8000 package is not installed", remedy="Install it: pip install 'ragsaver[postgres]'"
        ) from None
    address = sa.make_url(url.get_secret_value())
    return sa.create_engine(
        address.set(drivername="postgresql+ragsaver", query={}),
        connect_args={"ssl_context": _tls(address), "application_name": "ragsaver"},
        pool_pre_ping=True,
        hide_parameters=True,  # they hold documents, and errors are logged
    )


def _tls(address: sa.URL) -> Any:
    """What the driver takes for `sslmode`: by default it encrypts where the server can."""
    asked = dict(address.query)
    mode, root = asked.pop("sslmode", "prefer"), asked.pop("sslrootcert", None)
    if asked:
        raise SettingsError(
            f"`{', '.join(asked)}` can't be set in it", where="database.url", remedy="It takes sslmode and sslrootcert"
        )
    if mode == "verify-full":
        import ssl

        try:
            return ssl.create_default_context(cafile=root if isinstance(root, str) else None)
        except OSError as error:
            raise SettingsError(f"`sslrootcert` {root} can't be read: {error}", where="database.url") from error
    if mode not in _TLS:
        raise SettingsError(
            f"there is no sslmode `{mode}`", where="database.url", remedy=f"Take {', '.join(_TLS)} or verify-full"
        )
    return _TLS[str(mode)]
