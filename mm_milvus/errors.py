"""Every error that mm-milvus raises on purpose, and the exit code that the command line gives it.

    MmMilvusError                 1   anything of ours that has no narrower class
    ├── ConfigError               2   an unknown key, a bad value, a bad option
    ├── CatalogError              3   the catalog as a whole cannot be read
    │   ├── TooManyRejects        4   more rows were rejected than --max-reject-rate allows
    │   └── DeletionRefused      12   --sync would delete too much, or the catalog was not read in full
    ├── MediaError                5   a picture cannot be fetched or decoded (in a catalog: a reject)
    ├── EncoderError              6   a model cannot be loaded or used
    │   └── MissingDependency     6   an optional package is not installed; names the pip install
    ├── FusionError               7   this fusion cannot work with this encoder
    ├── StampMismatch             8   the collection was made with another encoder or fusion
    ├── InvalidValue              9   a value that cannot be stored (in a catalog: a reject)
    ├── FilterError              10   the filter cannot be parsed or does not fit the fields
    │   └── UnknownField         11   the query or its filter names a field that the collection does not have
    └── StoreError               20   Milvus refused or failed
        ├── ConnectionFailed     21   nothing answers at the URI
        ├── AuthenticationFailed 22   the server answers but does not accept the token
        ├── DatabaseNotFound     23   the embedded database file does not exist
        ├── DatabaseLocked       24   another process has the embedded database open
        ├── CollectionNotFound   25   the database has no such collection
        ├── ProductNotFound      26   a query or a get names an id that is not stored
        └── NotSupported         27   this Milvus cannot do it (see `mm-milvus doctor`)
    KeyboardInterrupt
    └── Interrupted             130   a Ctrl-C; of an ingest, it has its report

The command line prints the message on one line and exits with the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mm_milvus.records import IngestReport

__all__ = [
    "AuthenticationFailed",
    "CatalogError",
    "CollectionNotFound",
    "ConfigError",
    "ConnectionFailed",
    "DatabaseLocked",
    "DatabaseNotFound",
    "DeletionRefused",
    "EncoderError",
    "FilterError",
    "FusionError",
    "Interrupted",
    "InvalidValue",
    "MediaError",
    "MissingDependency",
    "MmMilvusError",
    "NotSupported",
    "ProductNotFound",
    "StampMismatch",
    "StoreError",
    "TooManyRejects",
    "UnknownField",
]


class MmMilvusError(Exception):
    """Base of all errors of this package. ``exit_code`` is what the command line exits with.

    ``report`` is that of an ingest which the error ended: what it had done until then.
    """

    exit_code = 1
    report: IngestReport | None = None


class ConfigError(MmMilvusError):
    """A setting is unknown or has a bad value."""

    exit_code = 2


class CatalogError(MmMilvusError):
    """The catalog as a whole cannot be read (missing, unreadable, no id column, ...)."""

    exit_code = 3


class TooManyRejects(CatalogError):
    """The share of rejected rows is above ``max_reject_rate``; the good rows are stored all the same.

    ``report`` is the IngestReport of the run.
    """

    exit_code = 4

    def __init__(self, reason: str, report: IngestReport) -> None:
        super().__init__(reason)
        self.report = report


class DeletionRefused(CatalogError):
    """What ``sync`` asked for would delete more than ``max_delete_rate``, or the catalog was not read in full.

    Nothing was deleted, and everything else was done; ``report`` is the IngestReport of the run.
    """

    exit_code = 12

    def __init__(self, reason: str, report: IngestReport) -> None:
        super().__init__(reason)
        self.report = report


class Interrupted(KeyboardInterrupt):
    """A Ctrl-C during an ingest: what was in flight is stored, and ``report`` says what was done."""

    exit_code = 130

    def __init__(self, report: IngestReport) -> None:
        super().__init__("interrupted")
        self.report = report


class MediaError(MmMilvusError):
    """A picture cannot be fetched or decoded. ``stage`` is ``"fetch"`` or ``"decode"``."""

    exit_code = 5

    def __init__(self, reason: str, *, stage: str = "decode") -> None:
        super().__init__(reason)
        self.stage = stage


class EncoderError(MmMilvusError):
    """A model cannot be loaded or cannot encode what it was given."""

    exit_code = 6


class MissingDependency(EncoderError):
    """An optional package is missing; the message names the ``pip install`` that brings it."""


class FusionError(MmMilvusError):
    """The fusion cannot work with this encoder."""

    exit_code = 7


class StampMismatch(MmMilvusError):
    """The collection was made with another encoder or fusion than the one asked for."""

    exit_code = 8


class InvalidValue(MmMilvusError):
    """A value cannot be stored in Milvus."""

    exit_code = 9


class FilterError(MmMilvusError):
    """The filter expression cannot be parsed or compares values of the wrong type."""

    exit_code = 10


class UnknownField(FilterError):
    """The query or its filter names a field that the collection does not have."""

    exit_code = 11


class StoreError(MmMilvusError):
    """Milvus refused or failed."""

    exit_code = 20


class ConnectionFailed(StoreError):
    """Nothing answers at the URI."""

    exit_code = 21


class AuthenticationFailed(StoreError):
    """The server answers but does not accept the token."""

    exit_code = 22


class DatabaseNotFound(StoreError):
    """The embedded database file does not exist; only an ingest creates one."""

    exit_code = 23


class DatabaseLocked(StoreError):
    """Another process has the embedded database open."""

    exit_code = 24


class CollectionNotFound(StoreError):
    """The database has no collection of that name."""

    exit_code = 25


class ProductNotFound(StoreError):
    """No product with that id is stored."""

    exit_code = 26


class NotSupported(StoreError):
    """This Milvus cannot do what was asked for."""

    exit_code = 27
