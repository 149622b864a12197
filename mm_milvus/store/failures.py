"""Milvus' errors become ours, in one place: one line, no gRPC traceback, the narrowest class that fits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mm_milvus.errors import (
    AuthenticationFailed,
    CollectionNotFound,
    ConnectionFailed,
    DatabaseNotFound,
    StoreError,
)

__all__ = ["NotReady", "blames_rows", "is_transient", "silence", "translated"]

_COLLECTION_NOT_FOUND = 100  # Milvus' own code; older servers answer 1 or 4 with the words below
_AUTHENTICATION = ("unauthenticated", "auth check failure")
_NO_RIGHT = ("permission_denied", "permissiondenied", "permission deny")
_UNREACHABLE = (
    "unavailable",
    "fail connecting",
    "failed to connect",
    "connection refused",
    "illegal connection params",
    "socket closed",
    "connection reset",
    "stream removed",
    "rst_stream",
    "goaway",
    # a call of one thread ends like this when another one has made the connection anew
    "cancelled",
    "closed channel",
    "channel closed",
    "should create connection first",
)
# A server that starts or recovers, or that asks for patience; and a slip of Milvus Lite, which writes on the next try.
_NOT_READY = (
    "not ready",
    "not healthy",
    "is not serving",
    "not loaded",
    "not fully loaded",
    "wait for loading collection timeout",
    "channel not found",
    "channel not available",
    "no available",
    "node not found",
    "node offline",
    "node is offline",
    "node not match",
    "nodenotfound",
    "shard leader",
    "shard delegator",
    "rate limit",
    "ratelimit",
    "quota",
    "current_seq is monotonic",
)
# Not the fault of a row, and no matter of waiting: the machine has to be looked after.
_MACHINE = (
    "no space left",
    "disk full",
    "disk quota",
    "disk limit",
    "file too large",
    "too many open files",
    "read-only file system",
    "permission denied",
    "input/output error",
    "i/o error",
    "[errno",
    "memory limit",
    "out of memory",
    "cannot allocate memory",
    "memoryerror",
    "unimplemented",
)


class NotReady(StoreError):
    """Milvus answers, but cannot do it yet."""


def is_transient(error: StoreError) -> bool:
    """Whether the same call may work a while later."""
    return isinstance(error, ConnectionFailed | NotReady)


def blames_rows(error: StoreError) -> bool:
    """Whether a refused write may work without some of its rows."""
    if (
        type(error) is not StoreError
    ):  # every narrower class is about the connection, the collection or the user
        return False
    lower = str(error).lower()
    return not any(word in lower for word in _MACHINE)


def silence() -> None:
    """Keeps pymilvus and Milvus Lite from logging a traceback for every error that is reported anyway."""
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.getLogger("grpc._server").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """pymilvus asks for a timestamp with every new index and is content with none; Milvus Lite has none to give."""
    return "Method not implemented!" not in record.getMessage()


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turns errors of pymilvus and gRPC inside the block into ours; ``action`` opens the message."""
    try:
        yield
    except Exception as error:
        ours = _translation(action, error)
        if ours is None:
            raise
        raise ours from error


def _translation(action: str, error: Exception) -> StoreError | None:
    """None for what is no error of theirs."""
    import grpc
    from pymilvus.exceptions import MilvusException

    match error:
        case MilvusException():
            # "illegal connection params or server unavailable" hides the code that says which of them it is.
            cause = error.__cause__
            message = _rpc_message(cause) if isinstance(cause, grpc.RpcError) else str(error.message)
            return _ours(action, message, error.code)
        case grpc.FutureTimeoutError():
            return ConnectionFailed(f"{action}: Milvus did not answer in time")
        case grpc.RpcError():
            return _ours(action, _rpc_message(error), None)
        case ValueError() if "closed channel" in str(error):
            # how gRPC answers a thread whose connection another one has just made anew
            return ConnectionFailed(f"{action}: the connection was closed")
    return None


def _ours(action: str, message: str, code: int | None) -> StoreError:
    line = " ".join(message.split()) or "no reason given"
    lower = line.lower()
    if "missing authorization" in lower:
        return AuthenticationFailed(f"{action}: the server asks for a token; set --token user:password")
    if any(word in lower for word in _AUTHENTICATION):
        return AuthenticationFailed(
            f"{action}: the server does not accept the token; set --token user:password"
        )
    if any(word in lower for word in _NO_RIGHT):
        return AuthenticationFailed(f"{action}: the user of the token has no right to do so ({line})")
    if "database not found" in lower:
        return DatabaseNotFound(f"{action}: {line}")
    if code == _COLLECTION_NOT_FOUND or "collection not found" in lower or "can't find collection" in lower:
        return CollectionNotFound(f"{action}: {line}")
    if any(word in lower for word in _UNREACHABLE) or "deadline exceeded" in lower:
        return ConnectionFailed(f"{action}: Milvus does not answer ({line})")
    if any(word in lower for word in _NOT_READY) and not any(word in lower for word in _MACHINE):
        return NotReady(f"{action}: {line}")
    return StoreError(f"{action}: {line}")


def _rpc_message(error: Exception) -> str:
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):
        return f"{code()}: {details()}"
    return repr(error)
