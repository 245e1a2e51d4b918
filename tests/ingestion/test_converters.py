"""What is kept, what is dropped, and what each broken file is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.pdf import OutlineEntry, page_blocks
from tests.pdf_files import pdf

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "formats"


def blocks(name: str, text: str) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in convert(name, text.encode()).blocks]


class TestMarkdown:
    def test_headings_lists_tables_and_code_are_kept_as_they_stand(self):
        text = "# A\n\nText with *stars*.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n\n\ny = 2\n```\n"
        assert blocks("a.md", text) == [
            ("heading", "A"),
            ("paragraph", "Text with *stars*."),
            ("list", "- one\n- two"),
            ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
            ("code", "```py\nx = 1\n\n\ny = 2\n```"),
        ]

    def test_the_title_is_the_front_matter_s_or_the_first_heading(self):
        assert convert("a.md", b"---\ntitle: Front\n---\n# Head\n\nText").title == "Front"
        assert convert("a.md", b"---\nbroken: [\n---\n# Head\n\nText").title == "Head"
        assert convert("a.md", b"Text only").title is None

    def test_mdx_loses_its_imports_tags_and_comments_and_keeps_what_they_wrap(self):
        text = (
            "import Tabs from '@theme/Tabs';\nexport const a = 1\n\n<Tabs a='b'>\n\nInside the tab.\n\n</Tabs>\n\n"
            "{/* hidden */}Seen.\n\n```js\nimport x from 'y';\n<Tag/>\n```\n\nIn `<code>` a tag is text.\n"
        )
        assert blocks("a.mdx", text) == [
            ("paragraph", "Inside the tab."),
            ("paragraph", "Seen."),
            ("code", "```js\nimport x from 'y';\n<Tag/>\n```"),
            ("paragraph", "In `<code>` a tag is text."),
        ]

    def test_mdx_exports_and_imports_may_span_lines_until_an_empty_one(self):
        text = (
            "import {\n  Tabs,\n  Tab,\n} from '@theme/Tabs'\n\nexport const meta = {\n  a: 1,\n}\n\n"
            "Exports are goods.\nimport the data\n\nexport everything\n"
        )
        assert [text for _, text in blocks("a.mdx", text)] == ["Exports are goods.\nimport the data"]
        assert "a: 1," in str(blocks("a.md", text))

    def test_links_keep_their_words(self):
        assert blocks("a.md", "See [the guide](guide.md) and ![a picture](p.png).") == [
            ("paragraph", "See the guide and a picture.")
        ]


class TestHtml:
    def test_the_main_content_is_kept_without_navigation_scripts_and_forms(self):
        page = (
            "<html><head><title>Tab</title><script>alert(1)</script></head><body><nav>Menu</nav><main><h1>Head</h1>"
            "<p>First <b>bold</b>\n  text.</p><form>Name?</form></main><footer>Imprint</footer></body></html>"
        )
        assert blocks("a.html", page) == [("heading", "Head"), ("paragraph", "First bold text.")]
        assert convert("a.html", page.encode()).title == "Head"

    def test_tables_lists_and_code_are_kept(self):
        page = (
            "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
            "<ul><li>x</li><li>y</li></ul><pre>  p = 1\n  q</pre>"
        )
        assert blocks("a.html", page) == [("table", "a | b\n1 | 2"), ("list", "- x\n- y"), ("code", "  p = 1\n  q")]

    def test_a_table_that_lays_out_a_page_is_read_as_one(self):
        page = f"<table><tr><td>menu</td><td><font>One.<br><br>Two,<br>on.</font>{'<p>Three.</p>'}</td></tr></table>"
        assert blocks("a.html", page) == [
            ("paragraph", "menu"),
            ("paragraph", "One."),
            ("paragraph", "Two, on."),
            ("paragraph", "Three."),
        ]

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "windows-1252"])
    def test_the_declared_encoding_counts(self, encoding: str):
        page = f"<html><head><meta charset='{encoding}'></head><body><p>Größe</p></body></html>"
        assert [block.text for block in convert("a.html", page.encode(encoding)).blocks] == ["Größe"]


class TestPlainText:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
    def test_encodings_are_detected(self, encoding: str):
        text = "Die Größe der Straße überraschte die Gäste sehr, schrieb der Bürgermeister. " * 3
        assert convert("a.txt", text.encode(encoding)).blocks[0].text == text.strip()

    def test_empty_lines_part_paragraphs(self):
        assert blocks("a.txt", "one\r\ntwo\r\n \r\nthree") == [("paragraph", "one\ntwo"), ("paragraph", "three")]


class TestPdf:
    def test_paragraphs_know_their_page(self):
        parsed = convert("a.pdf", pdf([["The first page says this."], ["The second page says that."]]))
        assert [(block.text, block.page) for block in parsed.blocks] == [
            ("The first page says this.", 1),
            ("The second page says that.", 2),
        ]

    def test_the_outline_s_entries_are_headings(self):
        data = pdf(
            [["1 Feeding", "Parrots eat seeds."], ["2 Travel", "A permit is needed."]],
            [("1 Feeding", 0), ("2 Travel", 1)],
        )
        assert [(block.kind, block.text, block.level) for block in convert("a.pdf", data).blocks] == [
            ("heading", "1 Feeding", 1),
            ("paragraph", "Parrots eat seeds.", 0),
            ("heading", "2 Travel", 1),
            ("paragraph", "A permit is needed.", 0),
        ]

    def test_a_heading_may_break_over_two_lines_and_differ_in_case(self):
        page = "Before.\nA LONG\nHEAD ING\nAfter."
        assert list(page_blocks(page, 3, [OutlineEntry("A long heading", 2, 3), OutlineEntry("Not there", 1, 3)])) == [
            Block("paragraph", "Before.", page=3),
            Block("heading", "A long heading", level=2, page=3),
            Block("paragraph", "After.", page=3),
        ]

    def test_a_scan_is_named_as_one(self):
        with pytest.raises(UnreadableDocument, match=r"has no text layer: its 2 pages are pictures.*OCR"):
            convert("scan.pdf", pdf([[], []]))

    def test_an_encrypted_file_is_named_as_one(self):
        with pytest.raises(UnreadableDocument, match="is encrypted"):
            convert("secret.pdf", pdf([["text"]], encrypted=True))

    def test_a_file_with_too_many_pages_is_refused(self):
        with pytest.raises(UnreadableDocument, match=r"has 3 pages, 2 are allowed.*max_pdf_pages"):
            convert("long.pdf", pdf([["x"]] * 3), max_pdf_pages=2)

    def test_a_cut_file_is_an_error_of_its_own(self):
        with pytest.raises(UnreadableDocument, match="no readable PDF"):
            convert("cut.pdf", pdf([["text"]])[:100])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.md", bytes(range(256)) * 8, "is binary"),
        ("a.txt", b"PK\x03\x04zip", "is a ZIP archive or an Office document, not text"),
        ("a.pdf", b"<html></html>", "is something else, not a PDF"),
        ("a.html", b"%PDF-1.4", "is a PDF, not text"),
        ("a.docm", b"text", "this kind of file can't be read"),
        ("program", b"\x7fELF\x02\x01", "this kind of file can't be read: it is a program"),
        ("noise", bytes(range(256)) * 8, "is binary"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old Office document. Save it as .docx"),
        ("a.xls", b"<table>", "this kind of file can't be read. Save it as .xlsx"),
        ("a.pptx", b"\xd0\xcf\x11\xe0\xa1\xb1", "not a presentation as its name says. Save it as .pptx"),
        ("a.docx", b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
        ("a.docx", b"text", "is something else, not a Word document"),
        ("a.msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "makes no sense"),
        ("a.rtf", b"text", "is no RTF"),
        ("a.json", b'{"a": ', "no readable JSON"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.html", b"<div>" * 10_000 + b"x", "nested too deeply"),
        ("a.csv", b"\n\n", "holds no text"),
        ("a.md", b" \n\n", "holds no text"),
        ("a.html", b"<html><body><script>x</script></body></html>", "holds no text"),
    ],
)
def test_what_is_not_what_its_name_says_is_refused_by_name(name: str, data: bytes, said: str):
    with pytest.raises(UnreadableDocument, match=said) as caught:
        convert(name, data)
    assert caught.value.where == name and caught.value.remedy


def test_a_name_without_a_suffix_is_a_text_s():
    (block,) = convert("docs/README", b"The owls hunt at night.").blocks
    assert (block.kind, block.text) == ("paragraph", "The owls hunt at night.")


@given(
    st.sampled_from(["a.md", "a.mdx", "a.txt", "a.html", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.rtf"]),
    st.one_of(st.binary(max_size=400), st.text(max_size=400)),
)
def test_any_bytes_give_blocks_or_a_clear_error(name: str, data: bytes | str):
    try:
        parsed = convert(name, data if isinstance(data, bytes) else data.encode(errors="replace"))
    except UnreadableDocument as error:
        assert name in str(error)
    else:
        assert any(block.text.strip() for block in parsed.blocks)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files are not beside this checkout")
def test_sample_files_of_other_tools_are_read():
    read, refused = {}, {}
    for file in sorted(file for file in SAMPLES.rglob("*") if file.is_file()):
        try:
            read[file.name] = convert(file.name, file.read_bytes())
        except UnreadableDocument as error:
            refused[file.name] = str(error)
    assert list(refused) == ["non_text_searchable.pdf"]
    paper = read["react_paper.pdf"]
    assert sum(block.kind == "heading" for block in paper.blocks) == 24
    assert max(block.page for block in paper.blocks) >= 31
    assert len(read["paul_graham_superlinear.html"].blocks) > 50
