"""The tables of the documents are those of the report that lies beside them."""

import msgspec
import pytest

from loadtests.documents import between_marks
from loadtests.kafka_bench import DOCUMENTS, REPORT
from loadtests.peers.blocks import blocks
from loadtests.peers.report import Report
from streams.settings import SHIPPED


@pytest.fixture(scope="module")
def report() -> Report:
    return msgspec.json.decode(REPORT.read_bytes(), type=Report)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_shows_what_the_kept_report_says(report: Report, name: str):
    text = (SHIPPED / name).read_text(encoding="utf-8")
    assert between_marks(text, blocks(report, name)) == text, "run python -m loadtests.kafka_bench --from docs/kafka-bench.json --write"


def test_a_document_without_the_marks_is_refused():
    with pytest.raises(ValueError, match="no place for kafka"):
        between_marks("# Fast\n", {"kafka": "much"})


def test_whoever_decided_in_the_kept_report_ordered_what_was_due(report: Report):
    assert report.exact
    assert {run.exact for run in report.runs} == {True, None}
