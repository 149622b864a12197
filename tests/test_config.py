"""Where settings come from, who wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mm_milvus.config import Settings, load_settings
from mm_milvus.errors import ConfigError
from mm_milvus.records import FieldType


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults() -> None:
    settings = load_settings(environ={})
    assert (settings.uri, settings.collection, settings.encoder) == ("./mm-milvus.db", "products", None)
    assert settings.max_reject_rate == 0.05


def test_file_then_environment_then_arguments(tmp_path: Path) -> None:
    file = write(
        tmp_path / "shop.toml", 'collection = "a"\nbatch_size = 8\ndevice = "cpu"\n[mapping]\nid = "sku"\n'
    )
    environ = {"MM_MILVUS_COLLECTION": "b", "MM_MILVUS_BATCH_SIZE": "16", "PATH": "/bin"}
    settings = load_settings(file, environ=environ, collection="c", uri=None)
    assert (settings.collection, settings.batch_size, settings.device) == ("c", 16, "cpu")
    assert settings.mapping == {"id": "sku"}


def test_the_file_beside_the_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mm-milvus.toml", 'collection = "here"')
    write(tmp_path / "other.toml", 'collection = "there"')
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={}).collection == "here"
    assert load_settings(environ={"MM_MILVUS_CONFIG": "other.toml"}).collection == "there"


def test_lists_and_tables_in_the_environment() -> None:
    environ = {
        "MM_MILVUS_TEXT_FIELDS": "title, color",
        "MM_MILVUS_ALLOW_ROOT": "/a,/b",
        "MM_MILVUS_MAPPING": "id=sku,title=name",
        "MM_MILVUS_TYPES": "stock=int64",
    }
    settings = load_settings(environ=environ)
    assert settings.text_fields == ("title", "color")
    assert settings.allow_root == (Path("/a"), Path("/b"))
    assert settings.mapping == {"id": "sku", "title": "name"}
    assert settings.types == {"stock": FieldType.INT64}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colection = "x"', "unknown setting 'colection'.*did you mean 'collection'"),
        ("batch_size = 0", "'batch_size'.*greater than or equal to 1"),
        ('batch_size = "many"', "'batch_size'.*'many'"),
        ('collection = "no blanks"', "'collection'"),
        ('fusion = "magic"', "'fusion'.*'blocks'"),
        ("max_reject_rate = 2", "'max_reject_rate'"),
        ('device = "gpu"', "'device'"),
        ('types = {price = "money"}', "'types.price'"),
        ("not toml", "cannot read the config file"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(write(tmp_path / "bad.toml", text), environ={})
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_settings("nowhere.toml", environ={})


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="MM_MILVUS_COLECTION.*'MM_MILVUS_COLLECTION'"):
        load_settings(environ={"MM_MILVUS_COLECTION": "x"})


def test_replace_ignores_none_and_validates() -> None:
    settings = Settings()
    assert settings.replace(collection=None) is settings
    assert settings.replace(collection="b").collection == "b"
    with pytest.raises(ConfigError, match="unknown setting 'colour'"):
        settings.replace(colour="red")


def test_settings_made_by_hand_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="'timeout'.*'abc'"):
        Settings(timeout="abc")
    with pytest.raises(ConfigError, match="unknown setting 'limit'"):
        Settings(limit=3)


def test_the_token_is_not_printed() -> None:
    assert "secret" not in repr(Settings(token="root:secret"))
