"""A job tells of what its documents lost exactly as a run in one process does, once they are in, and goes on telling."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragsaver.cli.jobs import tell_notes
from ragsaver.ingestion.job_report import State
from ragsaver.settings import DatabaseSettings
from tests.ingestion.bench import SCOPE
from tests.ingestion.converters.office_files import xlsx
from tests.pdf_files import PICTURE, pdf
from tests.redis_server import RedisServer
from tests.workers.test_outlines_and_expiry import put_files, whole_way
from tests.workers.test_stages import Line


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    made = Line(tmp_path, redis, database)
    (made.bench.docs / "a.md").write_text("# A\n\nthe zebra")
    (made.bench.docs / "scan.pdf").write_bytes(pdf([["Owls hunt voles."], []], drawn={1: PICTURE}))
    (made.bench.docs / "sums.xlsx").write_bytes(xlsx({"S": [["Name", "Sum"], ["Tea", "=1+1"]]}))
    yield made
    made.close()


def test_a_job_tells_the_same_as_a_run_in_one_process(line: Line, capsys: pytest.CaptureFixture[str]):
    ids = put_files(line)
    assert whole_way(line, ids) == [State.APPLIED] * 3
    told = line.report(ids[0])
    assert len(line.bench.manifest.originals.noted(SCOPE)) == 2
    line.bench.ingestor().forget(SCOPE, lambda known: list(known.values()))
    alone = line.bench.ingest()
    assert (told.notes, told.noted) == (alone.notes, alone.noted)
    assert told.noted == {"pages-without-text": 1, "formulas-without-value": 1}
    tell_notes(told)
    assert "docs/scan.pdf: pictures without text, which are not in the index (page 2)" in capsys.readouterr().out


def test_what_is_not_in_yet_is_not_told_of(line: Line):
    ids = put_files(line)
    line.convert(ids)
    line.embed(ids)
    assert line.report(ids[0]).notes == ()
    line.drain()
    assert len(line.report(ids[0]).notes) == 2


def test_a_job_over_what_is_in_already_has_no_notes(line: Line):
    whole_way(line, put_files(line))
    ids = put_files(line)
    assert whole_way(line, ids) == [State.UNCHANGED] * 3
    assert line.report(ids[0]).noted == {}
