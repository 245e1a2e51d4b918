"""Tables, lists and code of a page keep their structure, as editors and Outlook write it."""

from types import SimpleNamespace

from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.chunker import chunk
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.msg import _body


def blocks(page: str) -> list[Block]:
    return list(convert("a.html", page.encode()).blocks)


def rows(*cells: str, tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


HEAD = rows("Part", "Note", tag="th")
TABLE = "Part | Note\nbolt | steel\nnut | brass"
BODY = rows("bolt", "steel") + rows("nut", "brass")


class TestTables:
    def test_each_part_of_a_long_table_is_read_with_its_header(self):
        page = (
            f"<table>{HEAD}{''.join(rows(f'part {n}', 'made of steel and rarely of brass') for n in range(60))}</table>"
        )
        chunks = chunk(convert("a.html", page.encode()), None, min_words=40, max_words=120, embed_headings=True)
        assert len(chunks) > 5
        assert all(one.text.startswith("Part | Note\n") for one in chunks)

    def test_the_header_is_the_head_or_the_first_rows_of_names(self):
        for page in (f"<thead>{HEAD}</thead><tbody>{BODY}</tbody>", HEAD + BODY):
            assert blocks(f"<table>{page}</table>") == [Block("table", TABLE, header="Part | Note")]
        head = f"<thead>{rows('Part', 'Note')}</thead>"  # a head without names
        assert blocks(f"<table>{head}{BODY}</table>") == [Block("table", TABLE, header="Part | Note")]

    def test_a_table_of_named_rows_has_no_header(self):
        page = "<tr><th>Maker</th><td>Ada</td></tr><tr><th>Place</th><td>Ulm</td></tr>"
        assert blocks(f"<table>{page}</table>") == [Block("table", "Maker | Ada\nPlace | Ulm")]

    def test_paragraphs_in_cells_leave_rows_whole(self):
        body = rows("<p>bolt</p>", "<p>steel</p>") + rows("<p>nut</p>", "<p>brass</p>")
        assert blocks(f"<table>{HEAD}{body}</table>") == [Block("table", TABLE, header="Part | Note")]
        first = rows("<p>Part</p>", "<p>Note</p>")  # Word and Outlook name no header
        assert blocks(f"<table>{first}{body}</table>") == [Block("table", TABLE, header="Part | Note")]

    def test_lists_in_cells_leave_rows_whole_where_the_table_has_a_header(self):
        page = HEAD + rows("bolt", "<ul><li>steel</li><li>brass</li></ul>")
        assert blocks(f"<table>{page}</table>") == [
            Block("table", "Part | Note\nbolt | steel brass", header="Part | Note")
        ]

    def test_a_table_without_a_header_that_holds_sections_lays_out_a_page(self):
        page = rows("<h2>Left</h2><p>One.</p>", "<ul><li>two</li></ul>") + rows("three", "four")
        assert [(one.kind, one.text) for one in blocks(f"<table>{page}</table>")] == [
            ("heading", "Left"),
            ("paragraph", "One."),
            ("list", "- two"),
            ("paragraph", "three"),
            ("paragraph", "four"),
        ]

    def test_cells_that_span_leave_the_others_in_their_columns(self):
        page = (
            "<tr><th rowspan=2>Name</th><th colspan=2>Score</th></tr><tr><th>Math</th><th>Art</th></tr>"
            "<tr><td rowspan=2>Ada</td><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr>"
        )
        header = "Name | Score\n | Math | Art"
        assert blocks(f"<table>{page}</table>") == [Block("table", f"{header}\nAda | 1 | 2\n | 3 | 4", header=header)]


class TestLists:
    def test_nested_lists_are_indented_and_said_once(self):
        page = (
            "<ul><li>outer<ul><li>inner one</li><li>inner two<ol><li>deep</li></ol></li></ul>after</li>"
            "<li><p>last</p><p>of all</p></li></ul>"
        )
        lines = ["- outer", "  - inner one", "  - inner two", "    - deep", "  after", "- last of all"]
        assert blocks(page) == [Block("list", "\n".join(lines))]

    def test_terms_and_their_definitions_are_items(self):
        page = "<dl><div><dt>term</dt><dd>what it is</dd></div><dt>other</dt><dd>what that is</dd></dl>"
        assert blocks(page) == [Block("list", "- term\n- what it is\n- other\n- what that is")]

    def test_code_and_tables_in_an_item_stand_where_they_are(self):
        page = f"<ol><li>Run:<pre>a = 1\n  b</pre>Then look.</li><li>See<table>{HEAD}{BODY}</table></li></ol>"
        assert blocks(page) == [
            Block("list", "- Run:"),
            Block("code", "a = 1\n  b"),
            Block("list", "  Then look.\n- See"),
            Block("table", TABLE, header="Part | Note"),
        ]


def test_line_breaks_part_words_and_lines_of_code():
    page = "<h2>Foo<br>Bar</h2><ul><li>a<br>b</li></ul><pre>x<br>y</pre>"
    assert [one.text for one in blocks(page)] == ["Foo Bar", "- a b", "x\ny"]
    assert blocks(f"<table>{HEAD}{rows('a<br>b', '<div>c</div><div>d</div>')}</table>")[0].text.endswith("a b | c d")


def test_a_comment_does_not_part_a_paragraph():
    assert blocks("Words <!-- hidden --> go on.") == [Block("paragraph", "Words go on.")]


def test_the_page_of_a_message_is_read_the_same_way():
    page = f"<html><body><table>{HEAD}{BODY}</table><ul><li>a<ul><li>b</li></ul></li></ul></body></html>"
    assert _body(SimpleNamespace(html_body=page, body=""), "a.msg") == (
        Block("table", TABLE, header="Part | Note"),
        Block("list", "- a\n  - b"),
    )


def test_a_long_run_of_spaces_is_passed_once():
    spaces = " " * 1_000_000  # looked at from each of its places, it would take hours
    assert blocks(f"<div>a{spaces}<br>{spaces}b</div>") == [Block("paragraph", "a b")]
