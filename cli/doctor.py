"""``mm-milvus doctor``."""

from __future__ import annotations

import click

from .options import settings, shared_options, verbose_option
from .output import print_json, say
from .text import one_line

__all__ = ["doctor"]

_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
_MET = {
    "nullable": "attributes are stored as dynamic keys",
    "partition_keys": "no --partition-key",
    "float16_vectors": "float32 vectors only",
}


@click.command(short_help="Check the installation, the device and the connection.")
@verbose_option
@shared_options
def doctor(verbose: bool, as_json: bool) -> None:
    """Check the installation, the device, the encoder and the connection; exits with 1 if a check fails."""
    chosen = settings()
    from mm_milvus.doctor import diagnose

    checks = diagnose(chosen)
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [check.to_dict() for check in checks]})
    else:
        widest = max((len(check.name) for check in checks), default=0)
        for check in checks:
            detail = check.detail if verbose or check.name != "capabilities" else _shortcomings(check.detail)
            _print_check(check.status, f"{check.name:<{widest}}  {one_line(detail)}")
    if failed:
        raise SystemExit(1)


def _shortcomings(detail: str) -> str:
    """Of all that this Milvus cannot do, what a user of mm-milvus meets."""
    lacking = detail.rpartition("lacks ")[2].split(", ")
    return ", ".join(said for name, said in _MET.items() if name in lacking) or "all that mm-milvus uses"


def _print_check(status: str, line: str) -> None:
    mark, color = _MARKS[status]
    say(f"{_painted(f'{mark:<4}', color)}  {line}")


def _painted(text: str, color: str) -> str:
    """Colour follows the habit of NO_COLOR; click itself drops it in pipes."""
    import os

    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)
