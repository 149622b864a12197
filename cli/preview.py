"""What an ingest will do and what it did, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mm_milvus.errors import TooManyRejects

from .output import print_fields, say
from .text import counted, one_line, products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mm_milvus import Preview
    from mm_milvus.records import IngestReport, Rejected

__all__ = ["mapping_line", "picture_warning", "preview_dict", "print_preview", "report_lines"]

_EXPECTED = {"title": "title", "image": "pictures"}


def mapping_line(preview: Preview) -> str:
    """Which columns the fields are read from, and what no column was taken for."""
    pairs = ", ".join(_arrow(field, columns) for field, columns in preview.mapping.items())
    missing = [f"no {name}" for field, name in _EXPECTED.items() if field not in preview.mapping]
    told = f"; {', '.join(missing)}" if missing and preview.kind != "directory" else ""
    if told and "title" not in preview.mapping:
        told += ": --mapping title=COLUMN names one"
    return f"mapping: {one_line(pairs)}{told}"


def _text_line(text_fields: Sequence[str]) -> str:
    return f"text: {one_line(', '.join(text_fields)) or 'nothing'}"


def _arrow(field: str, columns: str | tuple[str, ...]) -> str:
    source = columns if isinstance(columns, str) else " + ".join(columns)
    return field if source == field else f"{field} <- {source}"


def report_lines(report: IngestReport) -> str:
    """The numbers of an ingest, the last line its speed."""
    counts = {"read": report.read, "written": report.written, "unchanged": report.unchanged}
    counts |= {"rejected": report.rejected, "kept, a picture missing": report.kept}
    if report.deleted:
        counts["deleted"] = report.deleted
    lines = [" · ".join(f"{count:,} {name}" for name, count in counts.items())]
    lines += [f"  {one_line(problem)}" for problem in report.problems]
    if report.rejects_file:
        lines.append(f"rejects: {one_line(report.rejects_file)}")
    if report.stopped:
        again = "; the same command goes on from here" if report.stopped == "interrupted" else ""
        lines.append(f"stopped early: {one_line(report.stopped)}{again}")
    lines.append(_text_line(report.text_fields))
    if encoded := _encoded_line(report):
        lines.append(encoded)
    if report.retries:
        times = "once" if report.retries == 1 else f"{report.retries:,} times"
        lines.append(f"Milvus was away: calls were repeated {times}")
    return "\n".join(
        [*lines, f"{report.collection}: {report.seconds:.1f} s, {report.rows_per_second:,.0f} rows/s"]
    )


def _encoded_line(report: IngestReport) -> str:
    parts = []
    for kind, count, shared in (
        ("picture", report.images_encoded, report.images_shared),
        ("text", report.texts_encoded, report.texts_shared),
    ):
        if count or shared:
            same = f" ({shared:,} more {'is' if shared == 1 else 'are'} the same)" if shared else ""
            parts.append(counted(count, kind) + same)
    return f"encoded: {' · '.join(parts)}" if parts else ""


def picture_warning(report: IngestReport) -> str | None:
    """A line for an ingest that stored more than half of its products without their pictures."""
    stored = report.written + report.unchanged
    if 2 * report.kept <= stored:
        return None
    # Reasons of other kinds say themselves what helps.
    misplaced = any("no such file" in problem for problem in report.problems)
    hint = " (relative paths start at the catalog, or at --image-root DIR)" if misplaced else ""
    return (
        f"warning: {report.kept:,} of {products(stored)} {'lacks' if stored == 1 else 'lack'} a picture that the "
        f"catalog names; see the reasons above{hint}"
    )


def preview_dict(preview: Preview) -> dict[str, Any]:
    """The JSON shape of ``mm-milvus ingest --dry-run --json``."""
    return {
        "source": str(preview.source),
        "kind": preview.kind,
        "mapping": dict(preview.mapping),
        "fields": [{"name": f.name, "type": f.type.value, "typed": f.typed} for f in preview.schema.fields],
        "text_fields": list(preview.text_fields),
        "texts": [{"id": id, "text": text} for id, text in preview.texts],
        "rows_read": preview.rows_read,
        "rows_rejected": preview.rows_rejected,
        "too_many_rejects": preview.too_many_rejects,
        "rejected": [_rejected_dict(rejected) for rejected in preview.rejected],
    }


def _rejected_dict(rejected: Rejected) -> dict[str, Any]:
    names = ("line", "id", "stage", "reason", "kept")
    return {name: getattr(rejected, name) for name in names}


def print_preview(preview: Preview) -> None:
    """Mapping, inferred schema, rendered texts and the first rejects. Nothing of it is stored."""
    looked_at = f"{counted(preview.rows_read, 'row')} looked at, {preview.rows_rejected:,} would be rejected"
    say(f"{one_line(str(preview.source))}: {preview.kind}, {looked_at}, nothing stored")
    if preview.too_many_rejects:
        code = TooManyRejects.exit_code
        say(f"an ingest would exit with {code}: that is more than the --max-reject-rate allows")
    say(mapping_line(preview))
    say(_text_line(preview.text_fields))
    if fields := preview.schema.fields:
        say("")
        print_fields((field.name, field.type.value, field.typed) for field in fields)
    if preview.texts:
        say("\ntexts that would be embedded")
        for id, text in preview.texts:
            say(f"  {one_line(id)}: {one_line(text)}")
    if preview.rejected:
        say("\nfirst rejects")
        for rejected in preview.rejected:
            say(f"  {_reject_line(rejected)}")
        if (more := preview.rejected_count - len(preview.rejected)) > 0:
            say(f"  ... and {more:,} more in these rows")


def _reject_line(rejected: Rejected) -> str:
    name = f" ({one_line(rejected.id)})" if rejected.id else ""
    kept = ", kept without it" if rejected.kept else ""
    return f"line {rejected.line}{name}: {rejected.stage}: {one_line(rejected.reason)}{kept}"
