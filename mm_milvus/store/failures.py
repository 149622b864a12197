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

__all__ = ["silence", "translated"]

_COLLECTION_NOT_FOUND = 100  # Milvus' own code; older servers answer 1 or 4 with the words below
_AUTHENTICATION = ("unauthenticated", "auth check failure")
_NO_RIGHT = ("permission_denied", "permissiondenied", "permission deny")
_UNREACHABLE = (
    "unavailable",
    "fail connecting",
    "failed to connect",
    "connection refused",
    "illegal connection params",
)


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
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        # "illegal connection params or server unavailable" hides the code that says which of them it is.
        cause = error.__cause__
        message = _rpc_message(cause) if isinstance(cause, grpc.RpcError) else str(error.message)
        raise _ours(action, message, error.code) from error
    except grpc.FutureTimeoutError as error:
        raise ConnectionFailed(f"{action}: Milvus did not answer in time") from error
    except grpc.RpcError as error:
        raise _ours(action, _rpc_message(error), None) from error


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
    return StoreError(f"{action}: {line}")


def _rpc_message(error: Exception) -> str:
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):
        return f"{code()}: {details()}"
    return repr(error)
