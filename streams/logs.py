"""The log of a process: structured, readable on a terminal and JSON lines elsewhere, and free of account numbers and names.

Messages carry what they concern: `event_id`, `subject` (the pseudonym of the registry), `shard`, `order`. Bind these with
`about`. What other libraries log through the standard library passes the same redaction.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "[masked]"
TALKATIVE = {
    "aiokafka": logging.WARNING, "faust": logging.WARNING, "kafka": logging.CRITICAL, "mode": logging.WARNING, "streams.worker_app": logging.WARNING,
}  # fmt: skip
"""Libraries that tell of every step, and the Faust app: below debug only what is wrong is of interest. What kafka-python cannot do it raises as well."""

LOG_FILE = Path("logs") / "payout.ndjson"

_SECRET_KEY = re.compile(
    r"(^|_)(account|iban|routing|holder|password|secret|token|address|birth_date)(s|_number|_no|_id)?$"
    r"|^(number|registration|name)$|^(first|last|full|given|family|debtor|creditor|payee|holder|owner)_name$",
    re.IGNORECASE,
)
_SECRET_TEXT = (
    re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),  # an IBAN as it is written
    re.compile(r"\b[A-Za-z]{2}\d{2}(?: ?\d{4}){2,7}(?: ?\d{1,3})?\b"),  # and one in small letters
    re.compile(r"(?<![\w-])\d{9}[ /:-]\d{4,17}(?![\w-])"),  # routing number and account
    re.compile(r"(?<![\w-])\d{4}[ /-]\d{6,10}(?![\w-])"),  # Danish registration number and account
    re.compile(r"(?<![\w-])\d{6}-\d{4}(?![\w-])|(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),  # civil numbers
    re.compile(r"(?<![\w./-])\d{8,17}(?![\w/-]|\.\w)"),  # an account number that stands alone
)
_SECRET_FIELD = re.compile(  # "number": "123", number='123', Key (account)=(123)
    r"(?P<head>(?:\\?[\"'](?:{0})\\?[\"']\s*:|\b(?:{0})\)?\s*=)\s*)(?:\\?\"[^\"\\]*\\?\"|'[^']*'|\([^)]*\)|[^\s,;{{}}\[\]]+)".format(
        "account|account_number|iban|routing|registration|number|holder|name|password"
    ),
    re.IGNORECASE,
)


def configure(level: str = "info", form: Literal["auto", "json", "console"] = "auto", home: Path | None = None, stream: TextIO | None = None) -> None:
    """Sets up the log of this process: to `stream` (standard error), and as JSON lines into the home where one is given."""
    stream = stream or sys.stderr
    readable = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        redact,
    ]
    handlers = [_handler(logging.StreamHandler(stream), shared, _console(stream) if readable else structlog.processors.JSONRenderer())]
    if home is not None:
        path = home / LOG_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_handler(logging.FileHandler(path, encoding="utf-8", delay=True), shared, structlog.processors.JSONRenderer()))
    root = logging.getLogger()
    for old in root.handlers:
        old.close()
    root.handlers[:] = handlers
    root.setLevel(level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else TALKATIVE[name])
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def log(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def about(**context: str | int) -> Iterator[None]:
    """Every message within says what it concerns: ``about(shard=3, event_id="irs-1", subject="us-000017")``."""
    with structlog.contextvars.bound_contextvars(**context):
        yield


def redact(logger: WrappedLogger, method: str, message: EventDict) -> EventDict:
    """Masks accounts, names and secrets, by the name of a field and by the shape of a text."""
    return {key: value if key in ("level", "logger", "timestamp") or key.startswith("_") else _safe(key, value) for key, value in message.items()}


def safe_text(text: str) -> str:
    """A text without anything that looks like an account, a civil number or a secret."""
    text = _SECRET_FIELD.sub(lambda match: match["head"] + MASK, text)
    for shape in _SECRET_TEXT:
        text = shape.sub(MASK, text)
    return text


def _safe(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {str(inner): _safe(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe("", item) for item in value]
    return safe_text(value if isinstance(value, str) else value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0)


def _handler(handler: logging.Handler, shared: list[Processor], renderer: Processor) -> logging.Handler:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, renderer]))
    return handler
