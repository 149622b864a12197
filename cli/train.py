"""``mm-milvus train``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from .eval_table import p_value
from .failures import interruptible
from .options import compose, private_hosts_option, settings, shared_options
from .output import print_json, say
from .progress import Phases
from .text import counted, one_line

if TYPE_CHECKING:
    from mm_milvus.training import TrainReport, TrainSettings, UnfrozenReport

__all__ = ["train"]

_LACKS = {"text": ("words", "text"), "image": ("pictures", "picture")}

_training_options = compose(
    click.option("--out", required=True, metavar="FOLDER", help="Folder that the trained head goes to."),
    click.option(
        "--from-catalog", is_flag=True, help="Make the pairs of the collection's own rows; no PAIRS then."
    ),
    click.option(
        "--fusion",
        type=click.Choice(["linear", "attention", "gated", "sum", "product", "ridge", "late-interaction"]),
        help="Kind of the head. Default: linear; sum and product need a joint encoder; ridge is calculated in seconds "
        "and lets words find products without a text; late-interaction is a reranker.",
    ),
    click.option(
        "--dim",
        type=int,
        metavar="N",
        help="Dimensions of the vector. Default: 512, of late-interaction 128, and no more than the encoder gives.",
    ),
    click.option(
        "--shared/--own-sides",
        default=None,
        help="Queries and products through the same weights, or each through their own. Default: own.",
    ),
    click.option("--init", metavar="FOLDER", help="Trained head to start from, of the same encoder."),
    click.option("--loss", type=click.Choice(["softmax", "sigmoid"]), help="Default: softmax."),
    click.option("--epochs", type=int, metavar="N", help="Most epochs. Default: 20."),
    click.option(
        "--pairs-per-step",
        type=int,
        metavar="N",
        help="Pairs of a step. Default: 256; late-interaction 32.",
    ),
    click.option(
        "--lr", type=float, metavar="RATE", help="Learning rate. Default: 0.001, for attention 0.0003."
    ),
    click.option(
        "--schedule", type=click.Choice(["cosine", "constant"]), help="Of the learning rate. Default: cosine."
    ),
    click.option(
        "--decay", type=float, metavar="RATE", help="Decay towards the weights of the start. Default: 0.1."
    ),
    click.option(
        "--negatives", type=int, metavar="N", help="Hard negatives per pair; 0 for none. Default: 1."
    ),
    click.option(
        "--refresh",
        type=int,
        metavar="EPOCHS",
        help="When hard negatives are looked for again. Default: 3; not of late-interaction.",
    ),
    click.option(
        "--skip-top", type=int, metavar="N", help="Nearest products that are no hard negatives. Default: 0."
    ),
    click.option(
        "--dropout",
        type=float,
        metavar="SHARE",
        help="How often a product loses its picture or text. Default: 0.1.",
    ),
    click.option(
        "--dev-share",
        type=float,
        metavar="SHARE",
        help="Share of the queries that is held out, where PAIRS names no dev split. Default: 0.1.",
    ),
    click.option(
        "--patience", type=int, metavar="EPOCHS", help="Epochs without gain before the end. Default: 5."
    ),
    click.option(
        "--crops", type=int, metavar="N", help="With --from-catalog: views of each picture. Default: 0."
    ),
    click.option(
        "--unfreeze",
        type=int,
        metavar="N",
        help="Train the last N layers of the encoder as well, before the head. Default: 0.",
    ),
    click.option(
        "--encoder-lr", type=float, metavar="RATE", help="Learning rate of those layers. Default: 0.00001."
    ),
    click.option("--seed", type=int, metavar="N", help="Seed of everything random. Default: 0."),
    click.option(
        "--overwrite", is_flag=True, help="Replace a trained head, or an unfinished run, in FOLDER."
    ),
)


@click.command(short_help="Train a fusion of pictures and texts on the shop's own data.")
@click.argument("pairs", metavar="[PAIRS]", required=False)
@_training_options
@private_hosts_option
@shared_options
def train(as_json: bool, **options: Any) -> None:
    """Train a head that fuses pictures and texts, on PAIRS of queries and products or on the collection itself.

    PAIRS is a file of lines such as {"query": "red shoe", "product": "shoe-17"}; a query may also be an object of text,
    image and id. The collection is one of the fusion blocks. Products are searched exactly for the queries that are
    held out, before and after. A run that was interrupted goes on with the same command. With --unfreeze, the last
    layers of the encoder are trained first, and the folder holds an encoder of its own as well.

    \b
      mm-milvus train pairs.jsonl --fusion attention --out heads/shop-v1
      mm-milvus train --from-catalog --out heads/shop-v1
    """
    from mm_milvus.training import TrainSettings
    from mm_milvus.training import train as run

    given = {name: value for name, value in options.items() if value is not None}
    chosen, shop = TrainSettings(**given), settings()
    with interruptible(lambda: _goes_on(chosen)), Phases(quiet=as_json) as bar:
        report = run(chosen, shop, progress=lambda step: bar(step.phase, step.done, step.total, step.note))
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report, chosen)


def _goes_on(chosen: TrainSettings) -> str:
    """What is to be typed after an interrupt: without the end of an epoch, nothing is kept but vectors of queries."""
    from mm_milvus.training.folder import CHECKPOINTS

    if not any((chosen.out / name).exists() for name in CHECKPOINTS):
        return "no epoch had ended: the same command begins again"
    return f"the same command {'without --overwrite ' if chosen.overwrite else ''}goes on from here"


def _show(report: TrainReport, chosen: TrainSettings) -> None:
    splits = ", ".join(f"{count:,} {name}" for name, count in report.queries.items() if count)
    say(
        f"{counted(sum(report.pairs.values()), 'pair')} · queries: {splits} · {counted(report.products, 'product')}"
        f" · {report.rejected:,} rejected"
    )
    if report.rejected:
        unknown = f"; {report.unknown_products:,} for products that are not stored"
        say(f"refused lines and why: {one_line(report.out)}/rejects.jsonl{unknown}")
    if report.too_broad:
        say(f"{report.too_broad:,} queries left out: each fits more than a tenth of the products")
    _show_first(report)
    if report.unfrozen:
        _show_layers(report.unfrozen)
    was = "untrained" if chosen.init is None else "before"
    _show_gain("dev", report.ndcg_start, report.ndcg, was)
    _show_gain("test", report.test_ndcg_start, report.test_ndcg, was)
    for asked, bridge in (report.bridge or {}).items():
        _show_bridge(asked, bridge)
    say(_verdict(report, chosen))
    went_on = f", {report.resumed_from:,} of them by an earlier run" if report.resumed_from else ""
    made = f"the weights of epoch {report.best_epoch} of {report.epochs}{went_on}"
    say(
        f"{one_line(report.out)}: {report.fusion}, {report.dim} dimensions, "
        f"{made if report.bridge is None else 'calculated'}, {report.seconds:.1f} s"
    )
    for line in _next_lines(report, chosen):
        say(line)


def _verdict(report: TrainReport, chosen: TrainSettings) -> str:
    what = _what(report)
    if report.p is None and any(report.queries[split] for split in ("dev", "test")):
        return "no query that asks with words alone was held out: whether the head is any better is not known"
    if report.p is None:
        return f"no queries were held out: whether the {what} is any better is not known"
    if report.won is None:
        return (
            f"the gain may be chance (p {p_value(report.p)} of {_judges(report)}): have more of them, or judge the "
            f"{what} by queries of its own with mm-milvus eval"
        )
    if not report.won:
        return f"the trained {_made(report, chosen)} by {_judges(report)}: do not use it as it is"
    return f"chance alone hardly makes such a gain: p {p_value(report.p)} of {_judges(report)}"


def _next_lines(report: TrainReport, chosen: TrainSettings) -> Iterator[str]:
    if report.next is None:
        yield f"next: {_instead(report)}"
        return
    if report.p is None and chosen.dev_share:
        yield "next: label more pairs: there were too few queries to hold one out that would tell"
        yield f"as it is: {one_line(report.next)}"
    else:
        yield f"next: {one_line(report.next)}"
    if report.then:
        yield f"then: {one_line(report.then)}"
    if report.bridge:
        yield (
            "by default words find texts first, and little of what such a head adds: ask with --mode vector, or as "
            "--tune advises"
        )


def _instead(report: TrainReport) -> str:
    """Of what is no better than what was there before."""
    if report.unfrozen and report.unfrozen.won is False:
        return "the same without --unfreeze, or with another --encoder-lr, and another --out"
    by_itself = "or judge it by queries of its own with mm-milvus eval"
    if report.bridge:
        return f"more pairs, or another --fusion; {by_itself}"
    if _what(report) == "reranker":
        return "more pairs, or another --lr"
    return f"more pairs, another --fusion or --lr; {by_itself}"


def _what(report: TrainReport) -> str:
    from mm_milvus.training.settings import LATE

    return "reranker" if report.fusion == LATE else "head"


def _show_first(report: TrainReport) -> None:
    for split, first in (("dev", report.ndcg_first), ("test", report.test_ndcg_first)):
        if first is not None:
            say(f"nDCG@10 of {split}: {first:.3f} by vectors, before any reranking")
    if report.unread_pictures:
        say(
            f"{counted(report.unread_pictures, 'picture')} could not be read any more; their products went on without"
        )


def _judges(report: TrainReport) -> str:
    split = report.judged_by or "dev"
    count = report.bridge["text"]["queries"] if report.bridge else report.queries[split]
    return counted(count, f"{split} query", f"{split} queries")


def _made(report: TrainReport, chosen: TrainSettings) -> str:
    its_start = "its untrained start" if chosen.init is None else f"its start {one_line(str(chosen.init))}"
    of_test = report.judged_by == "test"
    first, start = (
        (report.test_ndcg_first, report.test_ndcg_start)
        if of_test
        else (report.ndcg_first, report.ndcg_start)
    )
    if first is None:
        return f"head is NOT better than {its_start}"
    return f"reranker is NOT better than {'no reranking' if first > (start or 0.0) else its_start}"


def _show_layers(layers: UnfrozenReport) -> None:
    if layers.unread_pictures:
        pictures = counted(layers.unread_pictures, "product")
        say(f"{pictures} went on without a picture: it cannot be read any more")
    for split, before, after in (
        ("dev", layers.ndcg_start, layers.ndcg),
        ("test", layers.test_ndcg_start, layers.test_ndcg),
    ):
        _show_gain(split, before, after, "frozen", f"with the last {counted(layers.layers, 'layer')} trained")
    if layers.won is False:
        say("the trained layers are NOT better than frozen ones")
    elif layers.won is None and layers.p is not None:
        say(f"whether the trained layers are better than frozen ones may be chance (p {p_value(layers.p)})")
    went_on = f", {layers.resumed_from:,} of them by an earlier run" if layers.resumed_from else ""
    say(
        f"{one_line(layers.encoder)}: {layers.parameters:,} weights trained, those of epoch {layers.best_epoch} of "
        f"{layers.epochs}{went_on}"
    )


def _show_gain(
    split: str, before: float | None, after: float | None, was: str = "untrained", now: str = "trained"
) -> None:
    if before is not None and after is not None:
        say(f"nDCG@10 of {split}: {before:.3f} {was}, {after:.3f} {now} ({after - before:+.3f})")


def _show_bridge(asked: str, bridge: dict[str, Any]) -> None:
    who, lacking = _LACKS[asked]
    told = f"ridge {bridge['ridge']:g}, share {bridge['share']:g}"
    if bridge["p"] is None:
        say(f"{who} for products without a {lacking}: {told}, by no held-out query")
        return
    without, with_ = bridge["ndcg_without"], bridge["ndcg_with"]
    say(
        f"{who}, where three tenths of the products have lost their {lacking}: nDCG@10 {without:.3f} without the "
        f"bridge, {with_:.3f} with it ({with_ - without:+.3f}; {told})"
    )
    from mm_milvus.training.significance import FEWEST

    if bridge["queries"] < FEWEST:
        queries = counted(bridge["queries"], "held-out query is", "held-out queries are")
        say(f"  {queries} too few to tell: label more pairs, or raise --dev-share")
