"""What the web pages are made of: the frame, the query with its pictures, and pictures in squares."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from .html_style import STYLE
from .text import one_line
from .thumbnails import Picture, load_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mm_milvus.records import Signal

__all__ = ["NO_PICTURE", "document", "frame", "picture_tag", "signal_list", "text"]

_POLICY = (
    "default-src 'none'; img-src data: https: http:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
NO_PICTURE = (
    '<svg class="nothing" viewBox="0 0 48 48" role="img" aria-label="No picture">'
    '<rect x="7" y="9" width="34" height="30" rx="4"/><circle cx="17" cy="19" r="3.5"/>'
    '<path d="m9 35 11-11 8 8 5-5 7 7"/></svg>'
)


def document(title: str, body: str, style: str = STYLE) -> str:
    """A self-contained page; ``title`` and ``body`` are markup, in which everything foreign is escaped."""
    return f"""<!doctype html>
<html lang="en" dir="ltr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title} · mm-milvus</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def text(value: Any) -> str:
    return escape(one_line(str(value)), quote=True)


def signal_list(signals: Sequence[Signal]) -> str:
    """A list item for each signal, with its picture and its weight."""
    return "".join(_signal(signal, first=place == 0) for place, signal in enumerate(signals))


def _signal(signal: Signal, *, first: bool) -> str:
    away = signal.weight is not None and signal.weight < 0
    sign = "−" if away else "" if first else "+"
    before = f'<span class="sign">{sign}</span>' if sign else ""
    weight = "" if signal.weight is None else f'<b title="weight">×{abs(signal.weight):g}</b>'
    return f'<li class="{"away" if away else "towards"}">{before}{_signal_body(signal)}{weight}</li>\n'


def _signal_body(signal: Signal) -> str:
    if signal.kind == "image":
        picture = load_picture(signal.value, signal.crop)
        return f'<span class="thumb"{frame(picture)}>{picture_tag(picture, "Query picture")}</span>'
    if signal.kind == "id":
        return f'<span class="chip">like <code dir="auto">{text(signal.value)}</code></span>'
    return f'<span class="words" lang="" dir="auto">{text(signal.value)}</span>'


def picture_tag(picture: Picture | None, alt: str) -> str:
    if picture is None:
        return NO_PICTURE
    return (
        f'<img src="{escape(picture.source, quote=True)}" alt="{text(alt)}" loading="lazy" decoding="async" '
        'referrerpolicy="no-referrer">'
    )


def frame(picture: Picture | None) -> str:
    """Attributes of the square around a picture."""
    if picture is None:
        return ""
    background = f' style="background:{picture.backdrop}"' if picture.backdrop else ""
    return f"{background} data-fills" if picture.fills else background
