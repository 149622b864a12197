"""Writing rows: in requests of a good size, repeated when Milvus was away, without the rows that it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from mm_milvus.errors import InvalidValue, StoreError
from mm_milvus.store.failures import blames_rows
from mm_milvus.store.limits import check_row
from mm_milvus.store.packing import Packer

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from mm_milvus.config import Settings
    from mm_milvus.records import Row
    from mm_milvus.store.capabilities import Capabilities
    from mm_milvus.store.link import Link
    from mm_milvus.store.stamp import Stamp

    Refused = list[tuple[Row, str]]

__all__ = ["RowWriter", "turn"]

# Of rows in one request. A server takes 64 MB with all that belongs to it, and likes 20 to 40.
_SERVER_BYTES = 24 << 20
_LITE_BYTES = 16 << 20
_MANY = 32  # rows refused together for one reason say more of Milvus than of the rows
_one_at_a_time = threading.Lock()  # Milvus Lite loses count of its log when several threads write


def turn(capabilities: Capabilities) -> AbstractContextManager[object]:
    """In which a writing call may be made."""
    return _one_at_a_time if capabilities.lite else nullcontext()


class RowWriter:
    """Writes to one collection."""

    def __init__(
        self, link: Link, name: str, stamp: Stamp, capabilities: Capabilities, settings: Settings
    ) -> None:
        self._link = link
        self._name = name
        self._stamp = stamp
        self._capabilities = capabilities
        self._replaces = capabilities.insert_replaces
        self._bytes = _LITE_BYTES if capabilities.lite else _SERVER_BYTES
        self._settings = settings
        self._packer = Packer(name, stamp)
        self._exact: bool | None = None  # whether the packer may be used; None before the first write
        self._types = stamp.schema.types()
        self._action = f"cannot write to {name!r}"

    def write(self, rows: Sequence[Row], *, new: bool) -> Refused:
        """See ``Collection.write``."""
        refused: Refused = []
        for batch in self._batches(rows, refused):
            refused += self._store(batch, new=new)
        return refused

    def _batches(self, rows: Sequence[Row], refused: Refused) -> Iterator[list[Row]]:
        """The rows that can be stored, request by request; the others go to ``refused``."""
        batch: list[Row] = []
        size = 0
        for row in rows:
            try:
                bytes_ = check_row(row, self._stamp, self._types)
            except InvalidValue as error:
                refused.append((row, str(error)))
                continue
            if batch and size + bytes_ > self._bytes:
                yield batch
                batch, size = [], 0
            batch.append(row)
            size += bytes_
        if batch:
            yield batch

    def _store(self, rows: list[Row], *, new: bool) -> Refused:
        """Raises StoreError, also when all of many rows are refused for one reason: then it is not the rows.

        A few may well be: they come alone when an ingest is repeated and everything else is unchanged.
        """
        refused, error = self._halve(rows, new=new)
        alike = len({reason for _, reason in refused}) == 1
        if error is not None and alike and len(refused) == len(rows) >= _MANY:
            raise error
        return refused

    def _halve(self, rows: list[Row], *, new: bool) -> tuple[Refused, StoreError | None]:
        """The refused rows, found by halving, and the last refusal."""
        try:
            self._send(rows, new=new)
        except StoreError as error:
            if not blames_rows(error):
                raise
            if len(rows) == 1:
                return [(rows[0], str(error).removeprefix(f"{self._action}: "))], error
            middle = len(rows) // 2
            # Nothing says that a refused request has stored nothing: from here on rows replace what is there.
            first, _ = self._halve(rows[:middle], new=False)
            second, _ = self._halve(rows[middle:], new=False)
            return first + second, error
        return [], None

    def _send(self, rows: list[Row], *, new: bool) -> None:
        """One request. Upsert merges on Milvus Lite: what the new row lacks would survive; insert replaces there.

        On a server an insert is for new rows only, and only once: a repeated one would store them twice.
        """
        insert_once = new

        def put(client: MilvusClient) -> None:
            nonlocal insert_once
            insert, insert_once = self._replaces or insert_once, False
            if self._can_pack(client) and self._packer.can_pack(rows):
                self._put(client, rows, upsert=not insert)
                return
            # pymilvus repeats a call by itself when the connection breaks
            entities = [self._packer.entity(row) for row in rows]
            call = client.insert if self._replaces else client.upsert
            with turn(self._capabilities):
                call(self._name, entities, timeout=self._settings.timeout)

        self._link.call(self._action, put, collection=self._name)

    def _can_pack(self, client: MilvusClient) -> bool:
        if self._exact is None:
            try:
                _private_api()
                schema = self._schema(client)
            except (ImportError, AttributeError, TypeError):  # not the pymilvus that this was written for
                self._exact = False
            else:
                self._exact = self._packer.is_exact(schema)
        return self._exact

    def _schema(self, client: Any) -> dict[str, Any]:
        """The collection as pymilvus describes and remembers it."""
        context = client._generate_call_context()
        schema, _ = client._get_connection()._get_schema(
            self._name, timeout=self._settings.timeout, context=context
        )
        return schema  # type: ignore[no-any-return]

    def _put(self, client: Any, rows: list[Row], *, upsert: bool) -> None:
        """What ``client.insert`` and ``client.upsert`` do once they have packed the rows; nothing is repeated."""
        from pymilvus.exceptions import SchemaMismatchRetryableException

        note_timestamp, metadata, check_status = _private_api()
        context = client._generate_call_context()
        handler = client._get_connection()
        for attempt in range(2):
            schema = self._schema(client)
            try:
                request = self._packer.request(rows, schema, upsert=upsert)
            except (TypeError, ValueError) as error:
                raise StoreError(f"{self._action}: {' '.join(str(error).split())}") from error
            call = handler._stub.Upsert if upsert else handler._stub.Insert
            with turn(self._capabilities):
                response = call(request, timeout=self._settings.timeout, metadata=metadata(context))
            try:
                check_status(response.status)
                break
            except SchemaMismatchRetryableException:
                if attempt:
                    raise
                # somebody has changed the collection since it was described, its stamp for instance
                handler._invalidate_schema(self._name, db_name=context.get_db_name())
        note_timestamp(self._name, response.timestamp, handler.server_address, context.get_db_name())


def _private_api() -> tuple[Callable[..., None], Callable[..., Any], Callable[..., None]]:
    """What pymilvus does around a write: note its timestamp, describe the caller, raise what the answer says."""
    from pymilvus.client.call_context import _api_level_md
    from pymilvus.client.ts_utils import update_collection_ts
    from pymilvus.client.utils import check_status

    return update_collection_ts, _api_level_md, check_status
