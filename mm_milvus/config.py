"""Settings: built-in defaults, then ``mm-milvus.toml``, then ``MM_MILVUS_*``, then arguments; the last one wins.

One name everywhere: the key ``batch_size`` of the file is ``MM_MILVUS_BATCH_SIZE`` in the environment,
``--batch-size`` on the command line and ``batch_size=`` in Python.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mm_milvus.errors import ConfigError
from mm_milvus.records import FieldType

__all__ = ["CONFIG_FILE", "ENV_PREFIX", "Settings", "load_settings", "names_folder"]

CONFIG_FILE = "mm-milvus.toml"
ENV_PREFIX = "MM_MILVUS_"


def _split(value: Any) -> Any:
    """Lists may be written as one string with commas: that is all an environment variable can hold."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _pairs(value: Any) -> Any:
    """Tables may be written as ``key=value,key=value``."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in _split(value)]
    if bad := next((key for key, sep, _ in pairs if not sep), None):
        raise ValueError(f"expected key=value, got {bad!r}")
    return {key.strip(): item.strip() for key, _, item in pairs}


def names_folder(value: str) -> bool:
    """Whether a text is meant as the path of a folder, and not as a name."""
    return os.sep in value or Path(value).expanduser().is_dir()


def _fusion(value: Any) -> Any:
    """A name, or the folder of a trained fusion; what is in that shows when it is read."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or value in ("blocks", "sum", "product"):
        return value
    if not names_folder(value):
        raise ValueError(
            "expected 'blocks', 'sum', 'product' or the folder of a trained fusion (mm-milvus train)"
        )
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Mapped = Annotated[dict[str, str], BeforeValidator(_pairs)]
Typed = Annotated[dict[str, FieldType], BeforeValidator(_pairs)]


class Settings(BaseModel):
    """All settings of the package, validated and frozen. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    # where
    uri: str = Field(
        "./mm-milvus.db", min_length=1, description="folder of a Milvus Lite database, or URL of a server"
    )
    token: str | None = Field(None, repr=False, description="user:password or API key of the server")
    collection: str = Field(
        "products", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$", description="collection name"
    )
    timeout: float = Field(60.0, gt=0, le=86_400, description="seconds that one call to Milvus may take")
    retry_seconds: float = Field(
        300.0, ge=0, le=86_400, description="seconds that an ingest waits for a Milvus that went away"
    )
    wait: float = Field(
        0.0, ge=0, le=86_400, description="seconds to wait for a local database that another process has open"
    )
    consistency: Literal["Strong", "Session", "Bounded", "Eventually"] = Field(
        "Strong", description="consistency level of searches on a server"
    )
    # model
    encoder: str | None = Field(None, description="offline, a model name[@revision] or a local folder")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N, mps"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="dtype of the model")
    compile: bool = Field(
        False, description="compile the model with torch.compile; worth it for long ingests"
    )
    # fusion
    fusion: Annotated[str | None, BeforeValidator(_fusion)] = Field(
        None,
        description="blocks, sum, product or the folder of a trained one: how picture and text become one vector",
    )
    image_weight: float | None = Field(
        None, ge=0, le=1e6, description="picture's weight in the fusion sum (0.5)"
    )
    text_weight: float | None = Field(None, ge=0, le=1e6, description="text's weight in the fusion sum (0.5)")
    # collection
    vector_dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="dtype of the stored vectors (float32)"
    )
    partition_key: str | None = Field(None, description="attribute that partitions the collection")
    ef: int | None = Field(
        None, ge=1, le=32768, description="HNSW search width on a server (256; 1,024 with a filter)"
    )
    token_vectors: Path | None = Field(
        None, description="folder for the token vectors of late interaction; default beside the database"
    )
    # ingest
    batch_size: int | None = Field(None, ge=1, le=4096, description="products per batch (16; 256 on CUDA)")
    rejects: Path | None = Field(None, description="file of rejected rows; default beside the catalog")
    max_reject_rate: float = Field(
        0.05, ge=0, le=1, description="share of rejected rows that is still a success"
    )
    image_root: Path | None = Field(
        None, description="folder that relative picture paths start in; default that of the catalog"
    )
    allow_root: Annotated[tuple[Path, ...], BeforeValidator(_split)] = Field(
        (), description="folders outside the catalog's own that pictures may come from"
    )
    allow_private_hosts: bool = Field(False, description="let picture URLs point into private networks")
    url_timeout: float = Field(
        10.0, gt=0, le=3600, description="seconds that one phase of a picture download may take"
    )
    url_deadline: float = Field(
        30.0, gt=0, le=3600, description="seconds that one picture download may take in all"
    )
    per_host: int = Field(8, ge=1, le=256, description="downloads at a time from one host")
    picture_cache: Path | None = Field(None, description="folder that keeps downloaded pictures")
    refetch: Literal["never", "changed", "always"] = Field(
        "changed", description="when a picture behind a known URL is fetched again"
    )
    missing_image: Literal["keep", "reject"] = Field(
        "keep", description="keep or reject a row with text whose picture fails"
    )
    images: Literal["mean", "first"] = Field(
        "mean", description="several pictures of a product: the mean of their vectors, or the first one only"
    )
    sync: bool = Field(False, description="delete stored products that are no longer in the catalog")
    max_delete_rate: float = Field(
        0.2, ge=0, le=1, description="share of the stored products that sync may delete"
    )
    text_fields: Names | None = Field(None, description="attributes that are embedded as text, in order")
    mapping: Mapped = Field(default_factory=dict, description="our field -> column of the catalog")
    types: Typed = Field(default_factory=dict, description="attribute -> type, where inference is wrong")
    dry_run: bool = Field(False, description="show mapping, schema and first rejects; do not touch Milvus")

    if not TYPE_CHECKING:  # the type checker sees the fields themselves

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise _problem(error, "Settings") from None

    def replace(self, **changes: Any) -> Settings:
        """A copy with ``changes``, validated. None means "not given" and leaves the setting as it is."""
        given = {name: value for name, value in changes.items() if value is not None}
        return _validate(self.model_dump() | given, "arguments") if given else self


def where(settings: Settings) -> list[str]:
    """The options that lead a command to the same collection, those that are not given being the defaults."""
    named = (("collection", "--collection"), ("uri", "--uri"))
    return [
        word
        for name, option in named
        if (value := getattr(settings, name)) != Settings.model_fields[name].default
        for word in (option, str(value))
    ]


def load_settings(
    file: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **arguments: Any,
) -> Settings:
    """Settings from ``file`` (default: ``mm-milvus.toml`` here, if there is one), environment and arguments.

    Arguments that are None count as not given. Raises ConfigError with the name of the bad key.
    """
    environ = os.environ if environ is None else environ
    file = file or environ.get(ENV_PREFIX + "CONFIG")
    values = _read_file(Path(file), required=True) if file else _read_file(Path(CONFIG_FILE), required=False)
    _validate(values, str(file or CONFIG_FILE))
    values |= _read_environment(environ)
    values |= {name: value for name, value in arguments.items() if value is not None}
    return _validate(values, "settings")


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    if not required and not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the config file {path}: {error}") from error


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of ours. An unknown one is a typing mistake and refused; CONFIG names the file itself."""
    values = {}
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable == ENV_PREFIX + "CONFIG":
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in Settings.model_fields:
            raise ConfigError(f"unknown environment variable {variable}{_nearest(name, variable=True)}")
        if value:
            values[name] = value
    return values


def _validate(values: Mapping[str, Any], source: str) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _problem(error, source) from None


def _problem(error: ValidationError, source: str) -> ConfigError:
    """The first problem in one line."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return ConfigError(f"unknown setting {key!r} in {source}{_nearest(key)}")
    got = "" if key == "token" else f", got {problem['input']!r}"  # a secret is not shown
    return ConfigError(
        f"bad value for {key!r} in {source}: {problem['msg'].removeprefix('Value error, ')}{got}"
    )


def _nearest(name: str, *, variable: bool = False) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(Settings.model_fields), n=1)
    shown = [ENV_PREFIX + found.upper() if variable else found for found in near]
    return f"; did you mean {shown[0]!r}?" if shown else ""
