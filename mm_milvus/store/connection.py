"""A connection to one Milvus, embedded or served, and the collections behind it."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from mm_milvus.errors import (
    CollectionNotFound,
    ConfigError,
    ConnectionFailed,
    StoreError,
)
from mm_milvus.store.capabilities import Capabilities
from mm_milvus.store.collection import Collection
from mm_milvus.store.embedded import EmbeddedServer, open_embedded
from mm_milvus.store.failures import silence, translated
from mm_milvus.store.generation import GENERATION_PROPERTY, new_generation
from mm_milvus.store.link import Link
from mm_milvus.store.schema import milvus_index, milvus_schema
from mm_milvus.store.stamp import STAMP_PROPERTY, Stamp

if TYPE_CHECKING:
    from types import TracebackType

    from pymilvus import MilvusClient

    from mm_milvus.config import Settings

__all__ = ["Store"]

_PROBE_SECONDS = 5.0
_CONNECT_SECONDS = 10.0
_PORT = 19530
# gRPC keeps one memory of failures per address for the whole process, and tries a server that was away for half a
# minute only every 16 s, whoever asks. Its pings between calls make servers say "too many pings", on stderr too.
_CHANNEL = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.keepalive_permit_without_calls": False,
}
_NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}  # to a server in this very process
_EXPECTED = "expected http://host:port, https://host:port or a local path"
_ADDRESS = re.compile(r"(?:https?:/?)?[\w.-]+:\d+/?|\[[0-9a-fA-F:.]+\]:\d+|https?:.*", re.IGNORECASE)
_USERINFO = re.compile(r"(://)[^/?#]*@")


class Store:
    """An open connection. ``create`` lets an embedded database come into being; queries never set it.

    With ``retry_seconds`` a call that fails because Milvus is away, starting or overloaded is repeated that long, over
    a fresh connection; ``on_wait`` gets one line before each pause. The first connection is not waited for.
    Raises ConnectionFailed, AuthenticationFailed, DatabaseNotFound, DatabaseLocked or ConfigError (bad URI).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        create: bool = False,
        retry_seconds: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self._embedded: EmbeddedServer | None = None
        silence()
        uri = settings.uri
        if is_server(settings.uri):
            _probe(settings)
            client, version = _connect(uri, settings)
        else:
            self._embedded = open_embedded(settings.uri, create=create, wait=settings.wait)
            uri = self._embedded.uri
            try:
                client, version = _connect(uri, settings)
            except BaseException:  # an interrupt must not leave the database locked either
                self._embedded.close()
                raise
        self.capabilities = Capabilities.of(version, lite=self._embedded is not None)
        self._link = Link(
            client,
            partial(_reconnect, uri, settings),
            uri=settings.uri,
            timeout=settings.timeout,
            retry_seconds=retry_seconds,
            on_wait=on_wait,
        )

    def stop_waiting(self) -> None:
        """Ends the pauses between repeated calls, in all threads and for good: the calls raise their last error."""
        self._link.stop_waiting()

    def close(self) -> None:
        """Closes the connection and, with its last user, the embedded database."""
        self._link.close()
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        return sorted(
            self._link.call(
                "cannot list the collections",
                lambda client: client.list_collections(timeout=self.settings.timeout),
            )
        )

    def has(self, name: str) -> bool:
        return self._link.call(
            f"cannot look for the collection {name!r}",
            lambda client: bool(client.has_collection(name, timeout=self.settings.timeout)),
        )

    def create(self, name: str, stamp: Stamp) -> Collection:
        """Creates the collection with its columns, index and stamp, and opens it."""

        def make(client: MilvusClient) -> None:
            client.create_collection(
                name,
                schema=milvus_schema(client, stamp, self.capabilities),
                consistency_level=self.settings.consistency,
                properties={STAMP_PROPERTY: stamp.to_json()},
                timeout=self.settings.timeout,
            )
            index = milvus_index(client, self.capabilities)
            # There is nothing to wait for; pymilvus would, half a second for each field.
            client.create_index(name, index, timeout=self.settings.timeout, sync=False)

        self._link.call(f"cannot create the collection {name!r}", make)
        return self.open(name)

    def open(self, name: str) -> Collection:
        """Raises CollectionNotFound, or StoreError for a collection that mm-milvus did not make."""
        text = self._stamp_text(name)
        stamp = Stamp.from_json(text, name).located(self.settings.fusion)
        self._link.call(
            f"cannot load the collection {name!r}",
            lambda client: client.load_collection(name, timeout=self.settings.timeout),
        )
        self._link.loaded(name)
        columns = {} if self._embedded is None else {"read_columns": partial(self._embedded.columns, name)}
        return Collection(self._link, name, stamp, self.capabilities, self.settings, text, **columns)

    def restamp(self, name: str, stamp: Stamp) -> None:
        """Replaces the stamp, for instance when a later catalog brings attributes of new names. Open clients see it."""
        properties = {STAMP_PROPERTY: stamp.to_json(), GENERATION_PROPERTY: new_generation()}
        self._link.call(
            f"cannot change the stamp of {name!r}",
            lambda client: client.alter_collection_properties(
                name, properties=properties, timeout=self.settings.timeout
            ),
        )

    def _stamp_text(self, name: str) -> str:
        if not self.has(name):
            known = ", ".join(self.collections()) or "none"
            raise CollectionNotFound(
                f"there is no collection {name!r} in {self.settings.uri} (collections there: {known})"
            )
        description: dict[str, Any] = self._link.call(
            f"cannot describe the collection {name!r}",
            lambda client: client.describe_collection(name, timeout=self.settings.timeout),
        )
        text = description.get("properties", {}).get(STAMP_PROPERTY)
        if text is None:
            raise StoreError(f"the collection {name!r} has no stamp: it was not made by mm-milvus")
        return str(text)

    def drop(self, name: str) -> None:
        """Drops the collection and all its products. Raises CollectionNotFound."""
        if not self.has(name):
            raise CollectionNotFound(f"there is no collection {name!r} in {self.settings.uri}")
        self._link.call(
            f"cannot drop the collection {name!r}",
            lambda client: client.drop_collection(name, timeout=self.settings.timeout),
        )


def is_server(uri: str) -> bool:
    """True for a URL of a server, False for the path of an embedded database. Raises ConfigError for neither."""
    scheme, separator, _ = uri.partition("://")
    if not uri.strip():
        raise ConfigError(f"bad uri {uri!r}: {_EXPECTED}")
    if separator:
        if scheme.lower() not in ("http", "https", "tcp"):
            raise ConfigError(f"bad uri {_show(uri)}: {_EXPECTED}")
        return True
    if _ADDRESS.fullmatch(uri.strip()):
        raise ConfigError(f"bad uri {_show(uri)}: write http:// before the address of a server")
    return False


def _show(uri: str) -> str:
    """The URI in quotes, without a password that somebody wrote into it."""
    return repr(_USERINFO.sub(r"\1***@", uri))


def _address(uri: str) -> tuple[str, int]:
    """Host and port of a server's URI. Raises ConfigError."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        reason = str(error) if "@" not in uri else "it cannot be parsed"
        raise ConfigError(f"bad uri {_show(uri)}: {reason}") from None
    if "@" in parts.netloc:
        raise ConfigError(f"bad uri {_show(uri)}: user and password belong into --token user:password")
    if not host:
        raise ConfigError(f"bad uri {_show(uri)}: it names no host")
    if ":" in host:
        raise ConfigError(f"bad uri {uri!r}: pymilvus takes no IPv6 address, write the name of the host")
    if port is None:
        port = 443 if parts.scheme == "https" else _PORT
    return host, port


def _probe(settings: Settings) -> None:
    """Says at once that an address is dead: pymilvus takes its time and does not say why."""
    uri = settings.uri
    address = _address(uri)
    try:
        socket.create_connection(address, timeout=min(settings.timeout, _PROBE_SECONDS)).close()
    except UnicodeError as error:  # of the encoding of host names
        raise ConfigError(f"bad uri {uri!r}: no host can have that name") from error
    except OSError as error:
        raise ConnectionFailed(f"nothing answers at {uri}: {error.strerror or error}") from error


def _connect(uri: str, settings: Settings) -> tuple[MilvusClient, str]:
    """A client and the version of what it is connected to."""
    try:
        with translated(f"cannot connect to {settings.uri}"):
            client = _client(uri, settings, _CONNECT_SECONDS)
        with translated(f"cannot ask {settings.uri} for its version"):
            return client, client.get_server_version(timeout=settings.timeout)
    except ConnectionFailed as error:
        raise _not_milvus(settings, error) from error


def _reconnect(uri: str, settings: Settings) -> MilvusClient:
    """A client in the place of one that has become useless."""
    if is_server(settings.uri):
        _probe(settings)
    return _client(uri, settings, _PROBE_SECONDS)


def _client(uri: str, settings: Settings, seconds: float) -> MilvusClient:
    """A client with a connection of its own: a shared one may be broken, and pymilvus hands it out all the same."""
    from pymilvus import MilvusClient

    silence()  # again: the import sets levels of its own
    timeout = min(settings.timeout, seconds)
    channel = _CHANNEL if is_server(settings.uri) else _CHANNEL | _NO_PINGS
    return MilvusClient(
        uri, token=settings.token or "", timeout=timeout, dedicated=True, grpc_options=channel
    )


def _not_milvus(settings: Settings, error: ConnectionFailed) -> ConnectionFailed:
    """The port is open, as the probe has found; what is wrong is behind it."""
    if not is_server(settings.uri):
        return error
    if "DEADLINE_EXCEEDED" in str(error):
        waited = min(settings.timeout, _CONNECT_SECONDS)
        return ConnectionFailed(
            f"{settings.uri} accepts connections but did not answer within {waited:g} s: is it Milvus, and is it up?"
        )
    return ConnectionFailed(
        f"{settings.uri} answers, but not like a Milvus server; "
        "check the port, and whether it is http:// or https://"
    )
