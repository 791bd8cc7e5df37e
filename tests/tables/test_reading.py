"""Tables in files are read as they stand: every separator, encoding, compression and kind of header that people have.

Each test writes a small file of one kind and compares its columns with what they are.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import re
import threading
import tracemalloc
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from fastnn.tables import reading
from fastnn.tables.columns import column_of, columns_of
from fastnn.tables.headers import is_number
from fastnn.tables.reading import read_table

pytestmark = pytest.mark.any_isa
ROWS = [["name", "size", "weight"], ["first", "1.5", "10"], ["second", "2.5", "20"], ["third", "-3", "30"]]
COLUMNS = {"name": ["first", "second", "third"], "size": ["1.5", "2.5", "-3"], "weight": ["10", "20", "30"]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(text, encoding="utf-8", **options):
    Path("t").write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_table("t", **options)


def cells(*arguments, **options):
    return read(*arguments, **options).cells


def joined(separator, rows=ROWS, end="\n"):
    return "".join(separator.join(row) + end for row in rows)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", "   ", " \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_separator_is_found(separator, end):
    assert cells(joined(separator, end=end)) == COLUMNS


def test_a_comma_between_digits_is_no_separator_beside_another_one():
    rows = [["a", "b", "c"], *[[f"{i},5", f"{i},25", f"{i},125"] for i in range(5)]]
    for separator in ";", "\t", "|":
        assert cells(joined(separator, rows)) == dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))


def test_text_may_hold_other_separators():
    rows = [["what", "price"], *[[f"rice, beans | {i}; cheese and so on", f"{i}.50"] for i in range(9)]]
    rows[3][0] = "no such thing"
    assert cells(joined("\t", rows))["what"] == [row[0] for row in rows[1:]]
    assert cells(joined(",", [[f'"{row[0]}"', row[1]] for row in rows]))["what"] == [row[0] for row in rows[1:]]


def test_words_with_spaces_beside_runs_of_spaces_are_quoted():
    text = '18.0   8   307.0  1\t"chevrolet chevelle malibu"\n15.0   8   350.0  1\t"buick ""sky"" lark"\n'
    assert list(cells(text).values()) == [
        ["18.0", "15.0"], ["8", "8"], ["307.0", "350.0"], ["1", "1"], ["chevrolet chevelle malibu", 'buick "sky" lark']]


def test_rows_may_be_quoted_once_more():
    text = 'school;sex;age\n"""GP"";""F"";18"\n"""MS"";""M; or so"";17"\n'
    assert cells(text) == {"school": ["GP", "MS"], "sex": ["F", "M; or so"], "age": ["18", "17"]}


def test_a_cell_may_hold_lines_and_quotes():
    assert cells('a,b\n"one\ntwo",1\n"say ""so""",2\n') == {"a": ["one\ntwo", 'say "so"'], "b": ["1", "2"]}


def test_a_separator_may_be_given():
    text = "a,b;c\n1,2;3\n4,5;6\n"
    assert cells(text, separator=",") == {"a": ["1", "4"], "b;c": ["2;3", "5;6"]}
    assert cells(text, separator=";") == {"a,b": ["1,2", "4,5"], "c": ["3", "6"]}


@pytest.mark.parametrize("encoding, found", [
    ("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16"), ("cp1252", "Windows-1252"),
    ("latin-1", "Windows-1252")])
def test_the_encoding_is_found(encoding, found):
    text = joined(",", [["Größe", "café"], ["1", "ü"], ["2", "é"]])
    assert cells(text, encoding) == {"Größe": ["1", "2"], "café": ["ü", "é"]}
    assert read_table("t").said.startswith(found)


def test_utf_16_of_the_other_order():
    assert cells(b"\xfe\xff" + joined(",").encode("utf-16-be")) == COLUMNS


def test_bytes_that_windows_1252_lacks_are_read_too():
    assert list(cells(b"a,b\n\x81x,1\n\xe9,2\n")) == ["a", "b"]


def zipped(data, *names):
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize("compress", [
    gzip.compress, bz2.compress, lzma.compress, lambda data: zipped(data, "folder/", "t.csv", "__MACOSX/t.csv")],
    ids=["gzip", "bz2", "xz", "zip"])
def test_a_compressed_file_is_unpacked(compress):
    assert cells(compress(joined(";").encode())) == COLUMNS


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bz2", "xz"])
def test_half_a_compressed_file_is_refused(compress):
    data = compress(joined(",", ROWS * 200).encode())
    with pytest.raises(ValueError, match="t is compressed, but not whole: .*; copy it again"):
        cells(data[:len(data) // 2])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, lambda data: zipped(data, "t")],
                         ids=["gzip", "bz2", "xz", "zip"])
def test_a_changed_byte_of_a_compressed_file_is_refused_or_changes_nothing(compress):
    data = compress(joined(",", ROWS * 20).encode())
    whole = cells(data)
    for place in range(6, len(data)):
        for value in (0, data[place] ^ 0x55):
            with contextlib.suppress(ValueError):
                assert cells(data[:place] + bytes([value]) + data[place + 1:]) == whole


def test_an_archive_of_several_files_is_refused():
    with pytest.raises(ValueError, match=r"t holds 2 files \(a, b\), but must hold one; unpack it"):
        cells(zipped(b"", "a", "b"))
    with pytest.raises(ValueError, match="t is a zip archive that cannot be unpacked"):
        cells(zipped(b"x" * 100, "a")[:60])


def test_no_more_is_unpacked_than_is_read_at_once(monkeypatch):
    monkeypatch.setattr(reading, "MOST_BYTES", 1000)
    for compress in (gzip.compress, bz2.compress, lzma.compress, lambda data: zipped(data, "t"), bytes):
        with pytest.raises(ValueError, match="which is more than is read at once; pass a part of its rows"):
            cells(compress(b"1,2\n" * 1000))


@pytest.mark.parametrize("rows, header", [
    (ROWS, True),                                                                       # text above numbers
    (ROWS[1:], False),                                                                  # numbers above numbers
    ([["A11", "6", "A34"], ["A12", "48", "A32"], ["A14", "12", "A34"]], False),
    ([["2", "1", "?"], ["1", "?", "5"], ["2", "1", "7"]], False),                       # a gap says nothing
    ([["country", "1990", "1991", "1992"], ["Chile", "3", "4", "5"], ["Peru", "6", "7", "8"]], True),     # counts up
    ([["a", "b"], ["x", "y"], ["z", "w"]], True),                                       # text alone, none again
    ([["x", "y"], ["x", "z"], ["z", "y"]], False),                                      # text that occurs again
    ([["id", "3"], ["1", "4"], ["2", "5"]], True)])                                     # one name is a number
def test_whether_a_row_names_the_columns_is_found(rows, header):
    table = cells(joined(",", rows))
    names = rows[0] if header else list(map(str, range(len(rows[0]))))
    assert list(table) == names and read_table("t").first_row == 1 + header
    assert list(map(list, zip(*table.values(), strict=True))) == rows[header:]


def test_the_header_may_be_given():
    assert list(cells(joined(","), header=False)["0"]) == ["name", "first", "second", "third"]
    assert list(cells(joined(",", ROWS[1:]), header=True)) == ["first", "1.5", "10"]


def test_a_model_knows_whether_a_row_names_its_columns():
    one = joined(",", [["7", "8"], ["9", "10"]])
    assert cells(one, expected=["0", "1"]) == {"0": ["7", "9"], "1": ["8", "10"]}
    assert cells(one, expected=["8", "7"]) == {"7": ["9"], "8": ["10"]}
    assert cells("x,y\na,b\n", expected=["y"]) == {"x": ["a"], "y": ["b"]}
    assert cells("a,b\n", expected=["y"]) == {"0": ["a"], "1": ["b"]}


def test_names_are_made_where_they_lack_or_occur_twice():
    assert list(cells(",a,a,b,\n0,1,2,3,4\n1,5,6,7,8\n")) == ["0", "a", "a (2)", "b", "4"]
    assert len(set(cells("a,a,a (2)\nx,y,z\n", header=True))) == 3


def test_names_of_rows_without_a_name_above_them_are_a_column():
    assert cells('"mpg","cyl"\n"Mazda",21,6\n"Fiat",32,4\n') == {
        "0": ["Mazda", "Fiat"], "mpg": ["21", "32"], "cyl": ["6", "4"]}


def test_spaces_around_cells_and_rows_of_nothing_do_not_count():
    assert cells(" a , b \n\n1 ,  2\n\n3,4\n\n , \n\n") == {"a": ["1", "3"], "b": ["2", "4"]}


def test_empty_cells_at_the_end_of_rows_are_dropped_and_other_lengths_refused():
    numbers = [str(i) for i in range(20)]
    text = "a;b\n" + "".join(f"{i};{i};;\n" for i in numbers)
    assert cells(text) == cells(text + "3;3\n") | {"a": numbers, "b": numbers}
    with pytest.raises(ValueError, match="t: row 4 has 3 cells, but most rows have 2; mend it, or leave it out"):
        cells("a,b\n1,2\n3,4\n5,6,7\n8,9\n")
    with pytest.raises(ValueError, match="t: row 3 has 1 cells, but most rows have 2"):
        cells("a,b\n1,2\n3\n5,6\n8,9\n")


@pytest.mark.parametrize("data, sentence", [
    (b"", "t has no rows, so there is nothing to learn from"),
    (b"\n\n , \n", "t has no rows"),
    (b"a,b\n", "t has one row, which names the columns, and none of cells"),
    (b"a,b\n1,\x002\n", "t holds NUL characters, so it is no table of text"),
    (b"\xff\xfea", "t begins as UTF-16, but byte 2 is not; save it as UTF-8"),
    (b'a,b\n1,"' + b"x" * 200_000, "t cannot be read as cells separated by commas: field larger than field limit"),
    (b"\xd0\xcf\x11\xe0 and so on", "t is no Excel workbook that can be read|needs python-calamine"),
    (b"PAR1 and so on", "t is no Parquet file that can be read|needs duckdb")])
def test_what_is_no_table_is_refused_in_one_sentence(data, sentence):
    with pytest.raises((ValueError, ImportError), match=sentence):
        cells(data)


def test_very_many_columns_are_read():
    table = cells(",".join(map(str, range(100_000))) + "\n" + ",".join(["1"] * 100_000) + "\n")
    assert len(table) == 100_000


def test_a_pipe_is_read_and_a_device_is_not():
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(joined(";"), encoding="utf-8"))
    writer.start()
    assert read_table("pipe").cells == COLUMNS
    writer.join()
    with pytest.raises(OSError, match="/dev/zero is a device, but must be a file or a pipe"):
        read_table("/dev/zero")


def test_a_parquet_file():
    polars = pytest.importorskip("polars", reason="NOT TESTED: polars is not installed")
    frame = polars.DataFrame({"name": ["a", None], "size": [1.0, 2.5], "on": [True, False], "n": [3, None],
                              "1": [date(2024, 5, 1), None]})
    frame.write_parquet("t.parquet")
    table = read_table("t.parquet")
    assert table.first_row == 0 and table.said == "Parquet, rows counted from 0"
    assert {name: list(table.texts(name)) for name in table.cells} == {
        "name": ["a", ""], "size": ["1", "2.5"], "on": ["True", "False"], "n": ["3", ""], "1": ["2024-05-01", ""]}
    assert [getattr(cells, "dtype", "text") for cells in table.cells.values()] == [
        "text", "float64", "text", "float64", "datetime64[s]"]
    for bad, sentence in ((frame.clear(), "has no rows"), (polars.DataFrame({"x": [[1]]}), "row 0, column 'x' holds")):
        bad.write_parquet("t.parquet")
        with pytest.raises((TypeError, ValueError), match=f"t.parquet:? {sentence}"):
            read_table("t.parquet")


def test_an_excel_workbook():
    pytest.importorskip("python_calamine", reason="NOT TESTED: python-calamine is not installed")
    rows = [["day", "size", "text"], ["2024-03-01", "28", "a"], ["2024-03-02", "1.5", ""]]
    Path("t.xlsx").write_bytes(workbook(rows))
    assert read_table("t.xlsx").cells == {
        "day": ["2024-03-01", "2024-03-02"], "size": ["28", "1.5"], "text": ["a", ""]}


def test_dates_and_times_in_an_excel_workbook_are_dates_and_times():
    pytest.importorskip("python_calamine", reason="NOT TESTED: python-calamine is not installed")
    rows = [["day", "moment", "hour", "long", "serial"],
            [date(2024, 3, 1), datetime(2024, 3, 1, 18, 30), time(18, 30), timedelta(hours=30), "45352"],
            [date(2024, 3, 2), datetime(2024, 3, 2, 0, 0), time(6, 0, 5), timedelta(seconds=5), "45353.75"]]
    Path("t.xlsx").write_bytes(workbook(rows))
    table = read_table("t.xlsx")
    assert table.cells["day"] == ["2024-03-01", "2024-03-02"] and table.cells["hour"] == ["18:30:00", "06:00:05"]
    for name, first in (("day", np.datetime64("2024-03-01")), ("moment", np.datetime64("2024-03-01T18:30"))):
        column = column_of(name, table.cells[name])
        assert column.kind == "date" and column.values[0] == first
    assert column_of("hour", table.cells["hour"]).values.tolist() == [66600, 21605]
    assert column_of("long", table.cells["long"]).values.tolist() == [108000, 5]
    assert column_of("serial", table.cells["serial"]).kind == "number"          # only the user knows that it is a date
    assert list(map(str, column_of("serial", table.cells["serial"], "date").values)) == [
        "2024-03-01T00:00:00", "2024-03-02T18:00:00"]


# Much text in little memory


def test_cells_are_a_sequence_over_several_blocks(monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 7)        # 3 rows of 2 cells
    texts = [f"{n}, {n}" * (n % 3) for n in range(299)]
    column = cells("a;b\n" + "".join(f"{text};1\n" for text in texts))["a"]
    assert isinstance(column, Sequence) and len(column) == 299 and list(column) == texts
    assert [column[n] for n in range(299)] == texts and column[-1] == texts[-1] and column[5:200:7] == texts[5:200:7]
    assert column == texts and column != texts[:-1] and column != "x" and list(reversed(column)) == texts[::-1]
    assert column.count("") == texts.count("") and texts[4] in column and "none such" not in column
    for outside in (299, -300):
        with pytest.raises(IndexError):
            column[outside]


def test_a_file_takes_little_more_memory_than_its_size(monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 1 << 10)
    text = "a,b,c,day\n" + "".join(f"{n}.25,{n % 7},red,2024-03-{n % 28 + 1:02}\n" for n in range(20_000))
    Path("t").write_text(text, encoding="utf-8")
    tracemalloc.start()
    table = read_table("t")
    columns_of(table.cells, "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(text)     # with a list of rows it was 17 times


@pytest.mark.parametrize("place", [5, 150, 250, 999])
def test_a_row_of_another_length_is_named_wherever_it_is(place):
    rows = [f"{n},{n}" for n in range(1000)]
    rows[place] += ",1"
    with pytest.raises(ValueError, match=f"t: row {place + 1} has 3 cells, but most rows have 2; mend it"):
        cells("\n".join(rows))
    rows[place] = "7"
    with pytest.raises(ValueError, match=f"t: row {place + 1} has 1 cells, but most rows have 2; mend it"):
        cells("\n".join(rows))


def test_rows_without_names_have_as_many_cells_as_the_others():
    with pytest.raises(ValueError, match="t: row 1 has 2 cells, but most rows have 3; mend it, or leave it out"):
        cells("1,2\n1,2,3\n4,5,6\n", header=False)


def workbook(rows):
    """The smallest Excel workbook with these cells: numbers where they look so, else text."""
    def cell(place, text):
        if not text:
            return ""
        for style, kind in enumerate((datetime, date, time, timedelta), 1):
            if isinstance(text, kind):
                return f'<c r="{place}" s="{style}"><v>{serial(text)!r}</v></c>'
        if is_number(text):
            return f'<c r="{place}"><v>{text}</v></c>'
        return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'

    def serial(value):
        """A date or a time as workbooks keep it: days since 1899-12-30."""
        if isinstance(value, time):
            value = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
        if isinstance(value, date):
            value = datetime(*value.timetuple()[:6]) - datetime(1899, 12, 30)
        return value / timedelta(days=1)

    lines = "".join(f'<row r="{i}">' + "".join(cell(f"{chr(65 + j)}{i}", text) for j, text in enumerate(row)) + "</row>"
                    for i, row in enumerate(rows, 1))
    space, package = "http://schemas.openxmlformats.org/", "application/vnd.openxmlformats-package."
    office = "application/vnd.openxmlformats-officedocument.spreadsheetml."
    relations = f"{space}package/2006/relationships"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{space}package/2006/content-types"><Default Extension="rels" '
        f'ContentType="{package}relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{office}sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="{office}styles+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{office}worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{relations}"><Relationship Id="rId1" Type='
        f'"{space}officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{space}spreadsheetml/2006/main" xmlns:r="{space}officeDocument/2006/'
        'relationships"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{relations}"><Relationship Id="rId1" '
        f'Type="{space}officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{space}spreadsheetml/2006/main"><cellXfs>' + "".join(
            f'<xf numFmtId="{number}"/>' for number in (0, 22, 14, 21, 46)) + "</cellXfs></styleSheet>",
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{space}spreadsheetml/2006/main"><sheetData>{lines}</sheetData>'
        "</worksheet>"}
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def test_a_row_of_gaps_is_a_row_between_others():
    """As it is in a frame: each row gets its own prediction."""
    assert cells(",\na,b\n1,2\n,\n\n3,4\n , \n,\n\n") == {"a": ["1", "", "3"], "b": ["2", "", "4"]}
    assert cells("a,b,c\n1,2,3\n,\n3,4,5\n") == {"a": ["1", "", "3"], "b": ["2", "", "4"], "c": ["3", "", "5"]}
    with pytest.raises(ValueError, match="t: row 5 has 3 cells"):
        cells("a,b\n1,2\n,\n3,4\n5,6,7\n")


def test_more_columns_than_a_model_holds_are_refused_at_their_first_row():
    with pytest.raises(ValueError, match="t has a row of 131073 cells, which are more than 131072; keep the columns"):
        cells("a" + ",a" * 131_072 + "\n" + "not read")


@pytest.mark.parametrize("name, hint", [
    ("ziel wert", "; did you mean 'Ziel Wert'?"), (" ZielWert", "; did you mean 'Ziel Wert'?"),
    ("groesse", "; did you mean 'Grösse'?"), ("y", ""), ("x" * 10_000, "")])
def test_an_unknown_name_is_answered_with_a_known_one(name, hint):
    with pytest.raises(ValueError, match=re.escape(f"t has no column {name!r}; it has Ziel Wert, Grösse{hint}") + "$"):
        read("Ziel Wert,Grösse\n1,2\n").column(name)


def test_few_of_many_names_are_listed():
    with pytest.raises(ValueError, match=r"c0, c1, .*c19, …; did you mean 'c5000'\?$"):
        read(",".join(f"c{i}" for i in range(6000)) + "\n" + "1," * 6000).column("C5000")


@pytest.mark.parametrize("data, header", [("A,B\n1,x\n2,y\n", True), ("1,x\n2,y\n", False)])
def test_a_first_row_of_other_names_than_expected_is_judged_as_any(data, header):
    assert read(data, expected=["a", "b"]).first_row == 1 + header


def test_a_table_without_rows_is_nothing_to_predict():
    with pytest.raises(ValueError, match="none of cells, so there is nothing to predict; pass another file"):
        read("a,b\n", expected=["a"])


# Lines that are no rows, and more than one row of names


@pytest.mark.parametrize("above", [
    "# Results\n", "# Results, of 2015, and more\n#\n# from, there\n", "% weights; in g\n", "Results\n",
    "Results,,\n\n", "Weights of all\nin 2015\n"])
def test_comments_and_titles_above_a_table_are_no_rows(above):
    for separator in (",", ";", "\t"):
        table = read(above + joined(separator))
        assert table.cells == COLUMNS
        lines = sum(any(line.strip(",")) for line in above.splitlines())
        assert table.first_row == lines + 2
        assert f"row {lines + 1} names the columns, {lines} above the table and 0 below it are no rows" in table.said


def test_a_comment_may_be_the_row_of_names():
    assert cells("# x y\n1 2\n3 4\n") == {"x": ["1", "3"], "y": ["2", "4"]}
    assert cells("# made today\n#x,y\n1,2\n3,4\n") == {"x": ["1", "3"], "y": ["2", "4"]}
    assert cells("#,name\n1,red\n2,blue\n") == {"#": ["1", "2"], "name": ["red", "blue"]}


def test_cells_that_begin_as_comments_do_are_cells():
    assert cells("#ff0000,1\n#00ff00,2\n#0000ff,3\n", header=False)["0"] == ["#ff0000", "#00ff00", "#0000ff"]
    assert cells("colour,n\n#ff0000,1\n#00ff00,2\n")["colour"] == ["#ff0000", "#00ff00"]


def test_lines_below_a_table_are_no_rows():
    table = read(joined(",") + "\nSource: the office\n")
    assert table.cells == COLUMNS and "0 above the table and 1 below it are no rows" in table.said
    with pytest.raises(ValueError, match="t: row 5 has 1 cells, but most rows have 3"):
        cells(joined(",") + "note\nfourth,1,2\n")


def test_the_row_of_names_once_more_is_a_row_of_gaps():
    numbers = [str(n) for n in range(30)]
    table = read("a,b\n" + "".join(f"{n},{n}\n" for n in numbers) + "a,b\n5,6\n")
    assert table.cells == {"a": [*numbers, "", "5"], "b": [*numbers, "", "6"]}
    assert read("a,b\na,b\na,c\n", header=False).cells == {"0": ["a", "a", "a"], "1": ["b", "b", "c"]}


@pytest.mark.parametrize("first, second, names", [
    ("time,T,p", "s,K,K", ["time", "T", "p"]),
    (",X1,X2", "ID,age,pay", ["ID", "age", "pay"]),
    ("n,,b", ",Yes,Response", ["n", "Yes", "b"])])
def test_a_second_row_of_names_or_of_units_is_no_row(first, second, names):
    rows = "".join(f"{n},{n}.5,{n % 7}\n" for n in range(20))
    table = read(f"{first}\n{second}\n{rows}")
    assert list(table.cells) == names and len(table) == 20 and table.first_row == 3
    assert "rows 1 and 2 name the columns" in table.said
    assert len(read(f"{first}\nx,1,y\n{rows}")) == 21       # a number among them: a row like others


ARFF = """% Flowers
@RELATION flowers

@attribute 'petal length' numeric
@ATTRIBUTE	"colour"	{red, 'light blue'}
@attribute it\\'s {yes,no}  % a comment
@data
1.5, red, yes
% none
?,'light blue',no
3,?,yes
"""


def test_an_arff_file():
    table = read(ARFF)
    assert table.cells == {"petal length": ["1.5", "", "3"], "colour": ["red", "light blue", ""],
                           "it's": ["yes", "no", "yes"]}
    assert table.first_row == 2 and table.said == "ARFF, rows counted from @data"
    assert read(ARFF, expected=["colour"]).cells == table.cells
    double = ARFF.replace("'light blue',no", '"light blue",no').replace("1.5, red", '1.5, "red"')
    assert read(double).cells == table.cells


@pytest.mark.parametrize("rows, sentence", [
    ("{0 1.5, 1 red}\n", "t is an ARFF file of sparse rows, which are not read; save it as CSV"),
    ("1,red\n2,red,no\n2,red,no\n", "t: row 2 has 2 cells, but most rows have 3"),
    ("", "t has one row, which names the columns"),
    ("1,'" + "x" * 200_000, "t cannot be read as an ARFF file: field larger than field limit")])
def test_an_arff_file_that_is_none_is_refused(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(ARFF.partition("1.5")[0] + rows)
