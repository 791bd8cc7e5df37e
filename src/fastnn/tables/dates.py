"""Dates and times as people write them: ISO, day first, month first, English names of months, with a time or without.

`seconds` reads a date, `clock` a time of the day, `order_of` finds over a whole column whether day or month comes
first, `iso_moments` reads many dates at once. The only callers are `columns.py` and `kinds.py`. Local rules of time
play no part: a time without a zone stays as it is written, one with an offset becomes UTC.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

ORDERS = ("YMD", "DMY", "MDY", "serial")    # year, day or month first; a number of days, as in workbooks
LONGEST = 50                        # characters of a date
SAMPLE = 100                        # different texts that show that a column holds no dates at all
EPOCH = date(1970, 1, 1).toordinal()
PIVOT = 69                          # two-digit years from here on are of the 20th century, as in POSIX
MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}
MONTH = ("(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
         "nov(?:ember)?|dec(?:ember)?)")
DAY, YEAR, ANY_YEAR = r"(\d{1,2})(?:st|nd|rd|th)?", r"(\d{4})", r"(\d{4}|\d\d)"
WEEKDAY = re.compile(r"(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?[.,]?\s+", re.IGNORECASE)
# (shape, order of its three parts); None where day and month could change places.
SHAPES = [(re.compile(shape, re.IGNORECASE), order) for shape, order in (
    (r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})", "YMD"),
    (r"(\d\d?)[-/.](\d\d?)[-/.](\d{4}|\d\d)", None),
    (rf"{DAY}[-\s./]*{MONTH}[-\s.,/]*{ANY_YEAR}", "DMY"),
    (rf"{MONTH}\.?\s*{DAY},?\s+{YEAR}", "MDY"),
    (rf"{YEAR}[-\s./]{MONTH}[-\s./]{DAY}", "YMD"),
    (r"(\d{4})(\d\d)(\d\d)", "YMD"),
    (r"(\d{4})[-/](\d\d?)", "YM"),
    (YEAR, "Y"),
    (rf"{MONTH}[-\s.,/]*{YEAR}", "MY"))]
ISO = re.compile(r"(?:(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?)?")
SERIAL = re.compile(r"[1-9][0-9]{4}(?:\.[0-9]*)?")      # from 1927: a shorter number is more likely a year, or no date
FIRST = date(1899, 12, 30).toordinal()                  # day 0 of a workbook
BEFORE_TIME = re.compile(r"(?<=\d)(?:T|,?\s+)(?=\d{1,2}:|\d{6})")
TIME = re.compile(r"(\d{1,4})(?P<by>[:.]?)(\d\d)(?:(?P=by)(\d\d)([.,]\d{1,9})?)?\s*([ap]\.?m\.?)?"
                  r"\s*(z|utc|gmt|[+-]\d\d:?\d\d)?", re.IGNORECASE)
DURATION = re.compile(r"(?:(\d{1,5}) ?h(?:(?:ou)?rs?)?)?,? ?(?:(\d{1,5}) ?m(?:in(?:ute)?s?)?)?", re.IGNORECASE)


def clock(text: str) -> float | None:
    """The seconds since midnight of a time of the day, or those of a duration, such as 18:00, 6:00:01.5 PM, 2h 50m; or
    None."""
    match = DURATION.fullmatch(text) if len(text) <= LONGEST else None
    if match is not None and any(match.groups()):
        return 3600.0 * int(match[1] or 0) + 60 * int(match[2] or 0)
    match = TIME.fullmatch(text) if len(text) <= LONGEST else None
    if match is None or not match["by"] or (match["by"] == "." and match[4] is None) or match[7]:
        return None
    return _seconds_of_day(match)


def _seconds_of_day(match: re.Match[str]) -> float | None:
    """Seconds of a time; None where there is no such time."""
    hours, minutes, seconds = int(match[1]), int(match[3]), int(match[4] or 0)
    if minutes > 59 or seconds > 60:        # 60 is a leap second
        return None
    if match[6]:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if match[6][0] in "pP" else 0)
    fraction = float("0." + match[5][1:]) if match[5] else 0.0
    return 3600 * hours + 60 * minutes + seconds + fraction


@lru_cache(1 << 17)         # columns of dates repeat times, which are 86,400 at most, and days
def _time(text: str) -> int | None:
    """The whole seconds to add to a date for its time; an offset from UTC is taken off."""
    match = TIME.fullmatch(text)
    seconds = match and _seconds_of_day(match)
    if match is None or seconds is None or seconds > 86400:
        return None
    zone = match[7]
    if zone and zone[0] in "+-":
        offset = 3600 * int(zone[1:3]) + 60 * int(zone[-2:])
        seconds += -offset if zone[0] == "+" else offset
    return int(seconds // 1)


def _parts(text: str) -> tuple[tuple[int, ...], str | None, int] | None:
    """The numbers of a date, their order (None: any) and the seconds of its time, or None for what is no date."""
    if len(text) > LONGEST:
        return None
    head, *tail = BEFORE_TIME.split(text, maxsplit=1)
    time = _time(tail[0]) if tail else 0
    if time is None:
        return None
    day = _day(head)
    return None if day is None else (*day, time)


@lru_cache(1 << 14)
def _day(text: str) -> tuple[tuple[int, ...], str | None] | None:
    """The numbers of a date without a time, and their order (None: any), or None for what is no date."""
    text = WEEKDAY.sub("", text, count=1) if text[:1].isalpha() else text
    for shape, order in SHAPES:
        match = shape.fullmatch(text)
        if match:
            numbers = [MONTHS.get(part[:3].lower()) or int(part) for part in match.groups()]
            if len(match.groups()[-1]) == 2 and order == "DMY":
                numbers[2] = _century(numbers[2])
            if order is None and len(match[3]) == 2:        # marked: the year of such a date is not known yet
                return (*numbers, 1), order
            return tuple(numbers), order
    return None


def _century(year: int) -> int:
    return year + (1900 if year >= PIVOT else 2000)


def _arranged(parts: tuple[tuple[int, ...], str | None, int], order: str) -> int | None:
    """The seconds since 1970 of a date's parts in this order, or None where no such day exists."""
    numbers, own, time = parts
    days = _days(numbers, own, order)
    return None if days is None else 86400 * days + time


@lru_cache(1 << 14)
def _days(numbers: tuple[int, ...], own: str | None, order: str) -> int | None:
    """The days since 1970 of a date without a time."""
    named = dict(zip(own or order, numbers, strict=False))
    year, short = named["Y"], own is None and len(numbers) == 4
    try:
        return date(_century(year) if short else year, named.get("M", 1), named.get("D", 1)).toordinal() - EPOCH
    except ValueError:
        return None


def seconds(text: str, order: str) -> int | None:
    """The seconds from 1970 to a date; None where it is no date. `order` is that of parts that could change places."""
    if order == "serial" and len(text) <= LONGEST and SERIAL.fullmatch(text):
        return round(86400 * (float(text) - (EPOCH - FIRST)))
    parts = _parts(text)
    return None if parts is None else _arranged(parts, "YMD" if order == "serial" else order)


def iso_moments(cells: Sequence[str], is_gap: Callable[[str], bool]) -> NDArray[np.datetime64] | None:
    """Dates such as 2024-12-31, with a time or without, as datetime64[s], NaT for gaps; None where a cell is anything
    else. It reads them as `seconds` does, but many at once."""
    if not all(map(ISO.fullmatch, cells)):
        first = next((cell for cell in cells if not is_gap(cell)), "")
        if ISO.fullmatch(first):
            cells = ["" if is_gap(cell) else cell for cell in cells]
        if not all(map(ISO.fullmatch, cells)):
            return None
    try:
        return np.array(cells, "datetime64[s]")
    except ValueError:      # no such day
        return None


def order_of(counts: Mapping[str, int], cells: Sequence[str]) -> tuple[str, bool] | None:
    """The order that reads the most of a column's cells, and whether another one reads as many.

    None where less than half are dates. Where day first and month first read the same cells, the order is taken (1) in
    which the column's dates rise or fall from row to row, (2) in which the day is the same in all rows, as it is in
    tables of months, (3) month first for slashes, day first for full stops and hyphens, as is usual.
    """
    if not any(map(_parts, islice(counts, SAMPLE))):
        return None
    parts = {text: found for text in counts if (found := _parts(text))}
    if 2 * sum(counts[text] for text in parts) < sum(counts.values()):
        return None
    if all(own is not None for _, own, _ in parts.values()):
        return "YMD", False
    read = {order: sum(counts[text] for text, found in parts.items() if _arranged(found, order) is not None)
            for order in ("DMY", "MDY", "YMD")}
    order = max(read, key=lambda order: read[order])
    if read["DMY"] != read["MDY"] or order == "YMD":
        return order, False
    return _likelier(parts, [text for text in cells if text in parts])


def _likelier(parts: Mapping[str, tuple[tuple[int, ...], str | None, int]], texts: Sequence[str]) -> tuple[str, bool]:
    """Day or month first, where both fit all cells; and whether nothing but custom decides."""
    rising = [order for order in ("DMY", "MDY") if _monotone([_arranged(parts[text], order) for text in texts])]
    if len(rising) == 1:
        return rising[0], False
    free = [numbers for numbers, own, _ in parts.values() if own is None]
    same = [len({numbers[place] for numbers in free}) == 1 for place in (0, 1)]
    if same[0] != same[1]:
        return ("DMY" if same[0] else "MDY"), False
    if all(numbers[0] == numbers[1] for numbers in free):       # such as 1/1/2020: either is right
        return "DMY", False
    return ("MDY" if sum("/" in text for text in parts) * 2 > len(parts) else "DMY"), True


def _monotone(moments: Sequence[int | None]) -> bool:
    """Whether numbers never fall, or never rise, from one to the next."""
    known = [moment for moment in moments if moment is not None]
    return all(a <= b for a, b in pairwise(known)) or all(a >= b for a, b in pairwise(known))
