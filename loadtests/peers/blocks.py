"""The blocks of documents that are written from the report of the contest."""

from __future__ import annotations

from loadtests.documents import markdown

from .plan import HEAD as PLAN
from .plan import plan
from .report import HEAD, Report, costs, profile_tables, rows, verdicts


def blocks(report: Report, document: str) -> dict[str, str]:
    """The blocks of a document that are written from the report."""
    if document == "docs/scaling.md":
        said = f"Measured on {report.day}, {report.machine}, two workers."
        return {"cost": f"{said}\n\n{costs(report)}", "plan": markdown(PLAN, list(plan(report)))}
    one, four = (markdown(HEAD, list(rows(report, rounds))) for rounds in (1, 4))
    said = "\n".join(f"- {line}" for line in (*verdicts(report), *report.skipped))
    told = f"Measured on {report.day}, {report.machine}.\n\nOne round:\n\n{one}\nFour rounds:\n\n{four}\n{said}\n"
    return {"kafka": told, "profile": profile_tables(report)}
