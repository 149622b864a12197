"""Pairs without labels: what the products of a collection say about themselves.

A title and parts of it ask for the product; values of its attributes ("red shoes") for all products that have them;
its picture asks for it; and its picture with a value ("blue") for the products that differ in just that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mm_milvus.errors import ConfigError
from mm_milvus.training.data import TRAIN, Asked, Labels, Products

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["facets_of", "labels_from_catalog"]

_MOST_VALUES = 100  # of an attribute by which a shop's products are told apart
_LEAST_ROWS = 3  # products to a value, on average
_MOST_WORDS = 4  # of a value
_BROADEST = 0.1  # of all products, the most that one query may want: what fits more says too little
_MOST_WANTED = 200  # products that a query may want in any shop, and that it learns from
_CHANGED = 20  # pairs for each product, on average, that pictures with another value may make
_MOST_AGREEING = 2  # facets that must agree in a change: in more, no two products of a small shop do
_OWN = {"id", "title", "text", "description", "has_image", "has_text"}

Wanted = tuple[Asked, Sequence[int]]


def labels_from_catalog(
    products: Products,
    *,
    dev_share: float,
    seed: int,
    crops: int = 0,
    pictures: Callable[[list[str]], dict[str, str]] | None = None,
) -> Labels:
    """Pairs made from ``products.rows``, the same for the same seed. A share of the products is held out with the
    queries that ask for them.

    ``pictures`` tells where the pictures of ids are, for ``crops`` further views of each. Of what a query wants, 200
    products by lot are learned from, and all are known. Raises ConfigError where the products say nothing to learn
    from.
    """
    rng = np.random.default_rng([seed, 2])
    most = max(_MOST_WANTED, int(_BROADEST * len(products)))
    found: dict[Asked, list[Sequence[int]]] = defaultdict(list)
    for asked, wanted in _all_pairs(products, facets_of(products.rows), rng):
        found[asked].append(wanted)
    if crops and pictures is not None:
        for asked, wanted in _views(products, crops, pictures(products.ids)):
            found[asked].append(wanted)
    each = {asked: places for asked, wanted in found.items() if len(places := _union(wanted)) <= most}
    if not each:
        raise ConfigError("these products have neither titles, attributes nor pictures to make pairs of")
    query = np.repeat(np.arange(len(each)), [len(places) for places in each.values()])
    labels = Labels(
        list(each), query, np.concatenate(list(each.values())), np.ones(len(query), np.float32),
        np.full(len(each), TRAIN, np.int8), too_broad=len(found) - len(each),
    )  # fmt: skip
    labels.draw_products(dev_share, seed, products.twins())
    labels.learn_at_most(_MOST_WANTED, seed)
    return labels


def _union(places: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    return np.unique(np.concatenate([np.asarray(some, np.int64) for some in places]))


def facets_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Attributes with few distinct short texts: the value of each row, "" for none."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, str))
    found = {}
    for name in names:
        if name in _OWN:
            continue
        values = [value if isinstance(value := row.get(name), str) else "" for row in rows]
        distinct = set(values) - {""}
        filled = sum(map(bool, values))
        few = 2 <= len(distinct) <= min(_MOST_VALUES, filled // _LEAST_ROWS)
        if few and all(len(value.split()) <= _MOST_WORDS for value in distinct):
            found[name] = values
    return found


def _all_pairs(
    products: Products, facets: dict[str, list[str]], rng: np.random.Generator
) -> Iterator[Wanted]:
    yield from _titles(products, rng)
    yield from _attributes(facets, len(products), rng)
    yield from _pictures(products)
    yield from _changed(products, facets, rng)


def _titles(products: Products, rng: np.random.Generator) -> Iterator[Wanted]:
    """Each title and a part of it, which want every product whose title has all of the words."""
    titles = [str(row.get("title") or "") for row in products.rows]
    places: dict[str, set[int]] = defaultdict(set)
    for place, title in enumerate(titles):
        for word in title.lower().split():
            places[word].add(place)
    for asked in dict.fromkeys(_parts(titles, rng)):
        yield Asked(asked), sorted(set.intersection(*(places[word] for word in asked.lower().split())))


def _parts(titles: Iterable[str], rng: np.random.Generator) -> Iterator[str]:
    """Each title, and one part of those of more than two words."""
    for title in titles:
        words = title.split()
        if words:
            yield " ".join(words)
        if len(words) > 2:
            length = int(rng.integers(2, len(words)))
            start = int(rng.integers(0, len(words) - length + 1))
            yield " ".join(words[start : start + length])


def _attributes(facets: dict[str, list[str]], count: int, rng: np.random.Generator) -> Iterator[Wanted]:
    """For each product one query of one to three of its values, in any order."""
    if not facets:
        return
    names = list(facets)
    places = {name: _places(values) for name, values in facets.items()}
    seen = set()
    for product in range(count):
        filled = [name for name in names if facets[name][product]]
        if not filled:
            continue
        size = min(int(rng.integers(1, 4)), len(filled))
        chosen = [filled[at] for at in rng.permutation(len(filled))[:size]]
        values = [facets[name][product] for name in chosen]
        if (key := frozenset(zip(chosen, values, strict=True))) in seen:
            continue
        seen.add(key)
        wanted = set.intersection(*(places[name][facets[name][product]] for name in chosen))
        yield Asked(" ".join(dict.fromkeys(values))), sorted(wanted)


def _places(values: Sequence[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for place, value in enumerate(values):
        found[value].add(place)
    return found


def _pictures(products: Products) -> Iterator[Wanted]:
    """Each picture wants the products that have it."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for place in np.flatnonzero(products.present[:, 0]):
        same[products.image[place].tobytes()].append(int(place))
    for places in same.values():
        yield Asked(picture_of=places[0]), places


def _changed(products: Products, facets: dict[str, list[str]], rng: np.random.Generator) -> Iterator[Wanted]:
    """Pictures with another value of a facet, which want the products that have it and agree in the others.

    Those with the fewest values have to agree, as they say what a product is; brands differ between variants too.
    """
    names = sorted(facets, key=lambda name: len(set(facets[name])))
    for name in names:
        others = [other for other in names if other != name and not _tells_the_same(facets, name, other)]
        kin = _kin(facets, name, others[:_MOST_AGREEING], len(products))
        for place in np.flatnonzero(products.present[:, 0]):
            own = facets[name][place]
            values = sorted(kin[place].keys() - {own})
            if not values or not own or (lot := rng.random()) > 1 / len(names):
                continue
            wanted = kin[place][value := values[int(rng.integers(len(values)))]]
            # The more of them there are, the fewer pictures ask: the pairs would be as the square of a shop.
            if lot * len(names) * len(wanted) <= _CHANGED:
                yield Asked(value, picture_of=int(place)), wanted


def _tells_the_same(facets: dict[str, list[str]], name: str, other: str) -> bool:
    """Whether each value of one goes with one value of the other, as a category and its plural do."""
    pairs = Counter(zip(facets[name], facets[other], strict=True))
    return len(pairs) == len(set(facets[name])) == len(set(facets[other]))


def _kin(
    facets: dict[str, list[str]], name: str, agreeing: Sequence[str], count: int
) -> list[dict[str, list[int]]]:
    """For each product all that share its values of ``agreeing``, by their value of ``name``; none where no facet is
    left to agree in."""
    if not agreeing:
        return [{} for _ in range(count)]
    groups: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    keys = list(zip(*(facets[other] for other in agreeing), strict=True))
    for place, key in enumerate(keys):
        if value := facets[name][place]:
            groups[key][value].append(place)
    return [groups[key] for key in keys]


def _views(products: Products, crops: int, where: dict[str, str]) -> Iterator[Wanted]:
    for place, id in enumerate(products.ids):
        if products.present[place, 0] and where.get(id):
            for view in range(1, crops + 1):
                yield Asked(image=where[id], view=view), [place]
