"""What the demo leaves behind for people: one HTML page to look at, and a closing summary for the terminal."""

from connectors.report.page import write_demo_report
from connectors.report.summary import Check, Command, DemoSummary, Disposition, Orders, Reason, sampled
from connectors.report.terminal import terminal_summary

__all__ = ["Check", "Command", "DemoSummary", "Disposition", "Orders", "Reason", "sampled", "terminal_summary", "write_demo_report"]
