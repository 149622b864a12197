"""Numbers and prices that are written as text: "00123" is neither, "1.299,99 €" is 1299.99 in "€"."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["decimal_mark", "is_plain_number", "parse_money"]

# An exponent needs its sign: 12E4 is a product code more often than a number.
_PLAIN = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-][0-9]+)?")
_MONEY = re.compile(
    r"(?P<sign>[-+\u2212]?) ?(?P<before>[^0-9\s+\-.,'\u2212]{1,4}\.?)? ?(?P<inner>[-+\u2212]?)"
    r"(?P<number>[0-9](?:[0-9.,' ]*[0-9])?) ?(?P<after>[^0-9\s+\-.,'\u2212]{1,4}\.?)?"
)
_GROUPED = re.compile(
    r"(?P<whole>[0-9]+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}|"
    r"[0-9]{1,3}(?:(?P<group>[,. '])[0-9]{3})(?:(?P=group)[0-9]{3})*)"
    r"(?:(?P<mark>[.,])(?P<fraction>[0-9]+))?"
)
_AMBIGUOUS = re.compile(r"[1-9][0-9]{0,2}([.,])[0-9]{3}")  # a thousand, or a number with three decimals?
_WHOLE_DIGITS = 15  # what a double holds exactly


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ISO 4217
_CODES = _words(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP
    GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD
    KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN
    NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP
    SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND
    VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG RMB
    """
)
_SIGNS = _words("zł kč kr kr. rp rp. rm fr fr. ft rs rs. лв руб руб. 元 円 원 圆")
# Where prices are written with a decimal comma, so that "1.299 €" is more than a thousand.
_COMMA = _words("EUR € VND ₫ IDR RP RP. BRL R$ ARS CLP COP DKK SEK NOK KR KR. TRY ₺ PLN ZŁ CZK KČ RUB ₽")


def is_plain_number(text: str) -> bool:
    """True for 12, -3.5, 1e-07; false for 007, 1,299 and 12E4, which may be codes."""
    return _PLAIN.fullmatch(text.strip()) is not None


@lru_cache(maxsize=4096)  # the amount and its currency are asked for one after the other
def parse_money(text: str, mark: str | None = None) -> tuple[float, str] | None:
    """(amount, currency as written or ""), None where ``text`` is no price.

    ``mark`` is the decimal mark that the column is known to use; it decides "1.299" and "1,299".
    """
    if len(text) > 64 or not (parts := _MONEY.fullmatch(_simplified(text))):
        return None
    before, after = parts["before"] or "", parts["after"] or ""
    currency = before or after
    if (before and after) or (currency and not _is_currency(currency)) or (parts["sign"] and parts["inner"]):
        return None
    amount = _amount(parts["number"], mark or ("," if currency.upper() in _COMMA else "."))
    if amount is None:
        return None
    negative = (parts["sign"] or parts["inner"]) in {"-", "\u2212"}
    return (-amount if negative else amount), currency


def decimal_mark(text: str) -> str | None:
    """The decimal mark that this price shows beyond doubt, None where it shows none."""
    parts = _MONEY.fullmatch(_simplified(text))
    grouped = (
        _GROUPED.fullmatch(parts["number"]) if parts and not _AMBIGUOUS.fullmatch(parts["number"]) else None
    )
    if grouped is None:
        return None
    if grouped["mark"]:
        return grouped["mark"]
    return {",": ".", ".": ","}.get(grouped["group"] or "")


def _simplified(text: str) -> str:
    """Compatibility forms (￥, no-break spaces) as ordinary characters."""
    return unicodedata.normalize("NFKC", text[:65]).replace("\u2019", "'").strip()


def _is_currency(text: str) -> bool:
    if text.upper() in _CODES or text.lower() in _SIGNS:
        return True
    signs = sum(unicodedata.category(character) == "Sc" for character in text)
    return signs == 1 and all(character.isupper() or not character.isalpha() for character in text)


def _amount(number: str, mark: str) -> float | None:
    if re.match(r"0[0-9]", number):  # 007 is no price
        return None
    if ambiguous := _AMBIGUOUS.fullmatch(number):
        return float(number.replace(ambiguous[1], "." if ambiguous[1] == mark else ""))
    grouped = _GROUPED.fullmatch(number)
    if grouped is None or (grouped["mark"] and grouped["mark"] == grouped["group"]):
        return None
    whole = re.sub(r"[,. ']", "", grouped["whole"])
    return float(f"{whole}.{grouped['fraction'] or 0}") if len(whole) <= _WHOLE_DIGITS else None
