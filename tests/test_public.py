"""The public face: what is exported, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import mm_milvus

HEAVY = (
    "torch",
    "transformers",
    "pymilvus",
    "pandas",
    "pyarrow",
    "numpy",
    "pydantic",
    "PIL",
    "httpx",
    "rich",
)


def test_every_export_exists() -> None:
    for name in mm_milvus.__all__:
        assert getattr(mm_milvus, name) is not None
    assert set(dir(mm_milvus)) == set(mm_milvus.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(mm_milvus, "nothing_of_that_name")


def test_the_import_is_light() -> None:
    code = f"import mm_milvus, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_error_has_its_exit_code_in_the_drawing() -> None:
    from mm_milvus import errors

    for name in errors.__all__:
        error = getattr(errors, name)
        assert f"{name} " in errors.__doc__
        line = next(
            line for line in errors.__doc__.splitlines() if f" {name} " in f" {line.lstrip('│├└─ ')} "
        )
        assert str(error.exit_code) in line.split(name)[1].split()[0]
