"""An encoding is told by what is not UTF-8, wherever it stands, and nothing is replaced on the quiet."""

import pytest

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.plain_text import decode

ASCII = "Plain words of an export that nobody wrote by hand.\n" * 2000  # beyond what a sample of the beginning sees
GERMAN = "Die Größe der Straße überraschte die Gäste sehr, schrieb der Bürgermeister.\n"


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("cp1252", GERMAN),
        ("cp1252", "Der Preis beträgt 5 € für „Gäste“ – höchstens.\n"),
        ("cp1252", "L'élève a été reçu à l'école près de la forêt où naît l'été.\n"),
        ("cp1252", "Müller\n"),
        ("cp1250", "Zażółć gęślą jaźń, proszę państwa, i więcej słów po polsku.\n"),
        ("cp1251", "Привет, это русский текст для проверки кодировки файла.\n"),
        ("gb18030", "这是一个中文文本文件，用于测试编码检测的功能。\n"),
        ("shift_jis", "これは日本語のテキストファイルです。文字コードを判定します。\n"),
    ],
)
def test_one_line_after_a_hundred_kilobytes_of_ascii_tells_the_encoding(encoding: str, line: str):
    text = ASCII + line
    assert decode(text.encode(encoding), "a.txt") == text


@pytest.mark.parametrize(
    ("encodings", "text"),
    [
        (["cp1250"], "A szerződés felmondása esetén az előfizető köteles a készüléket hibátlanul visszaszolgáltatni."),
        (["cp1250"], "Kedves Ügyfelünk! Köszönjük a megrendelést, a csomagot három napon belül kézbesítjük."),
        (["cp1250", "iso8859_2"], "Umowa została zawarta na czas nieokreślony. Dziękujemy za złożenie zamówienia."),
        (["cp1250", "iso8859_2"], "Výbor rozhodl, že rozpočet bude příští rok zvýšen, protože loni chyběly peníze."),
        (["cp1250", "iso8859_2"], "Výbor rozhodol, že rozpočet bude budúci rok zvýšený, pretože chýbali peniaze."),
        (["iso8859_2"], "Comisia a hotărât că bugetul va fi mărit anul viitor, pentru drumuri şi şcoli."),
        (["cp1250"], "Odbor je odlučio da će proračun biti povećan, jer nije bilo dovoljno novca za škole."),
        (["cp1254"], "Komisyon, okullara para yetmediği için bütçenin gelecek yıl artırılmasına karar verdi."),
        (["cp1257"], "Komisija nolēma, ka budžets nākamgad tiks palielināts, jo pērn nepietika naudas ceļiem."),
        (["cp1252", "iso8859_15"], "Wir möchten für die Rechnung über 1200 € danken; Größe und Maß fügen wir bei."),
        (["cp1252", "iso8859_15"], "Nous vous remercions ; l'œuvre a été reçue à l'école, près de la forêt."),
        (["cp1252"], "¿Cuándo llegará el envío? El próximo año, señor García, según la comisión."),
        (["cp1252"], "A comissão decidiu que não há dinheiro para estradas, e o orçamento será menor."),
        (["cp1252"], "La commissione ha deciso: perché mancavano i soldi, più tardi si vedrà."),
        (["cp1252"], "Kommittén beslutade att budgeten ska höjas nästa år för vägar och skolor på landet."),
        (["cp1252"], "Udvalget besluttede, at budgettet skal hæves næste år; pengene rakte ikke på øen."),
        (["cp1251"], "Комиссия решила, что бюджет в будущем году будет увеличен."),
        (["cp1253"], "Η επιτροπή αποφάσισε ότι ο προϋπολογισμός θα αυξηθεί το επόμενο έτος."),
        (["shift_jis", "euc_jp"], "これは日本語のテキストファイルです。来年の予算を増やすことを委員会が決めました。"),
        (["gb18030"], "委员会决定明年增加预算，因为去年道路和学校的资金不足。"),
        (["cp949"], "위원회는 작년에 도로와 학교를 위한 돈이 부족했기 때문에 예산을 늘리기로 결정했습니다."),
    ],
)
def test_the_language_of_a_sentence_tells_its_encoding(encodings: list[str], text: str):
    for encoding in [*encodings, "utf-8", "utf-16"]:
        assert decode(text.encode(encoding), "a.txt") == text, encoding


@pytest.mark.parametrize(
    "text", ["São Paulo", "Smørrebrød", "± 5 °C", "© 2026 ACME®", "a ¦ b", "§ 3 ¶ 1", "£5, ¥7", "Zoë"]
)
def test_single_signs_among_ascii_are_western(text: str):
    assert decode(f"{text}\n".encode("cp1252"), "a.txt") == f"{text}\n"


def test_single_signs_of_another_script_are_not():
    assert decode("アイウ カキ".encode("shift_jis"), "a.txt") == "アイウ カキ"


def test_names_in_a_table_are_western_unless_a_language_says_otherwise():
    western = "id;name\n" + "".join(f"{n};Smith\n" for n in range(200)) + "201;Núñez\n202;Zoë Müller\n203;Åsa Strøm\n"
    assert decode(western.encode("cp1252"), "a.csv") == western
    polish = (
        western.replace("Núñez", "Łukasz Żółć").replace("Zoë Müller", "Grażyna Dąbrowska").replace("Åsa Strøm", "Ewa")
    )
    assert decode(polish.encode("cp1250"), "a.csv") == polish


def test_a_text_that_is_one_long_line_is_told_too():
    text = ASCII.replace("\n", " ") + GERMAN
    assert decode(text.encode("cp1252"), "a.txt") == text


def test_a_table_s_late_umlauts_are_read():
    text = "id;name;ort\n" + "".join(f"{n};Smith;London\n" for n in range(8000)) + "8001;Jäger;Düsseldorf\n"
    assert convert("a.csv", text.encode("cp1252")).blocks[0].text.endswith("8001 | Jäger | Düsseldorf")


@pytest.mark.parametrize("place", [0, 1500])
def test_a_line_of_another_encoding_does_not_spoil_the_utf8_around_it(place: int):
    lines = [GERMAN.encode()] * 1500
    lines.insert(place, GERMAN.encode("cp1252"))
    assert decode(b"".join(lines), "a.txt") == GERMAN * 1501


def test_what_no_encoding_has_is_refused_instead_of_replaced():
    text = ASCII + "これは日本語のテキストファイルです。文字コードを判定します。\n" * 2000
    with pytest.raises(UnreadableDocument, match="no encoding that has all of its bytes.*Save it as UTF-8"):
        decode(text.encode("shift_jis") + b"\x81\x00\xff", "a.txt")
