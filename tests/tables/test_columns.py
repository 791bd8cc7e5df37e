"""What a column is taken for, how its cells are read, and what a user is told. Real files are read elsewhere."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fastnn.tables.columns import column_of, columns_of, convert
from fastnn.tables.dates import iso_moments, seconds
from fastnn.tables.giveaways import adds_up, gives_away
from fastnn.tables.kinds import Column, Reading
from fastnn.tables.numerals import SEPARATORS, Notation

pytestmark = pytest.mark.any_isa

NAN = float("nan")
MANY = [str(number / 4) for number in range(100)]       # numbers, too many different ones for categories
GAPS = ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "none", "-", "--", ".", "#N/A", " ", "\\N"]


def number(cells, **arguments):
    column = column_of("x", cells, **arguments)
    assert column.kind == "number", column.said
    assert column.values.dtype == np.float64 and column.values.shape == (len(cells),)
    return column


def dates(cells, **arguments):
    column = column_of("x", cells, **arguments)
    assert column.kind == "date", column.said
    assert column.values.dtype == np.dtype("datetime64[s]")
    return [str(value) for value in column.values]


def days(cells, **arguments):
    return [text.removesuffix("T00:00:00") for text in dates(cells, **arguments)]


# Numbers


@pytest.mark.parametrize(("cells", "expected"), [
    (["1", "-2", "+3", "3504.", ".5", "1e3", "00012"], [1, -2, 3, 3504, 0.5, 1000, 12]),
    (["3,5", "4", "-0,25", "1e2"], [3.5, 4, -0.25, 100]),
    (["1,234", "2,000,000", "7"], [1234, 2_000_000, 7]),
    (["1,234.5", "12", "0.5"], [1234.5, 12, 0.5]),
    (["1,234", "5,678"], [1234, 5678]),
    (["1.234 kg", "5.678 kg"], [1.234, 5.678]),
    (["12,34,567", "1,00,000.5"], [1_234_567, 100_000.5]),
    (["1.234,5", "12", "0,5"], [1234.5, 12, 0.5]),
    (["1.234.567", "12"], [1_234_567, 12]),
    (["1 234", "12", "1\u00a0234\u202f567"], [1234, 12, 1_234_567]),
    (["1 234,5", "12,25"], [1234.5, 12.25]),
    (["1'234.5", "1’000"], [1234.5, 1000]),
    (["1,234", "12,5"], [1.234, 12.5]),
    (["$2.39", "$10.98", "-$5", "$-6"], [2.39, 10.98, -5, -6]),
    (["US$ 1,200.50", "US$ 3"], [1200.5, 3]),
    (["2,39 €", "1.000,00 €"], [2.39, 1000]),
    (["Rs. 500", "Rs. 20"], [500, 20]),
    (["8GB", "16GB"], [8, 16]),
    (["1.37kg", "2 kg"], [1.37, 2]),
    (["45%", "5 %"], [45, 5]),
    (["2 bedrooms", "1 bedroom", "3 bedrooms"], [2, 1, 3]),
    (["20 km/h", "5 km/h"], [20, 5]),
    (["−3.5kg", "2kg"], [-3.5, 2]),
    (["−3", "2", "- 4"], [-3, 2, -4]),
    (["(5.00)", "3.25", "0"], [-5, 3.25, 0]),           # as accounts write numbers below 0
    (["(1,234.50)", "1,000"], [-1234.5, 1000]),
    (["($5.50)", "$(3)", "$2"], [-5.5, -3, 2]),
    (["(5 kg)", "2 kg"], [-5, 2]),
])
def test_numbers_are_read_as_they_are_written(cells, expected):
    assert number(cells).values.tolist() == expected


def test_a_unit_may_be_missing_in_few_cells():
    cells = [f"{n / 8}kg" for n in range(96)] + ["1", "2", "3", "4"]
    assert number(cells).values[-4:].tolist() == [1, 2, 3, 4]
    assert column_of("x", cells[:96] + MANY[1:60]).kind != "number"


@pytest.mark.parametrize("cells", [
    ["A11", "A12", "A14"],                              # codes
    ["1. Male", "2. Female"],
    ["0", "1", "2", "3+"],
    ["8GB", "1TB"],                                     # another unit is another size
    ["120/80", "130/85"],
    ["1_000", "2_000"],                                 # Python's own notation is no one else's
    ["1e999", "inf", "-inf", "1e100"],
    ["1.2.3", "1.2.4"],
    ["1,2,3", "4,5,6"],
    ["12.34.567", "1.234.567"],
    ["18:00Z", "19:00+02:00"],                          # a time of no day in a zone
    ["12,34", "1,234,5"],
    ["+-3", "--4"],
    ["+$-3", "$5"],
    ["1 2", "3 4"],
    ["0x10", "0x20"],
    ["1\x002", "1\x003"],
    ["(-5)", "(+3)"],
    ["(555) 123", "(556) 124"],
    ["(1", "2)"],
    ["((3))", "()"],
    ["\udc80", "1"],
])
def test_what_only_looks_like_numbers_is_a_category(cells):
    column = column_of("x", cells)
    assert column.kind == "category"
    assert column.values == cells


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("cells", [["1", "2", "4.5"], ["1,5", "2,5"], ["$3", "$4"], ["18:00", "19:00"]])
def test_usual_markers_are_gaps_among_numbers(gap, cells):
    column = number([*cells, gap])
    assert np.isnan(column.values).tolist() == [False] * len(cells) + [True]
    assert "1 gap" in column.said and (not gap.strip() or repr(gap) in column.said)


@pytest.mark.parametrize("notation", [Notation(*pair, prefix, suffix) for pair in SEPARATORS for prefix, suffix in
                                      [("", ""), ("$", ""), ("", "kg"), ("Rs.", ""), ("€", "m"), ("", "sq.ft")]])
def test_many_numbers_are_read_as_one_is(notation):
    """A cell that `numbers` reads has the value that `number` gives; what it does not read is left to that."""
    cores = ["1", "1,5", "1.5", "1,234", "1.234", "1 234", "1\u00a0234", "1'234", "12,34,567", "1.234,5", "1,234.5",
             ",5", ".5", "5.", "5,", "1e5", "1e99", "1e100", "1E-5", "", "x", "1_0", "1..2", "1,2,3", "9" * 59,
             "9" * 61, "٣"]
    cells = [template.format(core) for core in cores for template in (
        "{}", "-{}", "−{}", "+{}", "${}", "-${}", "$-{}", "--{}", "-$-{}", "$ {}", "{}kg", "{} kg", "{}kgs", "{} m",
        "{}ms", "Rs.{}", "Rs. {}", "€{}m", "{}sq.ft", "{} sq.fts", "({})", " {}", "{}\n", "{}kg5")]
    read = 0
    for cell in filter(None, cells):
        array = notation.numbers([cell, "", cell], "".__eq__)
        if array is not None:
            read += 1
            assert np.isnan(array).tolist() == [False, True, False]
            assert array[0] == array[2] == notation.number(cell)
    assert read > 20


def test_thousands_and_millions_may_be_letters():
    column = number(["€110.5M", "€500K", "€0", "€1.2B", "?", "€7"])
    assert column.values[[0, 1, 2, 3, 5]].tolist() == [110.5e6, 500e3, 0, 1.2e9, 7]
    assert column.said == "number, in '€', k, M and B behind it are thousands, millions and billions, 1 gap ('?')"
    assert number(["19M", "201k", "3.5M", "8.2 k"]).values.tolist() == [19e6, 201e3, 3.5e6, 8200]
    assert Reading.from_metadata(column.reading.as_metadata()) == column.reading
    assert number(["19M"] * 99 + ["201k"]).values[[0, 99]].tolist() == [19e6, 201e3]
    assert number(["7", "12", "1.2K"] * 9).values[:3].tolist() == [7, 12, 1200]
    assert number(["5K"] * 99 + ["42"]).values[[0, 99]].tolist() == [5, 42]     # more likely a forgotten unit
    assert number(["5K", "10K", "42K"]).values.tolist() == [5, 10, 42]      # all the same: a unit
    assert column_of("x", ["2A", "3B", "1C", "2B"]).kind == "category"


def test_numbers_without_a_currency_may_be_among_others():
    assert number(["0"] * 90 + ["$4.99", "$1"]).values[[0, 90, 91]].tolist() == [0, 4.99, 1]
    assert number(["10,000+", "500+", "1,000,000+"] * 10).values[:3].tolist() == [10_000, 500, 1_000_000]


def test_durations_are_seconds():
    column = number(["2h 50m", "19h", "45m", "1 hr 5 min"])
    assert column.values.tolist() == [10_200, 68_400, 2700, 3900] and column.said == "number, seconds of a time"
    assert number(["90 min", "45 min"]).values.tolist() == [90, 45]


@pytest.mark.parametrize("place", [0, 1, 1999])
def test_one_cell_in_thousands_may_decide_how_numbers_are_written(place):
    cells = [f"{n},{n}" for n in range(100, 999)] * 3
    assert number(cells).values[0] == 100_100
    cells[place] = "12,5"
    assert number(cells).values[2] == 102.102
    assert number(cells, missing=["12,5"]).values[2] == 102_102
    cells[place] = "?"
    assert number(cells).values[2] == 102_102
    cells[place] = "some"
    assert column_of("x", cells).said == (
        f"number, ',' between thousands, 1 gap ('some'), of which 1 is no number: 'some' in row {place + 2}")


def test_a_numeric_gap_is_one_however_it_is_written():
    column = number(["1", "-200", "-200.0", "3"], missing=["-200"])
    assert np.isnan(column.values).tolist() == [False, True, True, False]
    assert column.said == "number, 2 gaps ('-200', '-200.0')"
    assert np.isnan(number(["1,5", "-200", "-200,0"], missing=["-200"]).values).tolist() == [False, True, True]


def test_a_few_cells_that_are_no_numbers_are_gaps_and_said():
    column = column_of("x", [*MANY, "2100 - 2850", "un known", "?"])
    assert np.isnan(column.values).tolist() == [False] * len(MANY) + [True] * 3
    assert column.said == ("number, 3 gaps ('2100 - 2850', '?', 'un known'), of which 2 are no numbers: "
                           "'2100 - 2850' in row 102, …")
    other = convert("x", column.reading, ["1", "30 - 40", "2", ""])
    assert np.isnan(other.values).tolist() == [False, True, False, True]
    assert np.isnan(number([*MANY, "un known"], missing=["un known"]).values[-1])
    assert column_of("x", [*MANY[:50] * 2, "off"], "category").kind == "category"


def test_a_reading_that_knows_faults_refuses_a_column_of_them():
    reading = column_of("x", [*MANY, "some"]).reading
    assert reading.lenient and Reading.from_metadata(reading.as_metadata()) == reading
    with pytest.raises(ValueError, match="row 2, column 'x' is 'a', but must be a number"):
        convert("x", reading, ["a", "b", "1"])
    with pytest.raises(ValueError, match="row 3, column 'x' is 'some', but must be a number"):
        convert("x", replace(reading, lenient=False), ["1", "some"])


def test_a_few_cells_of_the_target_that_are_no_numbers_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError) as error:
        column_of("size x", [*MANY, "un known", "un known"], target=True)
    assert str(error.value) == (
        "row 102, column 'size x' is 'un known' (and so in 2 rows), but the column holds numbers in nearly all other "
        "rows; correct the cell, or say --missing='un known' where it means a gap, --as 'size x=number' where all that "
        "is no number does, or --as 'size x=category' where it is a value")
    assert np.isnan(column_of("size x", [*MANY, "un known"], "number", target=True).values[-1])


def test_one_text_in_half_of_the_rows_is_likely_a_gap():
    assert np.isnan(column_of("x", MANY + ["unknown"] * 90).values).sum() == 90
    with pytest.raises(ValueError, match="--missing=unknown"):
        column_of("x", MANY + ["unknown"] * 90, target=True)
    assert np.isnan(column_of("x", MANY + ["unknown"] * 30 + ["2 - 3"]).values).sum() == 31
    assert column_of("x", MANY + ["unknown", "missing"] * 45).kind == "category"
    assert column_of("x", [f"18:{n}" for n in range(10, 40)] + ["late"] * 40).kind == "category"


def test_few_different_values_with_text_among_them_are_categories():
    column = column_of("x", ["0"] * 500 + ["1"] * 300 + ["2"] * 100 + ["3+"])
    assert (column.kind, column.said) == ("category", "category, 4 different")


def test_long_cells_and_strange_ones_are_named_shortly():
    with pytest.raises(ValueError) as error:
        column_of("x", [*MANY, "y" * 1_000_000], target=True)
    assert len(column_of("x", [*MANY, "y" * 1_000_000]).said) < 300
    assert len(str(error.value)) < 300 and "--missing=TEXT" in str(error.value)
    with pytest.raises(ValueError) as error:
        column_of("x", [*MANY, "\x1b[31m\udc80\n"], target=True)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("cell", ["1" * 1_000_000, "1," * 500_000, "$" * 1_000_000, " 1" * 500_000, "1:" * 500_000,
                                  "jan " * 250_000, "." * 1_000_000,
                                  "18:00" + " " * 1_000_000 + "x", "2004-01-01 18:00" + " " * 1_000_000 + "x"])
def test_a_cell_of_a_million_characters_is_a_category(cell):
    assert column_of("x", ["a", "b", cell]).kind == "category"


# Dates and times


@pytest.mark.parametrize(("cells", "expected"), [
    (["2004-03-10", "1969-12-31"], ["2004-03-10", "1969-12-31"]),
    (["2004/3/1", "2004/12/31"], ["2004-03-01", "2004-12-31"]),
    (["1/12/2017", "13/12/2017"], ["2017-12-01", "2017-12-13"]),
    (["12/1/2017", "12/13/2017"], ["2017-12-01", "2017-12-13"]),
    (["31.12.99", "01.01.00"], ["1999-12-31", "2000-01-01"]),
    (["12-31-68", "01-01-69"], ["2068-12-31", "1969-01-01"]),
    (["99-12-31", "00-01-01"], ["1999-12-31", "2000-01-01"]),
    (["10 Mar 2004", "1-sept-2004", "2nd May 1999"], ["2004-03-10", "2004-09-01", "1999-05-02"]),
    (["10-Mar-04", "11-Mar-95"], ["2004-03-10", "1995-03-11"]),
    (["March 10, 2004", "Wednesday, May 5 2004"], ["2004-03-10", "2004-05-05"]),
    (["2004-Mar-10", "2004-Apr-11"], ["2004-03-10", "2004-04-11"]),
    (["1949-01", "1949-12"], ["1949-01-01", "1949-12-01"]),
    (["Dec-2011", "January 2012"], ["2011-12-01", "2012-01-01"]),
    (["20141013T000000", "20150225T000000"], ["2014-10-13", "2015-02-25"]),
])
def test_dates_are_read_as_they_are_written(cells, expected):
    assert days(cells) == expected


@pytest.mark.parametrize(("cell", "expected"), [
    ("2004-03-10 18:30", "2004-03-10T18:30:00"),
    ("2004-03-10T18:30:05.250Z", "2004-03-10T18:30:05"),
    ("2004-03-10T01:30:00+02:00", "2004-03-09T23:30:00"),
    ("2004-03-10 23:30:00 -0130", "2004-03-11T01:00:00"),
    ("3/31/2004 6:05:01 PM", "2004-03-31T18:05:01"),
    ("31/3/2004, 12:00 am", "2004-03-31T00:00:00"),
    ("31.03.2004 24:00", "2004-04-01T00:00:00"),
])
def test_dates_with_times(cell, expected):
    assert dates([cell, "2004-05-31 00:00"])[0] == expected


def test_times_alone_are_numbers_of_seconds():
    column = number(["18:00:00", "6:30 PM", "00:00:01.5", "125:00"])
    assert column.values.tolist() == [64800, 66600, 1.5, 450000]
    assert column.said == "number, seconds of a time"
    assert number(["18.00.00", "19.00.00", "00.00.00"]).values.tolist() == [64800, 68400, 0]


@pytest.mark.parametrize("cells", [["30/02/2004", "31/04/2004"], ["2004-13-01", "2004-00-10"], ["18:60", "19:60"],
                                   ["0000-01-01", "0000-01-02"], ["99999-01-01", "1-1-1"], ["13:00 PM", "14:00 PM"]])
def test_days_and_times_that_do_not_exist_are_text(cells):
    assert column_of("x", cells).kind == "category"


@pytest.mark.parametrize(("cells", "order"), [
    (["01/02/2004", "01/02/2004", "05/01/2004"], "MDY"),        # slashes: month first
    (["01.02.2004", "05.04.2004", "03.01.2004"], "DMY"),        # full stops: day first
    (["01-02-2004", "05-04-2004", "03-01-2004"], "DMY"),
])
def test_where_both_orders_fit_custom_decides_and_it_is_said(cells, order):
    column = column_of("x", cells)
    assert column.reading.order == order
    assert "(both orders fit)" in column.said


@pytest.mark.parametrize(("cells", "order"), [
    (["11/01/2004", "12/01/2004", "01/02/2004"], "DMY"),        # rises only so
    (["01/11/2004", "01/12/2004", "02/01/2004"], "MDY"),
    (["02/03/2004", "01/05/2004", "01/04/2004"], "MDY"),        # falls only so
    (["01/01/2004", "01/02/2004", "01/03/2004"], "DMY"),        # a table of months: the day is always 1
    (["13/01/2004", "01/02/2003", "01/03/2004"], "DMY"),        # there is no month 13
])
def test_the_whole_column_decides_on_the_order(cells, order):
    column = column_of("x", cells)
    assert column.reading.order == order
    assert "both" not in column.said


def test_gaps_among_dates_and_faults():
    column = column_of("x", ["2004-03-10", "", "NaT", "?"])
    assert np.isnat(column.values).tolist() == [False, True, True, True]
    assert column.said == "date, 3 gaps ('?', 'NaT')"
    assert column_of("x", ["NA", "2004-03-10", "2004-03-11 10:00"]).said == "date, 1 gap ('NA')"
    column = column_of("x", ["1900-01-01", "2004-03-10", "2004-03-11 00:00:00"], missing=["2004-03-11", "1900-01-01"])
    assert column.said == "date, 2 gaps ('1900-01-01', '2004-03-11 00:00:00')"
    many = [f"{1 + n % 28}/{1 + n % 12}/2004" for n in range(84)]
    with pytest.raises(ValueError, match=r"row 86, column 'x' is '30/2/2004', but the column holds dates in nearly"):
        column_of("x", [*many, "30/2/2004"], target=True)
    assert np.isnat(column_of("x", [*many, "30/2/2004"]).values).tolist() == [False] * 84 + [True]


def test_as_date_reads_what_would_be_numbers():
    assert days(["20040310", "20041231"], kind="date") == ["2004-03-10", "2004-12-31"]
    assert days(["2004", "1999"], kind="date") == ["2004-01-01", "1999-01-01"]
    assert column_of("x", ["20040310", "20041231"]).kind == "number"
    with pytest.raises(ValueError, match="row 3, column 'x' is 'soon', but the column was said to be a date"):
        column_of("x", ["2004-01-01", "soon"], "date")
    with pytest.raises(ValueError, match="row 2, column 'x' is 'soon'"):
        column_of("x", ["soon"], "date")


@pytest.mark.parametrize("cells", [
    ["2024-12-31", "0001-01-01", "9999-12-31"], ["2024-12-31 23:59", "2024-12-31T00:00:01", "1969-01-01"],
    ["", "2024-02-29", ""]])
def test_many_iso_dates_are_read_as_one_is(cells):
    array = iso_moments(cells, "".__eq__)
    assert array.dtype == "datetime64[s]"
    assert [None if np.isnat(value) else value.astype(int) for value in array] == [
        seconds(cell, "YMD") if cell else None for cell in cells]


@pytest.mark.parametrize("cell", ["2024-02-30", "0000-01-01", "2024-1-1", "2024-01-01 24:00", "2024-01-01 10:00:60",
                                  "2024-01-01Z", "NaT", " ", "2024-01", "20240101", "2024-01-01\n", "x",
                                  "2024-01-01 10:00:00.5", "2024-01-01\n2024-01-01", "٢٠٢٤-01-01"])
def test_other_dates_are_left_to_the_one_by_one(cell):
    assert iso_moments(["2024-01-01", cell], "".__eq__) is None
    assert iso_moments([cell, "2024-01-01"], "".__eq__) is None


def test_days_as_workbooks_count_are_dates_if_the_user_says_so():
    cells = ["45352", "45353.75", "", "25569"]
    assert column_of("x", cells).kind == "number"
    column = column_of("x", cells, "date")
    assert column.said == "date, days as workbooks count, 1 gap"
    assert days(cells, kind="date") == ["2024-03-01", "2024-03-02T18:00:00", "NaT", "1970-01-01"]
    reading = Reading.from_metadata(json.loads(json.dumps(column.reading.as_metadata())))
    assert convert("x", reading, np.array([45352.0, NAN])).values.tolist()[0] == column.values[0].item()
    with pytest.raises(ValueError, match="row 3, column 'x' is 'soon', but must be a date; type one such as 45657"):
        convert("x", reading, ["45352", "soon"])
    for no_date in (["1", "2", "3"], ["-45352", "1"], ["9" * 100_000]):
        with pytest.raises(ValueError, match="but the column was said to be a date"):
            column_of("x", no_date, "date")


# Categories, and what is left out


def test_in_text_only_an_empty_cell_is_a_gap():
    column = column_of("x", ["a", "none", "NA", "?", "", "unknown", " "])
    assert column.values == ["a", "none", "NA", "?", None, "unknown", None]
    assert column.said == "category, 5 different, 2 gaps"
    assert column_of("x", ["a", "b", "NA", ""], missing=["NA"]).values == ["a", "b", None, None]


def test_yes_and_no_are_the_same_in_any_spelling():
    column = column_of("x", ["True", "False", "TRUE", "false", ""])
    assert column.values == ["true", "false", "true", "false", None]
    assert convert("x", column.reading, ["FALSE", "perhaps"]).values == ["false", "perhaps"]
    assert column_of("x", ["No", "no", "Other"]).values == ["No", "no", "Other"]
    assert column_of("x", ["True", "False"], target=True).values == ["True", "False"]


def test_numbers_as_categories_are_the_same_in_any_notation():
    column = column_of("x", ["1", "2", "3", ""], "category")
    assert column.values == ["1", "2", "3", None]
    assert convert("x", column.reading, ["1.0", "2.5", "x"]).values == ["1", "2.5", "x"]
    assert column_of("x", ["0", "00", "1"], "category").values == ["0", "00", "1"]      # codes that differ


def test_codes_with_zeros_in_front_are_categories():
    cells = ["00123", "01234", "10001", "00123", "", "90210"]
    column = column_of("zip", cells)
    assert (column.kind, column.said) == ("category", "category, 4 different, 1 gap, codes with zeros in front")
    assert column.values == ["123", "1234", "10001", "123", None, "90210"]
    for same in (["123", "1234", "10001", "123", "", "90210"], np.array([123, 1234, 10001, 123, NAN, 90210])):
        assert convert("zip", column.reading, same).values == column.values
    assert column_of("zip", cells, "number").values[0] == 123
    assert column_of("zip", cells, target=True).kind == "number"
    assert column_of("zip", ["007"] * 9).kind == "constant"


@pytest.mark.parametrize("cells", [
    ["00123", "1234", "99999"], ["0.12", "0.25"], ["01", "02", "12"], ["2015", "2016"], ["-012", "0123"],
    ["0", "1"], ["0000.5", "000001"], ["1e5", "0e1"], ["00123", "NA ", "0012"], ["0" * 40, "1" * 40]])
def test_other_numbers_stay_numbers(cells):
    assert column_of("x", cells).kind == "number"


def test_what_says_nothing_is_left_out():
    words = [f"w{n}" for n in range(100)]
    for cells, kind, why in [
            ([str(n) for n in range(30)], "id", "it counts the rows from 0"),
            ([f"{n}.0" for n in range(1, 30)], "id", "it counts the rows from 1"),
            (words, "id", "100 different texts in 100 rows"),
            ([f"he wrote {n} words" for n in range(60)] + ["he wrote"] * 40, "text",
             "61 different texts of several words in 100 rows"),
            (["x"] * 9, "constant", "'x' in each row"), (["7.0"] * 9, "constant", "7 in each row"),
            (["2004-01-01"] * 9, "constant", "'2004-01-01' in each row"),
            (["?", "NA", "?"], "constant", "no value in any row"), (["", ""], "constant", "no value in any row"),
            (["nan", "NaN"], "constant", "no value in any row"),
            ([], "constant", "no value in any row"), (["a"], "constant", "'a' in each row")]:
        column = column_of("x", cells)
        assert (column.kind, column.left_out, column.said) == (kind, True, f"{kind}, left out: {why}")
        assert isinstance(column.values, list) and len(column.values) == len(cells)


@pytest.mark.parametrize(("name", "kind"), [
    ("id", "id"), ("ID", "id"), ("PassengerId", "id"), ("laptop_ID", "id"), ("order id", "id"), ("index", "id"),
    ("Unnamed: 0", "id"), ("paid", "number"), ("grid", "number"), ("idea", "number"), ("x", "number")])
def test_different_whole_numbers_are_an_id_by_their_name(name, kind):
    cells = ["7", "3", "9", "12", "11"]
    assert column_of(name, cells).kind == kind
    assert column_of(name, [*cells, "7"]).kind == "number"
    assert column_of(name, cells, "number").kind == "number"
    assert column_of(name, cells, target=True).kind == "number"


def test_a_gap_beside_one_value_says_something():
    assert column_of("x", ["Yes", "", "Yes"]).kind == "category"
    assert column_of("x", ["5", "", "5"]).kind == "number"


def test_the_user_has_the_last_word():
    assert column_of("x", ["0", "1", "2"], "number").kind == "number"
    assert column_of("x", ["a b", "c d"], "text").kind == "text"
    assert column_of("x", [f"w{n}" for n in range(100)], "category").kind == "category"
    with pytest.raises(ValueError, match="row 2, column 'x' is 'a', but the column was said to be a number"):
        column_of("x", ["a", "1"], "number")
    with pytest.raises(ValueError, match="'numbr', but must be one of category, number, date, text"):
        column_of("x", ["1"], "numbr")


# A whole table


def test_columns_come_in_the_order_of_the_table():
    table = {"id": ["0", "1", "2"], "b": ["x", "y", "x"], "a": ["1", "", "5"], "y": ["1", "1", "1"]}
    columns = columns_of(table, "y", {"a": "category"}, ["x"])
    assert {name: column.kind for name, column in columns.items()} == {
        "id": "id", "b": "category", "a": "category", "y": "number"}
    assert columns["b"].values == [None, "y", None]
    with pytest.raises(ValueError, match="there is no column 'c', but the table has 'id, b, a, y'"):
        columns_of(table, "y", {"c": "number"})


def test_the_target_is_never_left_out():
    for cells in ([str(n) for n in range(30)], [f"w{n}" for n in range(30)], ["x"] * 30, ["a b c d"] * 30):
        assert not columns_of({"y": cells}, "y")["y"].left_out


# At predict time


@pytest.mark.parametrize("cells", [
    ["1", "2.5", ""], ["1,5", "2"], ["1,234.5", "2"], ["$3", "$4.25"], ["8GB", "4GB"], ["18:00", "19:00:01"],
    ["1/12/2017", "13/12/2017"], ["12/1/2017", "12/13/2017"], ["2004-01-01", "NA"], ["True", "False"], ["a", "b", ""]])
def test_a_reading_survives_the_file_and_reads_the_same(cells):
    column = column_of("x", cells, missing=["gone", "-1"])
    plain = json.loads(json.dumps(column.reading.as_metadata()))
    reading = Reading.from_metadata(plain)
    assert reading == column.reading
    again = convert("x", reading, [*cells, "gone"])
    assert again.kind == column.kind
    np.testing.assert_array_equal(again.values[:-1], column.values)
    assert again.values[-1] is None or again.values[-1] != again.values[-1]


@pytest.mark.parametrize("plain", [
    None, 3, [], {}, "number", {"kind": "id"}, {"kind": "number", "decimal": "."}, {"kind": "number", "decimal": ";"},
    {"kind": "number", "decimal": ",", "thousands": ","}, {"kind": "number", "prefix": 3}, {"kind": "number", "x": 1},
    {"kind": "number", "gaps": []}, {"kind": "number", "gaps": "abc"}, {"kind": "number", "gaps": [1]},
    {"kind": "number", "clock": 1}, {"kind": "number", "clock": True, "suffix": "s"},
    {"kind": "category", "suffix": "s"},
    {"kind": "date"}, {"kind": "date", "order": "YDM"}, {"kind": "category", "order": "DMY"},
    {"kind": "text", "spelling": "lower"}, {"kind": "category", "spelling": "upper"}, {"kind": ["number"]},
    {"kind": "number", "notation": {}}, {"kind": "number", "decimal": ["."]}, {"kind": "number", "gaps": None}])
def test_only_what_as_metadata_writes_is_a_reading(plain):
    with pytest.raises(ValueError, match="how a column is read is .*, but must be what fastnn writes to a model file"):
        Reading.from_metadata(plain)


@pytest.mark.parametrize(("cells", "cell", "advice"), [
    (["1", "2"], "x", "must be a number; type one such as 1.5, or leave the cell empty"),
    (["1,5", "2,5"], "2.5", "must be a number; type one such as 1,5, or leave"),
    (["8GB", "4GB"], "8TB", "type one such as 1.5GB"), (["$8", "$4"], "€8", "type one such as $1.5"),
    (["1", "2"], "1e999", "must be a number"), (["1", "2"], "$3", "must be a number"), (["1", "2"], "1_0", "a number"),
    (["18:00", "19:00"], "18", "such as 18:30:00"),
    (["1/12/2017", "13/12/2017"], "12/13/2017", "must be a date; type one such as 31/12/2024"),
    (["2004-01-01", "2004-01-02"], "01/02/2004", "such as 2024-12-31")])
def test_a_cell_that_cannot_be_read_later_is_an_error_with_an_example(cells, cell, advice):
    reading = column_of("the name", cells).reading
    with pytest.raises(ValueError) as error:
        convert("the name", reading, [cells[0], cell, cell])
    assert str(error.value).startswith(f"row 3, column 'the name' is {cell!r}, but ") and advice in str(error.value)
    convert("the name", reading, [reading.example()])           # the advice is good


def test_later_a_unit_may_be_missing_and_a_category_new():
    assert convert("x", column_of("x", ["8GB", "16GB"]).reading, ["4", "4 GB"]).values.tolist() == [4, 4]
    assert convert("x", column_of("x", ["a", "b"]).reading, ["c", ""]).values == ["c", None]
    assert convert("x", Reading("number"), []).values.shape == (0,)
    assert days(["13/12/2017", "1/12/2017"]) == [
        str(day)[:10] for day in convert("x", Reading("date", order="DMY"), ["2017-12-13", "1 Dec 2017"]).values]


# Cells that come as numbers or dates


@pytest.mark.parametrize("values", [
    [1.5, NAN, 2], [0, 1, 2], [7, 7, 7], [NAN, NAN], [5, 3, 9, 12], [1, 2, 3.5], [-200, 1, NAN, 5], [1e11, 0], [3]])
@pytest.mark.parametrize("name", ["x", "user_id"])
@pytest.mark.parametrize("kind", [None, "number", "category", "text"])
@pytest.mark.parametrize("target", [False, True])
def test_numbers_are_taken_for_what_their_text_is(values, name, kind, target):
    texts = ["" if value != value else f"{value:.12g}" for value in values]
    typed, text = (column_of(name, cells, kind, ["-200"], target=target) for cells in (np.array(values, float), texts))
    assert (typed.kind, typed.said, typed.reading) == (text.kind, text.said, text.reading)
    np.testing.assert_array_equal(typed.values, text.values)


@pytest.mark.parametrize("texts", [
    ["2024-05-01", "", "2024-05-02 18:30:00"], ["2024-05-01"] * 3, ["", ""], ["1999-01-01", "2024-05-01", ""]])
@pytest.mark.parametrize("kind", [None, "date", "category"])
def test_dates_are_taken_for_what_their_text_is(texts, kind):
    moments = np.array([text.replace(" ", "T") or "NaT" for text in texts], "datetime64[s]")
    typed, text = (column_of("x", cells, kind, ["1999-01-01"]) for cells in (moments, texts))
    assert typed.kind == text.kind and typed.said == text.said
    np.testing.assert_array_equal(typed.values, text.values)


def test_numbers_as_categories_have_canonical_text():
    column = column_of("x", np.array([1.0, 2.5, NAN, 1.0, 3]), "category")
    assert column.values == ["1", "2.5", None, "1", "3"]
    assert convert("x", column.reading, ["1.0", "01", "2.50"]).values == ["1", "1", "2.5"]
    exact = column_of("x", ["1", "01", "2"], "category").reading
    assert convert("x", exact, np.array([1.0, 2, NAN])).values == ["1", "2", None]
    lower = column_of("x", ["True", "False"]).reading
    assert convert("x", lower, ["TRUE"]).values == ["true"]


@pytest.mark.parametrize("cells", [["$1.5", "$2"], ["1,5", "2"], ["18:00", "19:00"], ["8GB", "1GB"]])
def test_numbers_need_no_notation(cells):
    reading = column_of("x", cells).reading
    assert convert("x", reading, np.array([1.5, 64800])).values.tolist() == [1.5, 64800]


def test_text_is_read_where_dates_were_learned_and_the_other_way_round():
    moments = np.array(["2024-05-01", "NaT"], "datetime64[s]")
    reading = column_of("x", moments).reading
    assert reading == Reading("date", order="YMD")
    np.testing.assert_array_equal(convert("x", reading, ["2024-05-01", ""]).values, moments)
    np.testing.assert_array_equal(convert("x", Reading("date", order="DMY"), moments).values, moments)
    assert convert("x", Reading("category"), moments).values == ["2024-05-01", None]


def test_numbers_are_no_dates_and_dates_no_numbers():
    with pytest.raises(ValueError, match="row 5, column 'x' is '1.5', but the column was said to be a date; correct"):
        column_of("x", np.array([1.5, 2]), "date", first_row=5)
    with pytest.raises(ValueError, match="row 0, column 'x' is '2024-05-01', but must be a number; type one such as"):
        convert("x", Reading("number"), np.array(["2024-05-01"], "M8[s]"), 0)
    with pytest.raises(ValueError, match="row 2, column 'x' is '5', but must be a date; type one such as 2024-12-31"):
        convert("x", Reading("date", order="YMD"), np.array([5.0]))
    assert str(column_of("x", np.array([20240310, 20240311.0]), "date").values[0]) == "2024-03-10T00:00:00"  # as text


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e100, -1e300])
def test_infinite_numbers_are_refused_as_in_text(value):
    values = np.arange(30) / 4
    values[7] = value
    for kind in (None, "number"):
        with pytest.raises(ValueError, match=r"row 9, column 'x' is '.*', but the column .*correct the cell, or say "
                                             r"--missing=\S+ where it means a gap"):
            column_of("x", values, kind)
    with pytest.raises(ValueError, match="row 9, column 'x' is .*, but must be a number"):
        convert("x", Reading("number"), values)
    column = column_of("x", values, missing=[f"{value:g}"])
    assert np.isnan(column.values).nonzero()[0].tolist() == [7]


# What gives the target away


def column(kind, values):
    array = {"number": np.float64, "date": "datetime64[s]"}.get(kind)
    return Column("x", kind, values if array is None else np.array(values, array), "", Reading("category"))


def test_a_column_that_says_the_target_again_is_found():
    survived = column("number", [0, 1, 1, 0, 0, 1])
    assert gives_away(column("category", ["no", "yes", "yes", "no", "no", "yes"]), survived)
    assert gives_away(column("category", ["no", None, None, "no", "no", None]), survived)
    assert not gives_away(column("category", ["no", "yes", "yes", "no", "yes", "yes"]), survived)
    assert not gives_away(column("category", ["a", "b", "c", "a", "a", "b"]), survived)


def test_all_different_values_give_nothing_away():
    price = column("number", [3.5, 1, 2, 9, 7])
    assert not gives_away(column("category", list("abcde")), price)
    assert not gives_away(column("number", [1, 2, 3, 4, 5]), price)
    assert not gives_away(column("constant", ["a"] * 5), column("category", ["a"] * 5))


@pytest.mark.parametrize("factor", [2.5, -1e-3, 1e90, 1e-200])
def test_numbers_that_are_equal_up_to_a_factor_are_found(factor):
    y = np.random.default_rng(0).normal(size=50)
    assert gives_away(column("number", y * factor), column("number", y))
    assert gives_away(column("number", np.where(np.arange(50) == 7, NAN, y * factor)), column("number", y))
    assert not gives_away(column("number", (y + 1e-3 * np.sin(np.arange(50))) * factor), column("number", y))


def test_too_few_numbers_give_nothing_away():
    y = column("number", [1.0, 2.5, NAN, NAN, 4])
    assert not gives_away(column("number", [3.0, 9, 4, 5, NAN]), y)
    assert not gives_away(column("number", [NAN] * 5), y)
    assert not gives_away(column("number", []), column("number", []))


def adding(n=300, **others):
    """Columns of whole numbers of which none says anything of another."""
    rng = np.random.default_rng(0)
    return {name: column("number", rng.integers(0, 50, n)) for name in ("a", "b", "c", "d")} | others


@pytest.mark.parametrize("formula", [np.add, np.subtract, lambda a, b: b - a, np.multiply, lambda a, b: -(b - a)])
@pytest.mark.parametrize("factor", [1, 0.1, 1e-9, 1e40])
def test_two_columns_that_make_the_target_are_found(formula, factor):
    columns = adding()
    a, b = (column("number", columns[name].values * factor) for name in "bd")
    columns |= {"b": a, "d": b, "text": column("category", ["x"] * 300), "same": column("number", [7] * 300)}
    target = formula(a.values, b.values)
    assert adds_up(columns, column("number", target)) == ["b", "d"]
    target[150] = 2 * target.max() - target[150]
    assert adds_up(columns, column("number", target)) is None


def test_gaps_say_nothing_of_a_sum():
    columns = adding(gap=column("number", np.where(np.arange(300) % 3 == 0, NAN, np.arange(300))))
    target = columns["a"].values + columns["gap"].values
    assert adds_up(columns, column("number", target)) == ["a", "gap"]
    target[::3] = 5
    assert adds_up(columns, column("number", target)) == ["a", "gap"]
    target[1] = 5
    assert adds_up(columns, column("number", target)) is None
    few = column("number", np.where(np.arange(300) < 20, np.arange(300), NAN))
    assert adds_up(columns | {"few": few}, column("number", columns["a"].values + few.values)) is None


def test_few_different_targets_or_none_add_up_to_nothing():
    columns = adding()
    bits = {name: column("number", columns[name].values % 2) for name in columns}
    assert adds_up(bits, column("number", bits["a"].values * bits["b"].values)) is None     # to be learned
    assert adds_up(columns, column("category", ["x"] * 300)) is None
    assert adds_up({}, column("number", np.arange(300))) is None
    assert adds_up(columns, column("number", [NAN] * 300)) is None
    assert adds_up(adding(0), column("number", [])) is None
    assert adds_up({"a": columns["a"]}, columns["b"]) is None


def test_very_many_columns_are_tried_up_to_a_bound():
    rng = np.random.default_rng(0)
    columns = {f"c{n}": column("number", rng.normal(size=100)) for n in range(2000)}
    for second, found in (("c199", ["c0", "c199"]), ("c1999", None)):
        assert adds_up(columns, column("number", columns["c0"].values + columns[second].values)) == found
