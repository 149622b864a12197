"""Token vectors of a collection on Milvus Lite: made, refreshed, and what queries are reranked by."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from mm_milvus_cli.main import cli
from mm_milvus_cli.progress import Phases

from mm_milvus import Client, Query, Settings, Signal
from mm_milvus.encoders import load_encoder, token_encoder
from mm_milvus.encoders.pixels import rgb_array
from mm_milvus.errors import ConfigError, FusionError, NotSupported
from mm_milvus.evaluation import parse_variant
from mm_milvus.evaluation.run import opened
from mm_milvus.fusion import load_head
from mm_milvus.late import TokensReport, home_of, load_projection, make_tokens
from mm_milvus.late.lock import exclusive
from mm_milvus.late.store import current_build, open_build

from ..encoders import tiny_models
from ..fusion.heads import random_head
from . import shops


def counted(report: TokensReport) -> tuple[int, int, int]:
    return report.products, report.encoded, report.unchanged


def by_hand(encoder: str, trained: Path, query: np.ndarray, text: str, picture: int | None) -> float:
    """The mean over query tokens of the best cosine, with tokens that were never stored."""
    loaded = token_encoder(load_encoder(encoder, device="cpu", dtype="float32"))
    projection, _ = load_projection(trained)
    parts = [projection.text(loaded.encode_text_tokens([text])[0])] if text else []
    if picture is not None:
        prepared = loaded.prepare(rgb_array(tiny_models.pictures()[picture]))
        parts.append(projection.image(loaded.encode_prepared_tokens([prepared])[0]))
    return float((query @ np.concatenate(parts).T).max(axis=1).mean())


def test_hits_are_ordered_by_their_tokens(shop: Settings, encoder: str, trained: Path) -> None:
    report = make_tokens(trained, shop)
    assert counted(report) == (6, 6, 0)
    assert (report.without, report.unreadable, report.codec) == (0, 0, "fp16")
    loaded = token_encoder(load_encoder(encoder, device="cpu", dtype="float32"))
    words = load_projection(trained)[0].text(loaded.encode_query_text_tokens(["silver tea"])[0])
    expected = {id: by_hand(encoder, trained, words, text, number) for id, text, number in shops.ROWS}
    with Client(config=shop) as client:
        page = client.query("silver tea", rerank="late-interaction", explain=True)
    assert {hit.id: hit.score for hit in page.hits} == pytest.approx(expected, abs=2e-3)
    assert [hit.id for hit in page.hits] == sorted(expected, key=lambda id: -expected[id])
    assert all(hit.scores["rerank"] == hit.score for hit in page.hits)
    assert (page.explain["rerank"], page.explain["rerank_tokens"]) == ("late-interaction", 2)
    assert "rerank_without_tokens" not in page.explain


def test_signals_count_by_their_weights(shop: Settings, trained: Path) -> None:
    make_tokens(trained, shop)
    picture = Signal("image", tiny_models.pictures()[5])
    with Client(config=shop) as client:

        def scores(*signals: Signal) -> dict[str, float]:
            page = client.search(Query(signals, rerank="late-interaction"))
            return {hit.id: hit.score for hit in page.hits}

        words, seen = scores(Signal("text", "green tea")), scores(picture)
        both = scores(Signal("text", "green tea", 1.0), Signal("image", picture.value, -0.5))
        assert both == pytest.approx({id: (words[id] - 0.5 * seen[id]) / 1.5 for id in words}, abs=1e-5)
        assert max(seen, key=seen.__getitem__) == "photo"
        assert seen["photo"] == pytest.approx(1.0, abs=2e-3)
        assert "watch" not in scores(Signal("id", "watch"))
        with pytest.raises(ConfigError, match="a vector has no tokens"):
            scores(Signal("vector", [1.0] * client.info().stamp["dim"]))
        with pytest.raises(ConfigError, match="or 'late-interaction', not 'bert'"):
            client.query("tea", rerank="bert")  # type: ignore[arg-type]


def test_only_what_changed_is_encoded_again(shop: Settings, trained: Path, tmp_path: Path) -> None:
    make_tokens(trained, shop)
    assert counted(make_tokens(trained, shop)) == (6, 0, 6)
    rows = [("shirt", "blue cotton shirt", 0), *shops.ROWS[1:5], ("new", "wooden chair", 3)]
    catalog = shops.write_catalog(tmp_path / "later", rows)
    with Client(config=shop) as client:
        client.ingest(catalog, sync=True, max_delete_rate=1.0)
        page = client.query("chair", rerank="late-interaction", explain=True)
    assert page.explain["rerank_without_tokens"] == 2
    assert page.explain["rerank_old_tokens"] == 1
    scores = {hit.id: hit.score for hit in page.hits}
    new, changed = scores.pop("new"), scores.pop("shirt")
    assert new == changed == pytest.approx(np.mean(list(scores.values())))
    assert page.notices == (
        "of 6 products that were compared again, 1 without token vectors and 1 with outdated ones got the mean score "
        f"of the others; make them current with mm-milvus tokens --uri {shop.uri}",
    )
    report = make_tokens(trained, shop)
    # The pictures moved with the catalog, and are the same: their hashes are not those of their paths.
    assert counted(report) == (6, 2, 4)
    with Client(config=shop) as client:
        page = client.query("chair", rerank="late-interaction", explain=True)
        fresh = shop.replace(token_vectors=tmp_path / "fresh")
    assert "rerank_without_tokens" not in page.explain and page.notices == ()
    make_tokens(trained, fresh)
    with Client(config=fresh) as client:
        again = client.query("chair", rerank="late-interaction")
    assert [(hit.id, hit.score) for hit in again.hits] == [(hit.id, hit.score) for hit in page.hits]


def test_a_changed_product_is_not_compared_by_its_old_tokens(
    shop: Settings, trained: Path, tmp_path: Path
) -> None:
    """Neither where it is a candidate nor where it is what the query asks by; a changed price changes nothing."""
    make_tokens(trained, shop)
    rows = [*shops.ROWS[:3], ("tea", "wooden chair", None), *shops.ROWS[4:]]
    with Client(config=shop) as client:
        before = {hit.id: hit.score for hit in client.query("green tea", rerank="late-interaction")}
        assert max(before, key=before.__getitem__) == "tea"
        client.ingest(shops.write_catalog(tmp_path / "later", rows))
        page = client.query("green tea", rerank="late-interaction", explain=True)
        after = {hit.id: hit.score for hit in page.hits}
        others = [score for id, score in after.items() if id != "tea"]
        assert after["tea"] == pytest.approx(np.mean(others))
        assert page.explain["rerank_old_tokens"] == page.explain["rerank_without_tokens"] == 1
        with pytest.raises(
            ConfigError, match="have no current token vectors; make them with mm-milvus tokens"
        ):
            client.query(id="tea", rerank="late-interaction")
        both = client.query("bag", id="tea", rerank="late-interaction")
        assert both.notices[-1].startswith("'tea' has no current token vectors, and counted for nothing")
        alone = {hit.id: hit.score for hit in client.query("bag", rerank="late-interaction")}
        scores = {hit.id: hit.score for hit in both}
        assert "bag" in scores and "tea" not in scores
        assert {id: scores[id] for id in scores if id in alone} == pytest.approx(
            {id: alone[id] for id in scores if id in alone}
        )
        assert counted(make_tokens(None, shop)) == (6, 1, 5)
        assert client.query(id="tea", rerank="late-interaction").notices == ()
    priced = tmp_path / "later" / "catalog.jsonl"
    lines = [json.loads(line) | {"price": 3} for line in priced.read_text(encoding="utf-8").splitlines()]
    priced.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with Client(config=shop) as client:
        assert client.ingest(priced).written == 6
        assert client.query("green tea", rerank="late-interaction").notices == ()


def test_tokens_are_made_current_without_naming_the_reranker(
    shop: Settings, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no token vectors in .* yet: say by which reranker"):
        make_tokens(shop=shop)
    first = make_tokens(trained, shop)
    again = make_tokens(shop=shop)
    assert (counted(again), again.folder) == ((6, 0, 6), first.folder)
    renamed = json.loads((Path(first.folder) / "config.json").read_text(encoding="utf-8"))
    (Path(first.folder) / "config.json").write_text(json.dumps(renamed), encoding="utf-8")  # other blanks
    assert make_tokens(shop=shop).folder == first.folder
    assert counted(make_tokens(shop=shop, rebuild=True)) == (6, 6, 0)


def test_a_collection_takes_its_tokens_along(shop: Settings, trained: Path, encoder: str) -> None:
    make_tokens(trained, shop)
    home = home_of(shop)
    other = home.parent / "other" / "note.txt"
    other.parent.mkdir()
    other.write_text("not ours", encoding="utf-8")
    (home / "note.txt").write_text("not ours", encoding="utf-8")
    with Client(config=shop) as client:
        client.drop()
    assert [path.name for path in home.iterdir()] == ["note.txt"]
    (home / "note.txt").unlink()
    settings = shop.replace(collection="second")
    with Client(config=settings) as client:
        client.ingest(shops.write_catalog(Path(shop.uri).parent / "again"))
        make_tokens(trained, settings)
        assert (home.parent / "second").is_dir()
        other.unlink()
        other.parent.rmdir()
        home.rmdir()
        client.drop()
    assert not home.parent.exists()


def test_a_copy_that_is_fused_anew_knows_its_tokens_to_be_current(
    shop: Settings, trained: Path, encoder: str, tmp_path: Path
) -> None:
    make_tokens(trained, shop)
    spec = load_encoder(encoder, device="cpu", dtype="float32").spec
    sizes = {"image_dim": spec.image_dim, "text_dim": spec.text_dim}
    head = random_head("linear", encoder=spec.name, revision=spec.revision, **sizes)  # type: ignore[arg-type]
    head.save(tmp_path / "head")
    variant = parse_variant(f"rerank=late-interaction;{tmp_path / 'head'}")
    with Client(config=shop) as client, opened([variant], client) as pairs:
        page = pairs[0].client.query("tea", rerank="late-interaction", explain=True)
    assert pairs[0].client is not client
    assert "rerank_without_tokens" not in page.explain and page.notices == ()


def test_what_cannot_be_read_is_tried_again(shop: Settings, trained: Path, made: Path) -> None:
    lost = made / "4.png"
    content = lost.read_bytes()
    lost.unlink()
    try:
        report = make_tokens(trained, shop)
        assert (report.unreadable, report.without) == (1, 0)
        with Client(config=shop) as client:  # it is compared by its text, which is current
            assert client.query("silver watch", rerank="late-interaction").notices == ()
    finally:
        lost.write_bytes(content)
    assert counted(make_tokens(trained, shop)) == (6, 1, 5)


def test_two_bits_take_a_fraction_and_a_new_codec_is_a_new_build(shop: Settings, trained: Path) -> None:
    half = make_tokens(trained, shop)
    small = make_tokens(trained, shop, codec="2bit")
    assert small.bytes * 32 == half.bytes * 6  # of 16 dimensions: 2 + 4 bytes instead of 32
    assert not Path(half.folder).exists()
    assert counted(make_tokens(trained, shop)) == (6, 0, 6)  # the codec stays
    with Client(config=shop) as client:
        page = client.query("green tea 500 g", rerank="late-interaction")
    assert page[0].id == "tea"


def test_a_torn_build_harms_nothing_and_goes_on(shop: Settings, trained: Path, tmp_path: Path) -> None:
    make_tokens(trained, shop)
    home = home_of(shop)
    before = current_build(home)
    assert before is not None
    (before / "000002.bin").write_bytes(b"torn")  # written, and never named
    assert len(open_build(before)) == 6
    shops.projection(str(shop.encoder), seed=1).save(tmp_path / "v2")

    def killed(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_tokens(tmp_path / "v2", shop, progress=killed)
    assert current_build(home) == before
    with Client(config=shop) as client:
        assert len(client.query("tea", rerank="late-interaction").hits) == 6
    assert counted(make_tokens(tmp_path / "v2", shop)) == (6, 6, 0)
    assert not before.exists()
    again = make_tokens(tmp_path / "v2", shop, rebuild=True)
    assert counted(again) == (6, 6, 0)
    assert Path(again.folder).name.endswith("-2")
    assert [path.name for path in home.iterdir() if path.is_dir()] == [Path(again.folder).name]
    segment = Path(again.folder) / "000001.bin"
    segment.write_bytes(segment.read_bytes()[:-1])
    with Client(config=shop) as client, pytest.raises(FusionError, match="damaged.*--rebuild"):
        client.query("tea", rerank="late-interaction")
    assert counted(make_tokens(tmp_path / "v2", shop, rebuild=True)) == (6, 6, 0)


def test_two_do_not_write_at_once(shop: Settings, trained: Path) -> None:
    with exclusive(home_of(shop)), pytest.raises(ConfigError, match="another process is making the token"):
        make_tokens(trained, shop)
    assert counted(make_tokens(trained, shop)) == (6, 6, 0)


def test_replaced_rows_are_thrown_away_in_the_end(shop: Settings, trained: Path, tmp_path: Path) -> None:
    make_tokens(trained, shop)
    for word in ("one", "two", "three"):
        rows: list[Any] = [(id, f"{word} {title}", number) for id, title, number in shops.ROWS]
        with Client(config=shop) as client:
            client.ingest(shops.write_catalog(tmp_path / word, rows))
        report = make_tokens(trained, shop)
    build = open_build(Path(report.folder))
    assert len(build.manifest.segments) <= 2
    used = sum(entry.texts + entry.images for entry in build.entries.values()) * build.codec.row
    assert used * 2 >= build.size == report.bytes


def test_one_line_says_what_is_missing(
    shop: Settings, trained: Path, tmp_path: Path, made: Path, encoder: str
) -> None:
    with (
        Client(config=shop) as client,
        pytest.raises(ConfigError, match="make them with mm-milvus tokens FOLDER"),
    ):
        client.query("tea", rerank="late-interaction")
    with pytest.raises(FusionError, match="no trained late interaction in"):
        make_tokens(tmp_path, shop)
    random_head("linear").save(tmp_path / "head")
    with pytest.raises(
        FusionError, match=r"is a trained fusion \(linear\), not a reranker: mm-milvus ingest CATALOG"
    ):
        make_tokens(tmp_path / "head", shop)
    with (
        Client(config=shop.replace(collection="new")) as client,
        pytest.raises(FusionError, match="a trained reranker, .*mm-milvus tokens"),
    ):
        client.ingest(made / "catalog.jsonl", fusion=trained)
    with pytest.raises(FusionError, match="a trained reranker, .* or rerank=late-interaction to compare it"):
        load_head(trained)
    offline = Settings(uri=str(tmp_path / "offline.db"))
    with Client(config=offline) as client:
        client.ingest(made / "catalog.jsonl")
        with pytest.raises(NotSupported, match="'offline' has no token vectors"):
            client.query("tea", rerank="late-interaction")
    with pytest.raises(NotSupported, match="'offline' has no token vectors"):
        make_tokens(trained, offline)
    other = str(tiny_models.clip(tmp_path / "tiny-clip"))
    settings = shops.ingested(tmp_path / "clip", other)
    with pytest.raises(FusionError, match="trained on the encoder towers:.*not on tiny-clip"):
        make_tokens(trained, settings)


def test_a_joint_encoder_works_too(tmp_path: Path) -> None:
    model = str(tiny_models.siglip(tmp_path / "tiny-siglip"))
    settings = shops.ingested(tmp_path / "shop", model)
    shops.projection(model).save(tmp_path / "v1")
    make_tokens(tmp_path / "v1", settings)
    with Client(config=settings) as client:
        page = client.query(image=tiny_models.pictures()[2], rerank="late-interaction", rerank_size=3)
    assert page[0].id == "bag"


def test_the_command_line(shop: Settings, trained: Path) -> None:
    def run(*args: str) -> str:
        done = CliRunner(catch_exceptions=False).invoke(cli, [*args, "--uri", shop.uri])
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = run("tokens", str(trained))
    assert "6 products · 6 encoded · 0 unchanged" in shown
    next = f"next: mm-milvus query --text WORDS --rerank late-interaction --uri {shop.uri}"
    assert shown.splitlines()[-2:] == [str(current_build(home_of(shop))), next]
    run(*shlex.split(next.replace("WORDS", "tea"))[2:-2])
    assert json.loads(run("tokens", str(trained), "--json"))["unchanged"] == 6
    documented = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    section = documented.partition("## tokens")[2].partition("```\n")[2].partition("```")[0]
    assert list(json.loads(section)) == list(json.loads(run("tokens", str(trained), "--json")))
    query = ("query", "--text", "green tea", "--rerank", "late-interaction", "--rerank-size", "4")
    assert "rerank late-interaction" in run(*query, "--explain")
    hits = json.loads(run(*query, "--json", "--explain"))["hits"]
    assert sum("rerank" in hit["scores"] for hit in hits) == 4


def test_interrupted_tokens_say_how_they_go_on(
    shop: Settings, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["tokens", str(trained), "--uri", shop.uri, "--device", "cpu"]
    with monkeypatch.context() as patched:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(Phases, "__call__", stop)  # a Ctrl-C as soon as something is encoded
        done = CliRunner().invoke(cli, args)
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr.strip() == "error: interrupted; the same command goes on from here"
    assert CliRunner().invoke(cli, args).exit_code == 0


def test_the_command_line_tells_when_tokens_are_not_current(
    shop: Settings, trained: Path, tmp_path: Path
) -> None:
    def run(*args: str) -> Result:
        options = ["--uri", shop.uri, "--encoder", str(shop.encoder)]
        done = CliRunner(catch_exceptions=False).invoke(cli, [*args, *options])
        assert done.exit_code == 0, done.output
        return done

    rows: list[Any] = [("tea", "wooden chair", None), ("new", "black coffee", None), *shops.ROWS[:2]]
    catalog = str(shops.write_catalog(tmp_path / "later", rows))
    query = ("query", "--text", "chair", "--rerank", "late-interaction")
    assert "token vectors" not in run("ingest", catalog).stderr  # there are none yet
    run("tokens", str(trained))
    assert "note:" not in run(*query).stderr
    rows[:2] = [("tea", "steel chair", None), ("newer", "black coffee", None)]
    shops.write_catalog(tmp_path / "later", rows)
    command = f"mm-milvus tokens --uri {shop.uri}"
    hint = f"note: texts or pictures have changed; make the token vectors current with {command}"
    assert hint in run("ingest", catalog).stderr.splitlines()
    assert "token vectors" not in run("ingest", catalog, "--json").stderr  # nothing has changed
    asked = run(*query, "--json", "--explain")
    told = json.loads(asked.stdout)
    assert (told["explain"]["rerank_without_tokens"], told["explain"]["rerank_old_tokens"]) == (2, 1)
    assert told["notices"] == [asked.stderr.removeprefix("note: ").strip()]
    assert told["notices"][0].endswith(f"make them current with {command}")
    assert run(*query).stderr == asked.stderr
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"query": "chair", "relevant": ["tea"]}\n', encoding="utf-8")
    compared = ("eval", str(queries), "--compare", "default,rerank=late-interaction", "--metrics", "MRR")
    assert f"rerank=late-interaction, for 1 of the queries: {told['notices'][0]}" in run(*compared).stdout
    run(*command.split()[1:2])
    assert "of the queries:" not in run(*compared).stdout
    again = run(*query, "--json")
    assert again.stderr == "" and "notices" not in json.loads(again.stdout)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"../elsewhere", b"a\0b"])
def test_a_name_of_the_current_tokens_that_is_damaged_is_none(
    shop: Settings, trained: Path, content: bytes
) -> None:
    folder = Path(make_tokens(trained, shop).folder)
    (folder.parent / "current").write_bytes(content)
    with Client(config=shop) as client, pytest.raises(ConfigError, match="there are no token vectors of"):
        client.query("tea", rerank="late-interaction")
    assert make_tokens(trained, shop).products == 6
    with Client(config=shop) as client:
        assert len(client.query("tea", rerank="late-interaction").hits) == 6


def test_a_manifest_of_another_type_is_damaged(shop: Settings, trained: Path) -> None:
    manifest = Path(make_tokens(trained, shop).folder) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": "two"}), encoding="utf-8")
    with Client(config=shop) as client, pytest.raises(FusionError, match=r"token vectors in .* are damaged"):
        client.query("tea", rerank="late-interaction")
