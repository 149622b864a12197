"""Options that commands share. A setting that is not given stays absent, so that file and environment count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .values import names, pair

if TYPE_CHECKING:
    from mm_milvus import Client
    from mm_milvus.config import Settings

__all__ = [
    "catalog_options",
    "compose",
    "ingest_options",
    "json_option",
    "open_shop",
    "private_hosts_option",
    "search_options",
    "settings",
    "shared_options",
    "take_collection",
    "token_vectors_option",
    "verbose_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

_GIVEN = "mm_milvus.given"
_CONFIG = "mm_milvus.config"


def settings() -> Settings:
    """Settings of the running command: config file, environment, then its options. Raises ConfigError."""
    from mm_milvus.config import load_settings

    meta = click.get_current_context().meta
    return load_settings(meta.get(_CONFIG), **meta.get(_GIVEN, {}))


@contextmanager
def open_shop() -> Iterator[Client]:
    """The client that the running command asks for."""
    chosen = settings()
    from mm_milvus import Client

    with Client(config=chosen) as shop:
        yield shop


def take_collection(name: str) -> None:
    """Lets the running command's argument say what ``--collection`` says. Both may be given, if they agree."""
    given = click.get_current_context().meta.setdefault(_GIVEN, {})
    if given.get("collection", name) != name:
        raise click.UsageError(
            f"{name!r} and --collection {given['collection']!r} are two collections; give one"
        )
    given["collection"] = name


def compose(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """One decorator out of many; ``--help`` shows them in the order given."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None and value != ():
        context.meta.setdefault(_GIVEN, {})[option.name] = value


def _remember_table(
    context: click.Context, option: click.Parameter, pairs: tuple[tuple[str, str], ...]
) -> None:
    fields = [field for field, _ in pairs]
    if twice := next((field for field in fields if fields.count(field) > 1), None):
        raise click.BadParameter(f"{twice!r} is given twice", context, option)
    _remember(context, option, dict(pairs) or None)


def setting(
    *flags: str, help: str, callback: Any = _remember, **attributes: Any
) -> Callable[[Command], Command]:
    """An option that is the setting of the same name; ``settings()`` picks it up."""
    return click.option(*flags, help=help, expose_value=False, callback=callback, **attributes)


def _config(context: click.Context, option: click.Parameter, value: str | None) -> None:
    context.meta[_CONFIG] = value


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of text, errors included."
)

verbose_option = click.option("--verbose", is_flag=True, help="Show the technical details too.")

shared_options = compose(
    setting(
        "--uri", metavar="URI", help="Milvus Lite file or URL of a Milvus server. Default: ./mm-milvus.db."
    ),
    setting("--token", metavar="TOKEN", help="user:password or API key of the server. Default: none."),
    setting("--collection", metavar="NAME", help="Collection of the products. Default: products."),
    setting(
        "--encoder",
        metavar="NAME",
        help="offline, a model name[@revision] or a local folder. Default: that of the collection.",
    ),
    setting("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps. Default: auto."),
    setting(
        "--timeout", type=float, metavar="SECONDS", help="Longest time of one call to Milvus. Default: 60."
    ),
    setting(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="How long to wait for a local database that another process has open. Default: 0.",
    ),
    click.option(
        "--config",
        metavar="FILE",
        expose_value=False,
        callback=_config,
        help="Config file. Default: mm-milvus.toml here, if there is one.",
    ),
    json_option,
)

private_hosts_option = setting(
    "--allow-private-hosts",
    is_flag=True,
    default=None,
    help="Let picture URLs point into private networks. Default: refused.",
)

token_vectors_option = setting(
    "--token-vectors",
    metavar="DIR",
    help="Folder for the token vectors of late interaction. Default: beside the database.",
)

search_options = compose(
    token_vectors_option,
    setting(
        "--ef",
        type=int,
        metavar="N",
        help="Search width of the index on a server: more is exacter and slower.",
    ),
    setting(
        "--consistency",
        type=click.Choice(["Strong", "Session", "Bounded", "Eventually"], case_sensitive=False),
        metavar="[Strong|Session|Bounded|Eventually]",
        help="How fresh the answer of a server must be. Default: Strong.",
    ),
)

catalog_options = compose(
    setting(
        "--mapping",
        "mapping",
        type=pair,
        callback=_remember_table,
        multiple=True,
        metavar="FIELD=COLUMN",
        help="Column of the catalog that a field is read from. Repeatable. Default: guessed from its name.",
    ),
    setting(
        "--types",
        "types",
        type=pair,
        callback=_remember_table,
        multiple=True,
        metavar="FIELD=TYPE",
        help="Type of an attribute, such as price=double or tags=array<varchar>. Repeatable. "
        "Default: inferred from the data.",
    ),
    setting(
        "--text-fields",
        type=names,
        metavar="A,B,C",
        help="Attributes that are embedded as text, in order. Default: title, description and the like.",
    ),
    setting(
        "--missing-image",
        type=click.Choice(["keep", "reject"]),
        help="What becomes of a product with text whose picture fails. Default: keep.",
    ),
    setting(
        "--images",
        type=click.Choice(["mean", "first"]),
        help="Several pictures of a product: the mean of their vectors, or the first only. Default: mean.",
    ),
    setting(
        "--image-root",
        metavar="DIR",
        help="Folder that relative picture paths start in. Default: that of the catalog.",
    ),
    setting(
        "--allow-root",
        multiple=True,
        metavar="DIR",
        help="Folder outside the catalog's own that pictures may come from. Repeatable. Default: none.",
    ),
    private_hosts_option,
    setting(
        "--refetch",
        "refetch",
        flag_value="always",
        help="Fetch all pictures behind URLs again. Default: those of which their host says that they changed.",
    ),
    setting("--no-refetch", "refetch", flag_value="never", help="Fetch no picture behind a known URL again."),
    setting("--picture-cache", metavar="DIR", help="Folder that keeps downloaded pictures. Default: none."),
    setting("--per-host", type=int, metavar="N", help="Downloads at a time from one host. Default: 8."),
    setting(
        "--url-timeout", type=float, metavar="SECONDS", help="Longest wait within a download. Default: 10."
    ),
    setting(
        "--url-deadline", type=float, metavar="SECONDS", help="Longest time of one download. Default: 30."
    ),
)

ingest_options = compose(
    setting(
        "--fusion",
        metavar="NAME|DIR",
        help="How picture and text become one vector: blocks, sum, product, or the folder of a trained fusion. "
        "Default: that of the collection, blocks for a new one.",
    ),
    setting(
        "--image-weight", type=float, metavar="W", help="Picture's share in the fusion sum. Default: 0.5."
    ),
    setting("--text-weight", type=float, metavar="W", help="Text's share in the fusion sum. Default: 0.5."),
    setting("--batch-size", type=int, metavar="N", help="Products per batch. Default: 16, on CUDA 256."),
    setting("--rejects", metavar="FILE", help="File for rejected rows. Default: beside the catalog."),
    setting(
        "--max-reject-rate",
        type=float,
        metavar="RATE",
        help="Share of rejected rows that is still a success. Default: 0.05.",
    ),
    setting(
        "--sync/--no-sync",
        default=None,
        help="Delete stored products that are no longer in the catalog. Default: they stay.",
    ),
    setting(
        "--max-delete-rate",
        type=float,
        metavar="RATE",
        help="Share of the stored products that --sync may delete unasked. Default: 0.2.",
    ),
    setting(
        "--retry-seconds",
        type=float,
        metavar="SECONDS",
        help="How long to wait for a Milvus that went away. Default: 300.",
    ),
    setting(
        "--compile",
        is_flag=True,
        default=None,
        help="Compile the model with torch.compile; worth it for long ingests. Default: not.",
    ),
    setting(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        help="Number format of the model. Default: auto.",
    ),
    setting(
        "--vector-dtype",
        type=click.Choice(["float32", "float16", "bfloat16"]),
        help="Number format of stored vectors. Default: float32.",
    ),
    setting(
        "--partition-key", metavar="FIELD", help="Attribute that partitions a new collection. Default: none."
    ),
    setting(
        "--dry-run",
        is_flag=True,
        default=None,
        help="Show mapping, schema, texts and rejects of the first 1,000 rows; do not touch Milvus.",
    ),
)
