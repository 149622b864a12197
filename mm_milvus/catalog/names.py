"""What column names mean: words of a name, and the names that shops give to the same thing."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

__all__ = [
    "DESCRIPTIONS",
    "DESCRIPTIVE",
    "EXTRA_IMAGES",
    "IDS",
    "IMAGES",
    "TITLES",
    "nearest",
    "normalized",
    "says_count",
    "says_identifier",
    "says_money",
]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# All in normalized form; the first that a catalog has is taken.
IDS = _words(
    """
    id productid itemid sku variantsku asin parentasin articleid articlenumber articleno productcode
    itemcode productnumber offerid listingid artikelnummer artikelnr artnr artikelid produktnummer
    produktnr produktid bestellnummer bestellnr référence reference référenceproduit idproduit
    codeproduit codearticle referencia códigoproducto codigoproducto códigodeproducto código codigo
    codiceprodotto codicearticolo codice code handle uid uuid guid key gtin ean upc barcode 商品编号 商品id
    产品编号 产品id 编号 编码 商品编码 货号
    """
)
TITLES = _words(
    """
    title name productname producttitle productdisplayname prodname itemname itemtitle displayname
    articlename headline titel produktname produktbezeichnung produkttitel artikelname
    artikelbezeichnung bezeichnung titre nomproduit nomduproduit désignation libellé nom título titulo
    nombreproducto nombredelproducto nombre titolo nomeprodotto titoloprodotto nome 商品名称 商品标题 产品名称 商品名
    标题 名称 品名
    """
)
DESCRIPTIONS = _words(
    """
    description desc productdescription longdescription itemdescription fulldescription detaildesc
    bodyhtml body details about shortdescription produktbeschreibung artikelbeschreibung
    langbeschreibung beschreibung langtext kurzbeschreibung descriptionproduit descriptif descripción
    descripcion descripcióndelproducto descrizione descrizioneprodotto 商品描述 产品描述 描述 商品详情 详情 简介 介绍
    """
)
IMAGES = _words(
    """
    image images imageurl imageurls imagelink imagelinks imagepath imagepaths imagesrc imagefile
    imagefilename mainimage mainimageurl primaryimage productimage img imgs imgurl imgpath imglink
    picture pictures pictureurl picturepath photo photos photourl photopath filename filepath file bild
    bilder bildurl bildlink bildpfad bilddatei hauptbild produktbild produktbilder artikelbild foto
    fotos fotourl imageprincipale imageproduit urlimage lienimage imagen imágenes imagenes imagenurl
    urlimagen imagenprincipal immagine immagini immagineurl urlimmagine immagineprincipale thumbnail
    thumbnailurl 图片 商品图片 主图 图片链接 图片地址 图像 照片
    """
)
EXTRA_IMAGES = _words(
    """
    images imageurls imagelinks additionalimagelink additionalimagelinks additionalimages
    additionalimage additionalimageurl additionalimageurls moreimages otherimages bilder weiterebilder
    zusatzbilder fotos imágenes imagenes imágenesadicionales immagini altreimmagini
    """
)
# What is embedded by default between title and description: short words that describe.
DESCRIPTIVE = _words(
    """
    color colour basecolor basecolour colorname colourname primarycolor primarycolour farbe farben
    couleur couleurs colores colore colori 颜色 category categories mastercategory maincategory
    subcategory producttype producttypename articletype googleproductcategory kategorie kategorien
    catégorie catégories categoría categorías categoria categorie type 类别 分类 品类 label labels brand
    brandname manufacturer vendor marke hersteller marque marca 品牌 material materials fabric materialien
    matière matières matériau materiales materiale materiali 材质 style styles stil estilo stile 款式 风格
    gender targetgender agegroup geschlecht sexe género genere 性别 pattern muster motif estampado 图案
    season saison temporada stagione 季节 usage occasion fit shape neckline sleevelength collection theme
    """
)
_MONEY = _words(
    """
    price prices cost costs msrp rrp amount fee preis preise verkaufspreis einzelpreis listenpreis
    bruttopreis nettopreis uvp prix precio precios prezzo prezzi preço цена
    """
)
_MONEY_PARTS = ("price", "价格", "售价", "原价", "价钱", "单价", "定价")
_COUNT = _words("quantity qty stock inventory rating ratings count score reviews")
_IDENTIFIER = _words(
    """
    id ids code codes sku ean gtin upc isbn issn asin barcode mpn phone tel telephone fax zip zipcode
    postcode plz postleitzahl telefon téléphone teléfono telefono código codigo codice no nr uid uuid
    guid hash serial version
    """
)


def normalized(name: str) -> str:
    """The name without case, separators and width: "Product ID", "productId" and "product_id" are one."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())


def nearest(name: str, names: Iterable[str]) -> str:
    """What to add to an error about an unknown name: the one that was probably meant, or all there are."""
    known = list(names)
    by_form = {normalized(item): item for item in known}
    if near := difflib.get_close_matches(normalized(name), list(by_form), n=1, cutoff=0.6):
        return f"; did you mean {by_form[near[0]]!r}?"
    return f"; it has {', '.join(known[:20])}" + (", ..." if len(known) > 20 else "")


def says_money(name: str) -> bool:
    """True for price, salePrice, msrp, 价格: text in such a column is read as an amount."""
    if says_identifier(name):
        return False
    return bool({*_MONEY}.intersection(_words_of(name))) or any(part in name.lower() for part in _MONEY_PARTS)


def says_count(name: str) -> bool:
    """True for stock, qty, rating: text in such a column is read as a number where all of it is one."""
    return bool({*_COUNT}.intersection(_words_of(name))) and not says_identifier(name)


def says_identifier(name: str) -> bool:
    """True for ean, phone, store_id: digits in such a column are text."""
    words = _words_of(name)
    return bool({*_IDENTIFIER}.intersection(words)) or words[-1:] == ["number"] or normalized(name) in IDS


def _words_of(name: str) -> list[str]:
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W_]+", split.casefold()) if word]
