"""Every way in which an embedded database cannot be opened, and that a query never makes one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mm_milvus import Client
from mm_milvus.config import Settings, load_settings
from mm_milvus.errors import CollectionNotFound, ConfigError, DatabaseLocked, DatabaseNotFound, StoreError
from mm_milvus.store import Store
from tests.store.failing import SECRET, command, failure

pytestmark = pytest.mark.alone


def catalog_in(folder: Path) -> Path:
    path = folder / "shoes.jsonl"
    path.write_text('{"id": "a", "title": "red shoe"}\n{"id": "b", "title": "blue boot"}\n', encoding="utf-8")
    return path


def test_a_query_makes_no_database(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("shop.db", "empty", "no/such/shop.db"):
        with Client(tmp_path / name) as shop:
            for call in (
                shop.info,
                shop.collections,
                shop.drop,
                lambda shop=shop: shop.get("a"),
                lambda shop=shop: shop.query("shoe"),
                lambda shop=shop: shop.delete("a"),
            ):
                with pytest.raises(DatabaseNotFound, match="`mm-milvus ingest` creates one"):
                    call()
    code, out, err = command("query", "--text", "shoe", "--uri", "shop.db", folder=tmp_path)
    assert (code, out) == (23, "")
    assert err == (
        f"error: there is no database at {tmp_path / 'shop.db'}; `mm-milvus ingest` creates one, or set --uri\n"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("nowhere/shop.db", DatabaseNotFound, "the folder .*nowhere of the database does not exist"),
        ("plain.txt", StoreError, "plain.txt is a file, not a Milvus Lite database"),
        ("sqlite.db", StoreError, "sqlite.db is a file, not a Milvus Lite database of this version"),
        ("photos", StoreError, "photos is a folder with other content"),
        ("leveldb", StoreError, "leveldb is a folder with other content"),
        ("pipe", StoreError, "pipe is a file"),
        ("x" * 300, StoreError, "File name too long"),
    ],
)
def test_what_is_no_database_is_left_alone(
    name: str, kind: type[StoreError], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "plain.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "sqlite.db").write_bytes(b"SQLite format 3\0" + bytes(84))
    for folder, file in (("photos", "shoe.jpg"), ("leveldb", "LOCK"), ("leveldb", "000003.log")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / file).touch()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=reason) as caught:
        Store(Settings(uri=str(tmp_path / name)), create=True)
    assert caught.type is kind
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_rights_is_one_line(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read and write everything")
    with pytest.raises(StoreError, match="Permission denied"):
        Store(Settings(uri=str(locked)), create=True)
    with pytest.raises(StoreError, match="Permission denied"):
        Store(Settings(uri=str(locked / "shop.db")), create=True)


@pytest.mark.parametrize("name", ["shop", "商 店 数据.db", 'it\'s; "odd" %20#?&'])
def test_any_path_will_do(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with Client(path) as shop:
        assert shop.ingest(catalog_in(tmp_path)).written == 2
    with Client(path) as again:
        assert [hit.id for hit in again.get(["b", "a"])] == ["b", "a"]
        assert again.info().uri == str(path)
    assert sorted(os.listdir(tmp_path)) == sorted([name, "shoes.jsonl"])


def test_clients_of_one_process_share_a_file_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "shop.db")
    with Client(tmp_path / "shop.db") as first:
        first.ingest(catalog_in(tmp_path))
        with Client(f"{tmp_path}/folder/../shop.db") as second, Client(tmp_path / "link.db") as third:
            assert second.delete("b") == 1
            assert third.info().rows == first.info().rows == 1
        assert [hit.id for hit in first.get("a")] == ["a"]


def test_a_missing_collection_names_those_that_exist(tmp_path: Path) -> None:
    for name in ("shoes", "boots"):
        with Client(tmp_path / "shop.db", collection=name) as shop:
            shop.ingest(catalog_in(tmp_path))
    with Client(tmp_path / "shop.db") as shop, pytest.raises(CollectionNotFound) as caught:
        shop.query("shoe")
    assert str(caught.value) == (
        f"there is no collection 'products' in {tmp_path / 'shop.db'} (collections there: boots, shoes)"
    )


HOLDER = (
    "from mm_milvus import Client; shop = Client('shop.db'); print(shop.info().rows, flush=True); input()"
)


def test_a_file_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with Client(path) as shop:
        shop.ingest(catalog_in(tmp_path))
        code, out, err = command("info", "--uri", str(path), folder=tmp_path)
        assert (code, out) == (24, "")
        assert err == (
            f"error: the database {path} is in use by another process; close it, or wait for it with --wait SECONDS\n"
        )
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "2\n"  # closed here, it can be opened there
        found = failure(str(path))
        assert (found.kind, found.seconds < 2) == (DatabaseLocked, True)
        holder.kill()
    with Client(path) as shop:  # a lock does not outlive its process
        assert shop.info().rows == 2


def test_a_file_can_be_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with Client(path) as shop:
        shop.ingest(catalog_in(tmp_path))
        code, _, err = command("info", "--uri", str(path), "--wait", "0.5", folder=tmp_path)
        assert (code, "in use by another process" in err) == (24, True)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "2\n"
        started = time.monotonic()
        with pytest.raises(DatabaseLocked):
            Store(Settings(uri=str(path), wait=0.7))
        assert 0.7 <= time.monotonic() - started < 3
        threading.Timer(1.0, holder.kill).start()
        with Client(config=Settings(uri=str(path), wait=30)) as shop:
            assert shop.info().rows == 2


# --- the token is a secret ------------------------------------------------------------------------------------


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    settings = Settings(token=f"root:{SECRET}")
    assert SECRET not in repr(settings) + str(settings)
    assert SECRET not in repr(Client(config=settings))
    file = tmp_path / "shop.toml"
    for text, message in (
        (f"token = ['{SECRET}']", "bad value for 'token' in .*: Input should be a valid string$"),
        (f"tokn = '{SECRET}'", "unknown setting 'tokn' in .*; did you mean 'token'"),
        (f"token = '{SECRET}", "cannot read the config file"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message) as caught:
            load_settings(file, environ={})
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="unknown environment variable MM_MILVUS_TOKN") as caught:
        load_settings(environ={"MM_MILVUS_TOKN": SECRET})
    assert SECRET not in str(caught.value)
