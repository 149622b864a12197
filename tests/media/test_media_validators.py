"""Which version of a picture is behind a URL, asked with and without the picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from mm_milvus.errors import MediaError
from mm_milvus.media import Fetched, MediaPolicy, MediaReader

from .web import RED_PNG, Shop, serve

pytestmark = pytest.mark.alone


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serve() as shop:
        yield shop


@pytest.fixture
def reader() -> Iterator[MediaReader]:
    with MediaReader(MediaPolicy(allow_private_hosts=True)) as reader:
        yield reader


@pytest.mark.parametrize(
    ("path", "validator"),
    [
        ("/etag", '"v1"'),
        ("/weak", 'W/"v1"'),
        ("/modified", f"Mon, 02 Nov 2026 10:00:01 GMT {len(RED_PNG) + 1}"),
        ("/refused/400", '"v1"'),
        ("/refused/403", '"v1"'),
        ("/refused/404", '"v1"'),
        ("/refused/405", '"v1"'),
        ("/refused/501", '"v1"'),
        ("/bare", 'W/"v1"'),
        ("/twofaced", '"GET-1"'),
        ("/cut", '"v1"'),
        ("/to?/etag", '"v1"'),
        ("/to?/to?/refused/405", '"v1"'),
    ],
)
def test_asking_agrees_with_fetching_and_sees_a_new_version(
    shop: Shop, reader: MediaReader, path: str, validator: str
) -> None:
    url = shop.url(path)
    assert reader.fetch(url) == Fetched(RED_PNG + b"1", validator)
    for _ in range(3):
        assert reader.validator(url) == validator
    shop.version = 2
    changed = reader.validator(url)
    assert changed not in ("", validator)
    assert reader.fetch(url) == Fetched(RED_PNG + b"2", changed)


def test_where_there_is_no_validator(shop: Shop, reader: MediaReader) -> None:
    for _ in range(2):
        assert reader.validator(shop.url("/red")) == ""
    assert reader.fetch(shop.url("/red")) == Fetched(RED_PNG, "")
    # No URL, nothing to ask.
    assert reader.fetch(RED_PNG) == Fetched(RED_PNG, "")
    assert reader.fetch("data:,abc") == Fetched(b"abc", "")
    asked = len(shop.requests)
    for reference in (RED_PNG, "data:,abc", "a.png", "/nowhere/a.png"):
        assert reader.validator(reference) == ""
    assert len(shop.requests) == asked


def test_head_alone_is_asked_once_it_is_known_to_agree(shop: Shop, reader: MediaReader) -> None:
    for number in range(4):
        assert reader.validator(shop.url(f"/etag?{number}")) == '"v1"'
    assert shop.methods == ["HEAD", "GET", "HEAD", "HEAD", "HEAD"]
    # A picture whose HEAD is refused is asked for by GET all the same.
    assert reader.validator(shop.url("/refused/405")) == '"v1"'
    assert shop.methods[5:] == ["HEAD", "GET"]


def test_head_is_not_asked_again_where_it_lies(shop: Shop, reader: MediaReader) -> None:
    for _ in range(3):
        assert reader.validator(shop.url("/twofaced")) == '"GET-1"'
    assert shop.methods == ["HEAD", "GET", "GET", "GET"]
    assert {headers["accept-encoding"] for _, headers in shop.requests} == {"identity"}


def test_the_picture_itself_is_not_read(shop: Shop, reader: MediaReader) -> None:
    started = time.monotonic()
    assert reader.validator(shop.url("/flood")) == '"flood"'
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nothing", "404 Not Found"),
        ("/forbidden", "403 Forbidden"),
        ("/loop", "more than 3 redirects"),
        ("/down", "502 Bad Gateway (2 attempts)"),
        ("/to?ftp://a.example/x", "redirects to a ftp URL"),
    ],
)
def test_where_it_cannot_be_asked(shop: Shop, reader: MediaReader, path: str, reason: str) -> None:
    url = shop.url(path)
    with pytest.raises(MediaError) as caught:
        reader.validator(url)
    assert str(caught.value) == f"{reason}: {url}"
    assert caught.value.stage == "fetch"


def test_asking_has_the_same_limits(shop: Shop) -> None:
    def refusal(path: str, **policy: Any) -> str:
        with MediaReader(MediaPolicy(**policy)) as reader, pytest.raises(MediaError) as caught:
            reader.validator(shop.url(path))
        return str(caught.value)

    assert "which is not a public address" in refusal("/etag")
    assert shop.requests == []
    started = time.monotonic()
    assert "not complete within 0.5 s" in refusal("/headers", allow_private_hosts=True, deadline=0.5)
    assert time.monotonic() - started < 1.0


def test_long_and_odd_validators_become_short_and_printable(shop: Shop, reader: MediaReader) -> None:
    from mm_milvus.media.answers import validator_of

    long, odd = validator_of({"etag": '"' + "x" * 5000 + '"'}), validator_of({"etag": '"\xe9"'})
    for validator in (long, odd):
        assert validator.startswith("sha256:")
        assert len(validator) == 71
    assert long != odd
    assert validator_of({"etag": ' "a b" ', "last-modified": "x"}) == '"a b"'
    assert validator_of({"etag": "", "last-modified": " Mon "}) == "Mon"
    assert validator_of({"content-length": "5"}) == ""
