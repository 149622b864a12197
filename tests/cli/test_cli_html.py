from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mm_milvus_cli.html import render
from mm_milvus_cli.thumbnails import load_picture
from PIL import Image

from mm_milvus.records import Crop, FacetCounts, Hit, Page, Query, Signal

HOSTILE = """</h2></style><script>alert(1)</script><img src=x onerror=alert(2)> "'&<!--"""
VOID = {"meta", "img", "rect", "circle", "path"}


@dataclass
class Tag:
    name: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Parsed(HTMLParser):
    tags: list[Tag] = field(default_factory=list)
    open: list[Tag] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = Tag(tag, dict(attrs))
        self.tags.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop().name == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            tag.text += data

    def all(self, name: str, **attributes: str) -> list[Tag]:
        return [t for t in self.tags if t.name == name and attributes.items() <= t.attributes.items()]


def _parsed(page: str) -> Parsed:
    parser = Parsed()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def _render(*hits: Hit, query: Query | None = None) -> Parsed:
    query = query or Query((Signal("text", "red dress"),))
    return _parsed(render(query, Page(hits, 84, 31.4, offset=query.offset)))


def _picture(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (600, 400)) -> str:
    Image.new("RGB", size, color).save(path)
    return str(path)


def _decoded(source: str | None) -> Any:
    assert source is not None
    kind, _, data = source.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(BytesIO(base64.b64decode(data)))


def test_nothing_of_the_catalog_or_the_query_becomes_markup() -> None:
    attributes: dict[str, Any] = dict.fromkeys(
        ("title", "description", "price", "currency", HOSTILE), HOSTILE
    )
    attributes |= {"tags": [HOSTILE], "box": {HOSTILE: HOSTILE}}
    hit = Hit(HOSTILE, 0.5, attributes, image=HOSTILE)
    query = Query(
        (Signal("text", HOSTILE), Signal("id", HOSTILE, -1.0), Signal("image", HOSTILE)),
        filter=HOSTILE,
        fields=(HOSTILE, "tags", "box"),
    )
    page = _render(hit, query=query)
    assert [
        tag.name for tag in page.tags if tag.name in ("script", "iframe", "object", "link", "base", "form")
    ] == []
    assert [name for tag in page.tags for name in tag.attributes if name.startswith("on")] == []
    assert page.all("img") == []
    assert page.all("a") == []
    assert page.all("h2")[0].text == HOSTILE
    assert page.all("p", **{"class": "id"})[0].text == HOSTILE
    assert page.all("span", **{"class": "words"})[0].text == HOSTILE
    assert page.all("dt")[0].text == HOSTILE
    assert page.all("p", **{"class": "filter"})[0].text == f"where {HOSTILE}"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//evil.example/x",
        "http://",
        "https://a b.example/",
        "https://x\u202e.example/",
        "http://[::1",
    ],
)
def test_an_address_that_is_not_plainly_http_is_text(address: str) -> None:
    page = _render(Hit("a", 0.5, {"link": address}, image=address))
    assert page.all("a") == []
    assert page.all("img") == [] or address.startswith("http")  # an <img> cannot run anything


def test_a_web_address_becomes_a_link_that_tells_nothing_about_this_page() -> None:
    (link,) = _render(Hit("a", 0.5, {"link": 'https://shop.example/p?a=1&b="2"'})).all("a")
    assert link.text == "shop.example"
    assert link.attributes == {
        "href": 'https://shop.example/p?a=1&b="2"',
        "rel": "noopener noreferrer nofollow",
        "target": "_blank",
    }


def test_a_local_picture_is_embedded_as_a_small_jpeg(tmp_path: Path) -> None:
    file = _picture(tmp_path / "shoe.png", (200, 30, 40))
    (image,) = _render(Hit("a", 0.5, {"title": "Red shoe"}, image=file)).all("img")
    shown = _decoded(image.attributes["src"])
    assert (shown.format, shown.size) == ("JPEG", (256, 171))
    assert max(abs(a - b) for a, b in zip(shown.getpixel((128, 85)), (200, 30, 40), strict=True)) <= 3
    assert image.attributes["alt"] == "Picture of Red shoe"
    assert file not in str(image.attributes)


def test_a_picture_on_the_web_is_linked_without_referrer_and_credentials() -> None:
    (image,) = _render(Hit("a", 0.5, {}, image="https://me:secret@cdn.example/a.jpg?w=1&h=2")).all("img")
    assert image.attributes["src"] == "https://cdn.example/a.jpg?w=1&h=2"
    assert image.attributes["referrerpolicy"] == "no-referrer"
    assert image.attributes["loading"] == "lazy"


@pytest.mark.parametrize(
    "image", ["", "/etc/passwd", "/nowhere/at/all.jpg", "ftp://x/y.jpg", "javascript:alert(1)"]
)
def test_what_is_no_picture_gets_a_placeholder(image: str) -> None:
    page = _render(Hit("a", 0.5, {}, image=image))
    assert page.all("img") == []
    assert page.all("svg")[0].attributes["aria-label"] == "No picture"


def test_the_query_is_shown_with_words_weights_cropped_picture_and_filter(tmp_path: Path) -> None:
    file = tmp_path / "query.png"
    image = Image.new("RGB", (100, 100), (0, 0, 255))
    image.paste((255, 0, 0), (50, 0, 100, 100))
    image.save(file)
    signals = (
        Signal("text", "红色 dress", 0.7),
        Signal("image", str(file), crop=Crop(60, 10, 30, 30)),
        Signal("id", "p<1>", -0.4),
    )
    query = Query(signals, filter='price < 100 and color == "red"')
    page = _render(Hit("a", 0.5, {}), query=query)
    shown = _decoded(page.all("img")[0].attributes["src"])
    assert shown.size == (30, 30)
    assert shown.getpixel((15, 15))[0] > 240  # only the red half
    assert [tag.text for tag in page.all("b", title="weight")] == ["×0.7", "×0.4"]
    assert [tag.text.strip() for tag in page.all("li", **{"class": "away"})] == ["−like p<1>×0.4"]
    assert page.all("code")[1].text == 'price < 100 and color == "red"'
    assert page.all("title")[0].text == "红色 dress · mm-milvus"


def test_cards_stand_in_the_order_of_the_hits_with_rank_score_price_and_attributes() -> None:
    query = Query((Signal("text", "x"),), offset=20)
    page = _render(
        Hit(
            "a",
            0.873,
            {"title": "Shoe", "price": 1299.5, "currency": "EUR", "brand": "B&R", "in_stock": True},
        ),
        Hit("b", -0.2, {"title": "Boot"}),
        query=query,
    )
    assert [tag.text for tag in page.all("span", **{"class": "rank"})] == ["21", "22"]
    assert [tag.text for tag in page.all("span", title="score")] == ["0.873", "-0.200"]
    assert [tag.attributes["style"] for tag in page.all("i")] == ["width:87.3%", "width:0.0%"]
    assert page.all("p", **{"class": "price"})[0].text == "1,299.50 EUR"
    assert [tag.text for tag in page.all("dt")] == ["brand", "in stock"]
    assert [tag.text for tag in page.all("dd")] == ["B&R", "yes"]
    assert page.all("ol")[0].attributes["start"] == "21"


@pytest.mark.parametrize(
    "attributes",
    [
        {"Price": 129.99, "Price currency": "€"},
        {"price": 129.99, "price_currency": "€"},
        {"preis": 129.99, "preis_currency": "€", "currency": "€"},
        {"PREIS": 129.99, "Currency": "€"},
    ],
)
def test_a_price_is_known_however_it_is_spelled(attributes: dict[str, Any]) -> None:
    page = _render(Hit("a", 0.5, {**attributes, "color": "red"}))
    assert page.all("p", **{"class": "price"})[0].text == "129.99 €"
    rows = {"color"} | ({"currency"} if "currency" in attributes else set())
    assert {tag.text for tag in page.all("dt")} == rows


def test_facets_stand_beside_the_cards_with_counts_and_bars() -> None:
    facets = (
        FacetCounts("base_color", (("red", 1200), (True, 300)), others=1, missing=4),
        FacetCounts("price", ranges=((None, 50.0, 2), (50.0, None, 0)), min=5.0, max=49.5, exact=False),
        FacetCounts("season"),
    )
    page = _parsed(render(Query((Signal("text", "x"),)), Page((Hit("a", 0.5, {}),), 1, 1.0, facets=facets)))
    sections = page.all("section", **{"class": "facet"})
    assert [" ".join(section.text.split()) for section in sections] == [
        "base color red1,200 yes300 1 more value · none 4",
        "price below 502 50 and more0 from 5 to 49.5 · of the best candidates only",
        "season no values",
    ]
    assert [tag.attributes["style"] for tag in page.all("i")][:4] == [
        "width:100.0%", "width:25.0%", "width:100.0%", "width:0.0%",
    ]  # fmt: skip
    assert page.all("main", **{"class": "faceted"})[0].text.count("season") == 1
    assert _render(Hit("a", 0.5, {})).all("aside") == []


def test_nothing_of_a_facet_becomes_markup() -> None:
    facet = FacetCounts(HOSTILE, ((HOSTILE, 1),))
    page = _parsed(render(Query(()), Page((), 0, 1.0, facets=(facet,))))
    assert [tag.name for tag in page.tags if tag.name in ("script", "img")] == []
    (section,) = page.all("section")
    assert section.text.count(HOSTILE) == 2


def test_a_card_shows_what_each_route_gave_where_that_was_asked_for() -> None:
    hit = Hit("a", 0.873, {}, scores={"vector": 0.8312, "text": 2.25})
    (routes,) = _render(hit).all("p", **{"class": "routes"})
    assert routes.text.split() == ["vector", "0.831", "text", "2.250"]
    assert _render(Hit("a", 0.873, {})).all("p", **{"class": "routes"}) == []


def test_a_list_without_a_query_has_no_scores() -> None:
    page = _render(Hit("a", 0.0, {"title": "Shoe"}), query=Query((), filter="price < 5"))
    assert page.all("span", title="score") == []
    assert page.all("i") == []


def test_an_empty_page_says_so() -> None:
    page = _parsed(render(Query((Signal("text", "x"),)), Page((), 0, 1.0)))
    assert page.all("ol") == []
    assert "No products match." in page.all("main")[0].text


def test_the_page_forbids_scripts_and_names_its_language_and_character_set() -> None:
    page = _render(Hit("a", 0.5, {"title": "سروال"}))
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data: https: http:;")
    assert page.all("html")[0].attributes == {"lang": "en", "dir": "ltr"}
    assert page.all("meta")[0].attributes == {"charset": "utf-8"}
    assert page.all("h2")[0].attributes == {"lang": "", "dir": "auto"}


def test_a_page_can_always_be_written_as_utf8() -> None:
    render(
        Query((Signal("text", "a\ud800"),)), Page((Hit("\udcff", 0.5, {"title": "\ud83d"}),), 1, 1.0)
    ).encode()


def test_even_edges_are_continued_and_busy_ones_are_cut_off(tmp_path: Path) -> None:
    even: Any = load_picture(_picture(tmp_path / "even.png", (10, 20, 30)))
    assert even.backdrop == "linear-gradient(to bottom,#0a141e 50%,#0a141e 50%)"
    assert even.fills is False
    busy = Image.new("RGB", (300, 400))
    busy.paste((255, 255, 255), (0, 0, 300, 200))
    busy.save(tmp_path / "busy.png")
    cut: Any = load_picture(str(tmp_path / "busy.png"))
    assert (cut.backdrop, cut.fills) == ("", True)
