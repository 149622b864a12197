"""Files of queries: what they may hold, and what becomes of lines that cannot be used."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mm_milvus.errors import ConfigError
from mm_milvus.evaluation import Questions, load_queries

Write = Callable[..., Path]
GOOD = '{"query": "red shoe", "relevant": ["a"]}'


def reasons(questions: Questions) -> dict[int, str]:
    return {bad.line: bad.reason for bad in questions.rejected}


def test_a_line_says_everything(write: Write, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "shoe.png")
    line: dict[str, Any] = {
        "query": {"text": ["red", "夏天"], "image": "shoe.png", "id": "sku-1"},
        "relevant": {"sku-1": 3, "sku-2": 2, "sku-3": 0, "sku-4": 1.0},
        "weights": {"text": 0.6, "image": 0.4},
        "filter": "price < 100",
        "qid": 7,
        "slice": ["head", "summer"],
    }
    [question] = load_queries(write(json.dumps(line))).questions
    assert [(s.kind, s.value, s.weight) for s in question.signals] == [
        ("text", "red", 0.3), ("text", "夏天", 0.3), ("image", str(tmp_path / "shoe.png"), 0.4), ("id", "sku-1", None),
    ]  # fmt: skip
    # The product that the query names is left out of its answer.
    assert question.relevant == {"sku-2": 2, "sku-3": 0, "sku-4": 1}
    assert question.wanted == ("sku-2", "sku-4")
    assert (question.qid, question.kind, question.filter) == ("7", "composed", "price < 100")
    assert question.labels == ("head", "summer")


def test_short_forms_mean_the_same(write: Write) -> None:
    read = load_queries(
        write(
            GOOD,
            "",
            '{"query": {"text": "red shoe"}, "relevant": "a"}',
            '{"query": {"id": "b"}, "relevant": {"a": 1}}',
        )
    )
    assert [(q.qid, q.kind, dict(q.relevant)) for q in read.questions] == [
        ("line 1", "text", {"a": 1}),
        ("line 3", "text", {"a": 1}),
        ("line 4", "id", {"a": 1}),
    ]
    assert read.rejected == ()


def test_whole_numbers_are_ids(write: Write) -> None:
    read = load_queries(
        write(
            '{"query": {"id": 17}, "relevant": [18, "a", -3]}',
            '{"query": {"id": [17, "b"], "text": "red"}, "relevant": 90071992547409931}',
            '{"query": {"id": 17}, "relevant": [17, 19]}',
        )
    )
    assert read.rejected == ()
    assert [[s.value for s in q.signals] for q in read.questions] == [["17"], ["17", "b", "red"], ["17"]]
    assert [list(q.relevant) for q in read.questions] == [["18", "a", "-3"], ["90071992547409931"], ["19"]]


def test_a_gzipped_file_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n"))
    assert len(load_queries(file)) == 1


BAD = {
    "{": "not JSON",
    "[1]": "expected a JSON object",
    '{"relevant": ["a"]}': "no query",
    '{"query": "", "relevant": ["a"]}': "the text of a query is a text, got ''",
    '{"query": {}, "relevant": ["a"]}': "no query",
    '{"query": {"text": []}, "relevant": ["a"]}': "no query",
    '{"query": {"txt": "red"}, "relevant": ["a"]}': "unknown key 'txt' in query",
    '{"query": {"image": "no.png"}, "relevant": ["a"]}': "no such picture: no.png",
    '{"query": {"image": "ftp://x/a.png"}, "relevant": ["a"]}': "ftp",
    '{"query": "red"}': "nothing says what is relevant",
    '{"query": "red", "relevant": []}': "no relevant product",
    '{"query": "red", "relevant": {"a": 0}}': "no relevant product",
    '{"query": {"id": "a"}, "relevant": ["a"]}': "no relevant product",
    '{"query": "red", "relevant": {"a": -1}}': "whole number from 0",
    '{"query": "red", "relevant": {"a": 1.5}}': "whole number from 0",
    '{"query": "red", "relevant": {"a": true}}': "whole number from 0",
    '{"query": "red", "relevant": {"a": "1"}}': "whole number from 0",
    '{"query": "red", "relevant": {"a": 1000000000000}}': "whole number from 0",
    '{"query": "red", "relevant": {"a": 1HUGE}}': "whole number from 0",
    '{"query": "red", "relevant": [1.0, 2]}': "a list of ids",
    '{"query": "red", "relevant": ["a", true]}': "a list of ids",
    '{"query": "red", "relevant": 3.5}': "a list of ids",
    '{"query": "red", "relevant": ["\\ud800"]}': "lone surrogate",
    '{"query": "red", "relevant": {"\\ud800": 1}}': "lone surrogate",
    '{"query": "\\ud800", "relevant": ["a"]}': "lone surrogate",
    '{"query": "red\\u0000shoe", "relevant": ["a"]}': "the query's text: holds a NUL",
    '{"query": "red", "relevant": ["a", "b\\u0000"]}': "the id 'b",
    '{"query": {"id": true}, "relevant": ["a"]}': "the id of a query is a text, got True",
    '{"query": {"id": 17.0}, "relevant": ["a"]}': "the id of a query is a text, got 17.0",
    '{"query": {"text": 17}, "relevant": ["a"]}': "the text of a query is a text, got 17",
    '{"query": "red", "relevants": ["a"]}': "unknown key 'relevants'",
    '{"query": "red", "relevant": ["a"], "weights": {"image": 1}}': "a weight for 'image', and the query has none",
    '{"query": "red", "relevant": ["a"], "weights": {"text": "1"}}': "weights is an object of numbers",
    '{"query": "red", "relevant": ["a"], "weights": {"text": 1HUGE}}': "weights is an object of numbers",
    '{"query": "red", "relevant": ["a"], "weights": {"text": true}}': "weights is an object of numbers",
    '{"query": "red", "relevant": ["a"], "weights": {"colour": 1}}': "a weight for 'colour'",
    '{"query": "red", "relevant": ["a"], "filter": 3}': "a filter is a text",
    '{"query": "red", "relevant": ["a"], "slice": 3}': "a slice is a label",
    '{"query": "red", "relevant": ["a"], "qid": []}': "a qid is a text",
    '{"query": "red", "relevant": ["a"], "qid": "line 1"}': "given twice",
}


def test_each_bad_line_is_left_out_with_its_number_and_reason(write: Write) -> None:
    read = load_queries(write(GOOD, *(line.replace("HUGE", 400 * "0") for line in BAD)))
    assert len(read) == 1
    told = reasons(read)
    assert list(told) == list(range(2, 2 + len(BAD)))
    for line, expected in zip(told.values(), BAD.values(), strict=True):
        assert expected in line
        assert "\n" not in line


def test_bytes_that_are_no_text_cost_one_line(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    file.write_bytes(GOOD.encode() + b"\n" + b'{"query": "\xff\xfe", "relevant": ["a"]}\n')
    read = load_queries(file)
    assert len(read) == 1 and "not valid UTF-8" in reasons(read)[2]


def test_a_file_without_a_usable_line_is_an_error(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no query of .* can be used; line 1: not JSON"):
        load_queries(write("{"))
    with pytest.raises(ConfigError, match="it is empty"):
        load_queries(write())
    with pytest.raises(ConfigError, match="cannot read"):
        load_queries(tmp_path / "nowhere.jsonl")


QRELS = [
    "1 0 sku-1 2",
    "1 0 sku-2 0",
    "2 0 sku-3 1",
    "2 0 sku-4 -2",
    "9 0 sku-1 1",
    "broken",
    "1 0 sku-9 high",
]


def test_a_trec_collection(write: Write) -> None:
    topics = write(
        "1\tred shoe", "2\t绿色 'mug' 👟", "3\tnothing judged", "no tab", "\tno qid", name="topics.tsv"
    )
    read = load_queries(topics, qrels=write(*QRELS, name="shop.qrels"))
    assert [(q.qid, q.signals[0].value, dict(q.relevant)) for q in read.questions] == [
        ("1", "red shoe", {"sku-1": 2, "sku-2": 0}),
        ("2", "绿色 'mug' 👟", {"sku-3": 1, "sku-4": 0}),
    ]
    told = [(bad.line, bad.reason) for bad in read.rejected]
    assert [line for line, _ in told] == [6, 7, 3, 4, 5]
    assert told[0][1].startswith("shop.qrels: expected qid")
    assert told[2][1].startswith("no relevant product")
    assert told[3][1].startswith("expected a qid, a tab")
    assert read.notices == (f"1 of the judged queries are not in {topics}",)


def test_qrels_go_with_json_lines_too(write: Write) -> None:
    queries = write('{"qid": "1", "query": "red"}', '{"qid": "2", "query": "b", "relevant": ["x"]}')
    read = load_queries(queries, qrels=write(*QRELS, name="shop.qrels"))
    assert [q.qid for q in read.questions] == ["1"]
    assert reasons(read)[2] == "relevant products stand in the file of qrels, and here again"
    with pytest.raises(ConfigError, match="cannot read"):
        load_queries(queries, qrels="nowhere.qrels")
