"""What a header in C does with each column of a table: the row's member, functions, the statement that adds features.

The arithmetic is that of encoding.py. c_export.py is the only caller; it puts the networks behind these features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..interchange.c_text import array, commented, identifier, literal, string, utf8
from .encoding import CALENDAR, Category, Date, Number
from .exports import described, gap_numbers
from .numerals import plain_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .kinds import Reading
    from .recipe import Recipe

PARTS = ("days", *CALENDAR)         # of a date, in the order in which C holds them
MOST_LETTERS = 60                   # of a member's name
# Names that a member cannot have: words of C and C++, and macros of usual headers that are in small letters. Names
# without a small letter, as most macros have, become small.
TAKEN = """
    alignas alignof and and_eq asm assert auto bitand bitor bool break case catch char char8_t char16_t char32_t class
    co_await co_return co_yield compl complex concept const const_cast consteval constexpr constinit continue decltype
    default delete do double dynamic_cast else enum environ errno explicit export extern false far final float for
    fortran friend goto huge i386 if imaginary import inline int interface linux long module mutable namespace near new
    noexcept noreturn not not_eq nullptr operator or or_eq override pascal private protected public register
    reinterpret_cast requires restrict return short signed sizeof small static static_assert static_cast stderr stdin
    stdout struct switch template this thread_local throw true try typedef typeid typename typeof typeof_unqual union
    unix unsigned using virtual void volatile wchar_t while xor xor_eq
"""
ROW = """\
/* One row of the table. A number that is not known is NAN, a text that is not known NULL or empty. */
typedef struct {{
{members}}} {name}_row;
"""
NUMBER = """\
/* Adds the features of a number: scaled, whether it is a gap, its place in each bin. Returns where the next ones go. */
static inline float *{name}_number(float *to, double x, double median, double scale, int gaps,
    const {NAME}_MEMORY double *edges, int n_edges)
{{
    const int gap = x != x;
    double z;
    int i;
    x = gap ? median : x < -1e100 ? -1e100 : x > 1e100 ? 1e100 : x;
    z = (x - median) / scale;
    z = z < -1e9 ? -1e9 : z > 1e9 ? 1e9 : z;
    *to++ = (float)(z / sqrt(1 + z / 3 * (z / 3)));
    if (gaps)
        *to++ = (float)gap;
    for (i = 1; i < n_edges; i++) {{
        z = (x - edges[i - 1]) / (edges[i] - edges[i - 1]);
        *to++ = (float)(z < 0 ? 0 : z > 1 ? 1 : z);
    }}
    return to;
}}
"""
DATE = """\
/* The numbers of a date in seconds since 1970: days since `first`, year, month, weekday (Monday is 0), hour; NAN all if
 * it is a gap. Years of an era begin on the first of March, when a leap day is the last day of its year. */
static inline void {name}_date(double *parts, double seconds, double first)
{{
    long long second, day, era, year, month;
    int i;
    for (i = 0; i < 5; i++)
        parts[i] = seconds;
    if (seconds != seconds)
        return;
    seconds = floor(seconds);
    second = (long long)(seconds < -9.2e18 ? -9.2e18 : seconds > 9.2e18 ? 9.2e18 : seconds);
    parts[0] = ((double)second - first) / 86400;
    day = second / 86400 - (second % 86400 < 0);
    second -= day * 86400;
    parts[3] = (double)(((day + 3) % 7 + 7) % 7);
    parts[4] = (double)(second / 3600);
    day += 719468;                                      /* since the first of March of the year 0 */
    era = day / 146097 - (day % 146097 < 0);
    day -= era * 146097;
    year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    month = (5 * (day - 365 * year - year / 4 + year / 100) + 2) / 153;
    parts[1] = (double)(year + 400 * era + month / 10);
    parts[2] = (double)((month + 2) % 12 + 1);
}}
"""
ONE_HOT = """\
/* Adds n features: 1 at a place, if that is one of them, and 0 elsewhere. */
static inline float *{name}_one_hot(float *to, int place, int n)
{{
    int i;
    for (i = 0; i < n; i++)
        *to++ = i == place ? 1.0f : 0.0f;
    return to;
}}

/* Whether texts are the same. */
static inline int {name}_same(const char *text, const {NAME}_MEMORY char *known)
{{
    for (; *text && *text == *known; text++)
        known++;
    return *text == *known;
}}
"""
SAME_LOWER = """\
/* Whether a text is the same as one in small letters, in letters of any size. */
static inline int {name}_same_lower(const char *text, const {NAME}_MEMORY char *known)
{{
    for (; *text && (*text >= 'A' && *text <= 'Z' ? *text - 'A' + 'a' : *text) == *known; text++)
        known++;
    return *text == *known;
}}
"""
NUMERAL = """\
/* The number that a text holds, or NAN. */
static inline double {name}_numeral(const char *text)
{{
    char *end;
    const double number = strtod(text, &end);
    if (end == text || *end || text[strspn(text, "+-.0123456789eE")])
        return (double)NAN;
    return fabs(number) < 1e100 ? number : (double)NAN;
}}
"""
CATEGORY = """\
/* The place of {what} among its features; {other} is any other text. */
static inline int {name}_category_{number}(const char *text)
{{
{known}    if (!text || !*text{gaps})
        return {gap};
{find}    return {other};
}}
"""
KNOWN = "    static const {NAME}_MEMORY char texts[{n}][{width}] = {{\n        {strings}\n    }};\n    int i;\n"
NUMBERS = """\
    static const {NAME}_MEMORY double numbers[{n}] = {{{numbers}}};
    const double number = text ? {name}_numeral(text) : 0;
"""
FIND = "    for (i = 0; i < {n}; i++)\n        if ({name}_{same}(text, texts[i]){number})\n            return i;\n"


class Columns:
    """The columns of a recipe in C; `words` are those of c_text.py, and numbers are double."""

    def __init__(self, recipe: Recipe, words: Mapping[str, str]) -> None:
        self.words = {**words, "T": "double", "f": ""}
        self.columns = list(zip(member_names(recipe.readings), recipe.readings.values(), recipe.encoding.columns,
                                strict=True))
        self.edges: list[float] = []        # of the bins of all numbers, one after another
        self.statements = "".join(self._statement(index) for index in range(len(self.columns)))

    @property
    def has_dates(self) -> bool:
        return any(isinstance(encoded, Date) for _, _, encoded in self.columns)

    @property
    def has_numerals(self) -> bool:
        """Whether some categories are numbers, which have many spellings."""
        return any(reading.spelling == "number" for _, reading, _ in self.columns)

    def row(self) -> str:
        """The type of a row."""
        lines = []
        for member, reading, encoded in self.columns:
            declared = f"const char *{member};" if isinstance(encoded, Category) else f"double {member};"
            lines.append(f"    {declared:31} /* {commented(f'{encoded.name}: {described(reading)}')} */\n")
        return ROW.format(**self.words, members="".join(lines))

    def functions(self) -> str:
        """Constants and functions that `statements` use."""
        texts = []
        if not all(isinstance(encoded, Category) for _, _, encoded in self.columns):
            texts += [array(self.words, "edges", np.array(self.edges or [0.0])), NUMBER.format(**self.words)]
        if self.has_dates:
            texts.append(DATE.format(**self.words))
        spellings = {reading.spelling for _, reading, encoded in self.columns if isinstance(encoded, Category)}
        if spellings:
            texts.append(ONE_HOT.format(**self.words))
        texts += [text.format(**self.words) for spelling, text in (("lower", SAME_LOWER), ("number", NUMERAL))
                  if spelling in spellings]
        texts += [self._category(index, reading, encoded) for index, (_, reading, encoded) in enumerate(self.columns)
                  if isinstance(encoded, Category)]
        return "\n".join(texts)

    def _statement(self, index: int) -> str:
        """What adds a column's features, in a function that has the row and `to`."""
        member, reading, encoded = self.columns[index]
        name, value = self.words["name"], f"row->{member}"
        if isinstance(encoded, Category):
            return (f"    to = {name}_one_hot(to, {name}_category_{index}({value}), "
                    f"{len(encoded.names())});\n")
        gaps = " || ".join(f"{value} == {self._number(gap)}" for gap in gap_numbers(reading))
        known = f"{gaps} ? (double)NAN : {value}" if gaps else value
        if isinstance(encoded, Number):
            return self._add(known, encoded)
        return f"    {name}_date(parts, {known}, {self._number(encoded.first)});\n" + "".join(
            self._add(f"parts[{PARTS.index(part.name)}]", part) for part in encoded.parts)

    def _add(self, value: str, encoded: Number) -> str:
        """The statement that adds the features of a number."""
        name, start = self.words["name"], len(self.edges)
        self.edges += encoded.edges
        return (f"    to = {name}_number(to, {value}, {self._number(encoded.median)}, {self._number(encoded.scale)}, "
                f"{encoded.gaps:d}, {name}_edges + {start}, {len(encoded.edges)});\n")

    def _category(self, index: int, reading: Reading, encoded: Category) -> str:
        """The function that finds a text among the categories of a column."""
        count, words = len(encoded.categories), self.words
        # No text in C has a NUL character within.
        texts = ["" if "\0" in text else text for text in encoded.categories]
        known = find = ""
        if texts:
            known = KNOWN.format(**words, n=count, width=1 + max(len(utf8(text)) for text in texts),
                                 strings=",\n        ".join(map(string, texts)))
            find = FIND.format(**words, n=count, same="same_lower" if reading.spelling == "lower" else "same",
                               number=" || number == numbers[i]" if reading.spelling == "number" else "")
        if texts and reading.spelling == "number":
            numbers = [plain_number(text) for text in texts]
            known += NUMBERS.format(**words, n=count, numbers=", ".join(
                "(double)NAN" if number is None else self._number(number) for number in numbers))
        gaps = "".join(f" || {words['name']}_same(text, {string(gap)})" for gap in reading.gaps if "\0" not in gap)
        return CATEGORY.format(
            **words, number=index, what=commented(encoded.name), known=known, find=find, gaps=gaps,
            gap=count + encoded.other if encoded.gaps else -1, other=count if encoded.other else -1)

    def _number(self, value: float) -> str:
        return literal(value, self.words)


def member_names(columns: Iterable[str]) -> list[str]:
    """A name in C for each column, each of its own."""
    names: dict[str, None] = {}         # in order
    numbers: dict[str, int] = {}        # of the last column with such a name
    reserved = set(TAKEN.split())
    for column in columns:
        name = identifier(column, "column")[:MOST_LETTERS]
        name = name.lower() if name == name.upper() else name
        name = own = f"{name}_" if name in reserved else name
        while own in names:
            numbers[name] = numbers.get(name, 1) + 1
            own = f"{name}_{numbers[name]}"
        names[own] = None
    return list(names)
