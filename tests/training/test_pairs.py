from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mm_milvus.errors import ConfigError
from mm_milvus.training.data import DEV, TEST, TRAIN, Asked
from mm_milvus.training.pairs import PairsFile, read_pairs

GRADE = "the grade must be a number from 0.000001 to 1,000,000"
PLACES = {"a": 0, "b": 1, "7": 2}


def read(tmp_path: Path, *lines: Any, dev_share: float = 0.0) -> PairsFile:
    path = tmp_path / "pairs.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return read_pairs(path, PLACES, dev_share=dev_share, seed=0)


def test_a_file_becomes_labels(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"query": "red shoe", "product": "a", "grade": 2, "split": "train"},
        {"query": {"text": " red shoe "}, "product": "b"},
        "",
        {"query": {"text": "but blue", "image": "1.jpg", "id": "a"}, "product": 7, "split": "test"},
        {"query": {"id": "b"}, "product": "a", "split": "dev"},
        {"query": "red shoe", "product": "a", "grade": 0.5},
    )
    labels = found.labels
    assert labels.asked == [
        Asked("red shoe"),
        Asked("but blue", "1.jpg", product=0),
        Asked(product=1),
    ]
    pairs = list(zip(labels.query, labels.product, labels.grade, strict=True))
    assert pairs == [(0, 0, 2.0), (0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0)]
    assert labels.split.tolist() == [TRAIN, TEST, DEV]
    assert found.rejects == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: "),
        ("[1]", "expected a JSON object, got [1]"),
        ({"query": "x"}, "the product must be the id of a product"),
        ({"query": "x", "product": True}, "the product must be the id of a product"),
        ({"query": "x", "product": "nobody"}, "there is no product 'nobody'"),
        ({"product": "a"}, "the query is a text, or an object of text, image and id"),
        ({"query": {}, "product": "a"}, "the query is a text, or an object of text, image and id"),
        (
            {"query": {"sound": "x"}, "product": "a"},
            "the query is a text, or an object of text, image and id",
        ),
        ({"query": " ", "product": "a"}, "the query's text must be a string that is not empty"),
        ({"query": {"image": 3}, "product": "a"}, "the query's image must be a string that is not empty"),
        ({"query": {"id": "nobody"}, "product": "a"}, "there is no product 'nobody'"),
        ({"query": {"id": "a"}, "product": "a"}, "the query is the product itself"),
        ({"query": "x", "product": "a", "grade": 0}, f"{GRADE}, got 0"),
        ({"query": "x", "product": "a", "grade": -1}, f"{GRADE}, got -1"),
        ({"query": "x", "product": "a", "grade": True}, f"{GRADE}, got True"),
        ({"query": "x", "product": "a", "grade": "2"}, f"{GRADE}, got '2'"),
        ({"query": "x", "product": "a", "grade": 1e39}, f"{GRADE}, got 1e+39"),
        ({"query": "x", "product": "a", "grade": 1e-60}, f"{GRADE}, got 1e-60"),
        ({"query": "x", "product": "a", "grade": 10**400}, f"{GRADE}, got 10000"),
        ('{"query": "x", "product": "a", "grade": NaN}', "not usable JSON: NaN is not a JSON number"),
        ({"query": "x", "product": "a", "split": "val"}, "the split is one of train, dev, test, got 'val'"),
        ({"query": "x", "product": "a", "weight": 1}, "unknown key 'weight'"),
        ({"query": "good", "product": "a", "split": "dev"}, "this query is in the split 'train' already"),
    ],
)
def test_a_bad_line_is_refused_with_its_reason(tmp_path: Path, line: Any, reason: str) -> None:
    found = read(tmp_path, {"query": "good", "product": "b"}, line)
    (reject,) = found.rejects
    assert reject.line == 2
    assert reject.reason.startswith(reason)
    assert found.unknown_products == ("nobody" in reason)
    assert found.labels.product.tolist() == [1]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file of pairs cannot be used: cannot read .*: No such file"):
        read_pairs(tmp_path / "nowhere", PLACES, dev_share=0.1, seed=0)


def test_the_dev_split_is_drawn_by_query_unless_the_file_names_one(tmp_path: Path) -> None:
    lines = [{"query": f"q{n // 2}", "product": "ab"[n % 2]} for n in range(40)]
    drawn = read(tmp_path, *lines, dev_share=0.1).labels
    again = read(tmp_path, *lines, dev_share=0.1).labels
    assert (drawn.split == DEV).sum() == 2
    np.testing.assert_array_equal(drawn.split, again.split)
    named = read(tmp_path, *lines, {"query": "x", "product": "a", "split": "dev"}, dev_share=0.5).labels
    assert named.split.tolist() == [TRAIN] * 20 + [DEV]
    alone = read(tmp_path, {"query": "x", "product": "a"}, dev_share=0.5).labels
    assert alone.split.tolist() == [TRAIN]


def test_a_line_that_is_no_text_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    good = b'{"query": "red shoe", "product": "a"}\n'
    path.write_bytes(
        b"\xef\xbb\xbf"
        + good
        + b'{"query": "\xff\xfe", "product": "a"}\n'
        + rb'{"query": "\ud800", "product": "a"}'
    )
    found = read_pairs(path, {"a": 0}, dev_share=0.0, seed=0)
    assert [one.text for one in found.labels.asked] == ["red shoe"]
    assert [(one.line, one.reason) for one in found.rejects] == [
        (2, "not valid UTF-8 at byte 12 of the line; save the file as UTF-8"),
        (3, "the query's text: not valid Unicode (a lone surrogate)"),
    ]
    assert "\ufffd" in found.rejects[0].record


def test_a_file_may_be_gzipped_and_the_rejects_of_another(tmp_path: Path) -> None:
    pair = {"query": "red shoe", "product": "a"}
    repaired = {"line": 7, "id": None, "stage": "read", "reason": "there is no product 'A'", "record": pair}
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(repaired) + "\n").encode()))
    found = read_pairs(path, PLACES, dev_share=0.0, seed=0)
    assert (found.labels.asked, found.labels.product.tolist()) == ([Asked("red shoe")], [0])
