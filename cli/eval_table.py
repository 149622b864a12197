"""An evaluation as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .output import print_table, say
from .text import counted, one_line, products

if TYPE_CHECKING:
    from mm_milvus.evaluation import Evaluation, Score, Tuned, Tuning, VariantResult

__all__ = [
    "COSTS",
    "costs",
    "print_slices",
    "print_variants",
    "score_cell",
    "signed",
    "summary_lines",
    "tuning_lines",
]

COSTS = ("vectors", "encode", "median, p95")
_GAP = 2
_MOST_PLACES = 6  # of a difference; what is less is an error of rounding
_REASONS = 3  # lines of a file that are shown as left out


def print_variants(found: Evaluation, width: int) -> None:
    """A row for each variant; where the metrics do not fit beside each other, a row for each variant and metric."""
    rows = [
        [one_line(v.name), *(score_cell(v.scores[m]) for m in found.metrics), *costs(v)]
        for v in found.variants
    ]
    heads = ["variant", *found.metrics, *COSTS]
    if _width([heads, *rows]) <= width:
        _print(heads, rows)
        return
    long = [[one_line(v.name), m, score_cell(v.scores[m])] for v in found.variants for m in found.metrics]
    _print(["variant", "metric", "value"], long)
    say("")
    _print(["variant", *COSTS], [[one_line(v.name), *costs(v)] for v in found.variants])


def print_slices(found: Evaluation) -> None:
    """The first metric for parts of the queries, where there are parts."""
    if not found.slices:
        return
    metric, names = found.metrics[0], [variant.name for variant in found.variants]
    rows = [
        [one_line(part.name), f"{part.queries:,}", *(f"{part.values[name][metric]:.3f}" for name in names)]
        for part in found.slices
    ]
    say("")
    _print([f"{metric} of", "queries", *map(one_line, names)], rows)


def summary_lines(found: Evaluation, file: str) -> Iterator[str]:
    """What was asked of what, what was left out, and how to read the differences."""
    base = found.baseline
    asked = counted(len(found.queries), "query", "queries")
    yield f"{asked} of {file} · {products(base.products)} in {base.collection}"
    for variant in found.variants:
        if variant.not_applicable:
            yield (
                f"{one_line(variant.name)} says nothing to {variant.not_applicable:,} of them, which are asked without "
                "the option that does not apply"
            )
        if variant.unanswered:
            yield (
                f"{one_line(variant.name)} cannot answer {variant.unanswered:,} of them, which count as nothing found: "
                f"{one_line(variant.problem or '')}"
            )
    if copies := [variant.name for variant in found.variants if variant.times_of == "embedded copy"]:
        yield f"the milliseconds of {', '.join(map(one_line, copies))} are of an embedded copy, not of the server"
    if found.rejected:
        yield f"{counted(len(found.rejected), 'line')} left out"
        for bad in found.rejected[:_REASONS]:
            yield f"  line {bad.line}: {one_line(bad.reason)}"
        if (more := len(found.rejected) - _REASONS) > 0:
            yield f"  ... and {more:,} more: --json has all of them, in `rejected`"
    if missing := found.missing_relevant:
        shown = ", ".join(map(one_line, missing[:_REASONS])) + (", ..." if len(missing) > _REASONS else "")
        yield f"{counted(len(missing), 'relevant product')} not in {base.collection}, never to be found: {shown}"
    yield from map(one_line, found.notices)
    if len(found.variants) > 1:
        many = found.comparisons > 1
        corrected = f", corrected for {found.comparisons:,} comparisons (Holm)" if many else ""
        yield f"differences to {one_line(base.name)}; p: how often chance alone makes one as large{corrected}"


def tuning_lines(tuning: Tuning) -> Iterator[str]:
    """What was chosen, what it is worth on the queries that did not choose, and what to do."""
    yield f"tuned for {tuning.metric}, {tuning.dev_share:.0%} of the queries choosing:"
    for tuned in tuning.settings:
        yield f"  {tuned.about}: {_verdict(tuned)}"


def _verdict(tuned: Tuned) -> str:
    if tuned.choice is None or tuned.p is None:
        return "too few queries without weights of their own"
    change = tuned.test_tuned - tuned.test_default
    measured = (
        f"{one_line(tuned.choice)} makes {tuned.test_default:.3f} into {tuned.test_tuned:.3f} ({signed(change)}, "
        f"p {p_value(tuned.p)}) for {counted(tuned.test_queries, 'query', 'queries')} that had no say"
    )
    if tuned.gained:
        return f"{measured}: use {tuned.options}"
    doubt = "that may be chance, " if change > 0 else "no gain, "
    return f"{measured}: {doubt}keep the defaults"


def score_cell(score: Score) -> str:
    """``0.912 +0.024 p .031``, the p being corrected."""
    if score.difference is None or score.p_holm is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} {signed(score.difference)} p {p_value(score.p_holm)}"


def signed(difference: float) -> str:
    """``+0.024``; a smaller one down to its first digit, ``+0.0004``, so that none of a low p looks like nothing."""
    for places in range(3, _MOST_PLACES + 1):
        if round(difference, places):
            return f"{difference:+.{places}f}"
    return "+0.000"


def p_value(p: float) -> str:
    """``.031``, or ``<.001``."""
    if p < 0.001:
        return "<.001"
    return f"{p:.3f}".removeprefix("0")


def costs(variant: VariantResult) -> list[str]:
    """``0.2 MB`` of a million bytes each, ``5.1 ms`` of encoding, and ``12 ms, 15 ms`` of searching."""
    size = f"{variant.index_bytes / 1e6:,.1f} MB" if variant.index_bytes else "none"
    encoding = "none" if variant.encode_ms is None else f"{variant.encode_ms:.1f} ms"
    if variant.median_ms is None or variant.p95_ms is None:
        return [size, encoding, ""]
    return [size, encoding, f"{variant.median_ms:.0f} ms, {variant.p95_ms:.0f} ms"]


def _width(rows: Sequence[Sequence[str]]) -> int:
    from rich.cells import cell_len

    return sum(max(map(cell_len, column)) + _GAP for column in zip(*rows, strict=True)) - _GAP


def _print(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(Text(head), no_wrap=True, overflow="ellipsis") for head in heads]
    table = Table(*columns, box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))
    print_table(table)
