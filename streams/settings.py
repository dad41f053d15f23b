"""The settings of an installation: defaults, `payout.toml`, the environment and the command line, each value with its origin.

The command line beats the environment (`PAYOUT_*`), the environment beats the file, the file beats the default. The file is
the one given, else `payout.toml` in the home, else `payout.toml` in the working directory. Relative paths in a file count
from the folder of that file.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from pipeline.problems import Malformed, Problem, suggestion
from pipeline.signatures import Approver, public_key

from .ingest_settings import Ingest, PseudonymSettings
from .kafka_settings import Kafka
from .shipped import SHIPPED as SHIPPED

PREFIX = "PAYOUT_"
FILE = "payout.toml"

_PASSWORD = re.compile(r"(?P<head>//[^:/@\s]*:)[^@/\s]+(?=@)|(?P<key>password\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)

_CLUSTER = re.compile(r"_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_\w+)?)$")


_NESTED = ("approvals", "bank", "kafka", "ingest", "pseudonyms")
"""The tables of the settings file."""

_FILES = (
    ("kafka", "ca_file"), ("kafka", "cert_file"), ("kafka", "key_file"), ("kafka", "password_file"),
    ("ingest", "token_file"), ("ingest", "cert_file"), ("ingest", "key_file"), ("pseudonyms", "key_file"),
)  # fmt: skip
"""What in them is a path, which counts from the folder of the file."""


def _words(value: object) -> object:
    """A list in an environment variable: JSON, or words separated by spaces."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return value.split()
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"not a JSON list: {error}") from None


def _mend(name: str, known: Iterable[str]) -> str:
    hint = suggestion(name, known)
    return hint[:1].upper() + hint[1:]


class Bank(BaseModel):
    """Whose money is paid and through which bank."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    debtor_name: str = Field(default="Treasury", min_length=1, max_length=140, description="who pays, as the receiver reads it")
    debtor_account: SecretStr = Field(default=SecretStr("DK5000400440116243"), description="IBAN of the account that is debited")
    debtor_agent_bic: str = Field(
        default="SBNKUS33", pattern=r"^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?$", description="BIC of the bank that holds that account"
    )
    bank_bic: str = Field(default="SBNKUS33", pattern=r"^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?$", description="BIC of the bank that takes the files")
    batch_size: int = Field(default=5000, ge=1, le=100_000, description="orders in one bank file at most")


class Person(BaseModel):
    """Somebody who writes or approves rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=140)
    roles: tuple[str, ...] = ()
    key: str = ""

    @field_validator("key")
    @classmethod
    def _is_key(cls, value: str) -> str:
        if value:
            public_key(value)
        return value

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.roles) or 'author'}{'' if self.key else ', no key'})"


class Approvals(BaseModel):
    """Who lets a rule pay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: Annotated[tuple[Person, ...], NoDecode] = Field(
        default=(), description="who writes and approves rules, each with `name`, `roles` and the public `key` that `payout rules keygen` prints"
    )
    need: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="roles that must approve every rule, beside those that its document asks for; a role twice: two people"
    )
    valid_days: int = Field(default=30, ge=1, le=366, description="days for which an approval is good")
    release: Annotated[tuple[str, ...], NoDecode] = Field(default=("case_worker",), description="roles in which a held order may be released by hand")

    @field_validator("need", "release", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value)

    @field_validator("people", mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON list: {error}") from None

    @field_validator("people")
    @classmethod
    def _names_differ(cls, value: tuple[Person, ...]) -> tuple[Person, ...]:
        names = [person.name for person in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two people have the name {twice[0]!r}; tell them apart")
        return value

    def by_name(self) -> dict[str, Approver]:
        """The people as approvals are judged by them."""
        return {person.name: Approver(person.name, person.roles, person.key) for person in self.people}


class Settings(BaseSettings):
    """What an operator may set. Every field states its meaning."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, extra="forbid", frozen=True, validate_default=True)

    home: Path = Field(default=Path("home"), description="folder of an embedded installation: store, log, bank files, letters, reports")
    store_urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="PostgreSQL servers, shard s on server s mod n; empty: the embedded store"
    )
    shards: int = Field(
        default=8, ge=1, le=1024, description="shards of the store and partitions of every topic; once the store exists `payout store reshard` divides them"
    )
    processes: int = Field(
        default_factory=lambda: min(2, os.cpu_count() or 1), ge=1, le=64, description="processes that share the shards; one per core, 2 at most"
    )
    frame_records: int = Field(default=10_000, ge=1, le=50_000, description="records taken in one transaction at most")
    frame_wait_s: float = Field(
        default=0.1, ge=0, le=5, description="seconds that a worker waits for so many records while Kafka has more; 0: it takes what is there"
    )
    registries: Path = Field(default=SHIPPED / "registries", description="folder of the registry documents")
    locales: Path = Field(default=SHIPPED / "locales", description="folder of the languages' catalogues: a file da.po adds Danish")
    rules: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="rule documents that decide without approval, one path each (`FILE@2022-Q1` for a period); only with `trust_rules`"
    )
    trust_rules: bool = Field(
        default=False, description="whether the documents in `rules` decide though nobody approved them: for development, demos and tests"
    )
    approvals: Approvals = Field(default=Approvals(), description="who lets a rule pay")
    bank: Bank = Field(default=Bank(), description="the bank")
    kafka: Kafka = Field(default=Kafka(), description="the Kafka cluster")
    ingest: Ingest = Field(default=Ingest(), description="events over HTTP")
    pseudonyms: PseudonymSettings = Field(default=PseudonymSettings(), description="pseudonyms for the numbers of people")
    tools: Path | None = Field(default=None, description="folder of programs that are fetched once, such as a broker; none: `tools` in the home")
    metrics_port: int | None = Field(default=None, ge=0, le=65535, description="port of /metrics; none: not served")
    metrics_host: str = Field(default="127.0.0.1", description="address on which /metrics is served")
    log_format: Literal["auto", "json", "console"] = Field(default="auto", description="auto: readable on a terminal, else JSON lines")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="the least severe messages that are written")

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("store_urls", "rules", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: `load_settings` reads file and environment itself, so that it knows each value's origin."""
        return (init_settings,)


class Described(msgspec.Struct, frozen=True):
    """One setting for people: its value with secrets masked, and where it comes from."""

    name: str
    value: str
    origin: str
    meaning: str


def load_settings(config: Path | None = None, **given: Any) -> Settings:
    """The settings in force. `given` are values of the command line, None where an option was left out.

    Malformed with the problems of a source, all at once: unknown names with the nearest known one, values out of range.
    """
    line = {name: value for name, value in given.items() if value is not None}
    variables = _environment()
    home = Path(line.get("home") or variables.get("home") or Settings.model_fields["home"].default)
    path = _file(config, home)
    file = _from_file(path) if path else {}
    if path and "home" in file and home.resolve() == path.parent.resolve() != Path(file["home"]).resolve():
        raise Malformed([Problem(f"{path}: home", "the home is the folder in which this file lies", "Leave it out, or put the file elsewhere.")])
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in ((str(path), file), ("environment", variables), ("command line", line)):
        for name, value in _flat(layer).items():
            origins[name] = _variable(name) if origin == "environment" else origin
            _put(values, name, value)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise Malformed([_problem(detail, origins) for detail in error.errors(include_url=False)]) from None
    settings._origins.update(origins)
    return settings


def describe(settings: Settings) -> list[Described]:
    """Every setting with its value, origin and meaning; secrets and passwords masked."""
    rows = []
    for name, field in _fields(Settings).items():
        value: Any = settings
        for step in name.split("."):
            value = getattr(value, step)
        rows.append(Described(name, _text(value), settings._origins.get(name, "default"), field.description or ""))
    return rows


def settings_page() -> str:
    """The page `docs/settings.md`."""
    lines = [
        "# Settings",
        "",
        "Every setting by its name in `payout.toml`, its environment variable and its default. `payout settings` prints those in force and their origin.",
        "This page is written from `streams/settings.py` by `make docs`; a test holds the two together.",
        "",
        "| setting | variable | default | means |",
        "|---|---|---|---|",
    ]
    for name, field in _fields(Settings).items():
        default = "by machine" if field.default_factory else _text(field.default).replace(f"{SHIPPED}/", "the shipped ")
        lines.append(f"| `{name}` | `{_variable(name)}` | {default} | {field.description} |")
    return "\n".join([*lines, ""])


def unused_variables(environ: Mapping[str, str]) -> list[Problem]:
    """Variables that begin like ours and set nothing, with the setting that may have been meant.

    They are told, not refused: a cluster puts variables such as PAYOUT_SERVICE_HOST into every container by itself.
    """
    known = {_variable(name) for name in (*_fields(Settings), *_NESTED, "config", "approval_key")}
    unused = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in known and not _CLUSTER.search(name)]
    return [Problem(name, "sets nothing", _mend(name, known)) for name in unused]


def masked_url(url: str) -> str:
    """A database address without its password, also in the form ``host=… password=…``."""
    return _PASSWORD.sub(lambda match: f"{match['head'] or match['key']}***", url)


def _variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper().replace('.', '__')}"


def _environment() -> dict[str, Any]:
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise Malformed([Problem("environment", str(error), "Write it as JSON.")]) from None


def _file(config: Path | None, home: Path) -> Path | None:
    given = config or (Path(os.environ["PAYOUT_CONFIG"]) if os.environ.get("PAYOUT_CONFIG") else None)
    if given:
        if not given.is_file():
            raise Malformed([Problem(str(given), "this settings file does not exist", "Give the path of a payout.toml.")])
        return given
    candidates = (home / FILE, Path(FILE))
    return next((path for path in candidates if path.is_file()), None)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise Malformed([Problem(str(path), f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}")]) from None
    except tomllib.TOMLDecodeError as error:
        raise Malformed([Problem(str(path), f"not TOML: {error}")]) from None
    known = (*_fields(Settings), *_NESTED)
    problems = [
        Problem(f"{path}: {name}", "unknown setting", _mend(name, known) or f"Known are {', '.join(known)}.", *_place(text, name))
        for name in _flat(document)
        if name not in known
    ]
    addresses = document.get("store_urls")
    problems += [
        Problem(f"{path}: store_urls", f"{masked_url(address)} holds a password", "Keep it in a password file and name that: ?passfile=/run/secrets/pgpass.")
        for address in (addresses if isinstance(addresses, list) else [addresses])
        if isinstance(address, str) and masked_url(address) != address
    ]
    if problems:
        raise Malformed(problems)
    for name in ("home", "registries", "locales", "tools"):
        if isinstance(document.get(name), str):
            document[name] = path.parent / document[name]
    for table, name in _FILES:
        if isinstance(values := document.get(table), dict) and isinstance(values.get(name), str):
            values[name] = path.parent / values[name]
    if isinstance(document.get("rules"), list):
        document["rules"] = [path.parent / rule if isinstance(rule, str) else rule for rule in document["rules"]]
    return document


def _place(text: str, name: str) -> tuple[int, int]:
    """Line and column of a key in a TOML text; (0, 0) where it is written in an unusual way."""
    table, last = "", name.rpartition(".")
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = header[1].strip()
            if table == name:
                return number, line.index("[") + 1
        elif (key := re.match(r"\s*([\w.-]+)\s*=", line)) and (key[1] == name or (table == last[0] and key[1] == last[2])):
            return number, line.index(key[1]) + 1
    return 0, 0


def _fields(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every field by its dotted name, nested models opened."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found.update(_fields(field.annotation, f"{prefix}{name}."))
        else:
            found[prefix + name] = field
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *steps, last = name.split(".")
    for step in steps:
        values = values.setdefault(step, {})
    values[last] = value


def _problem(detail: Any, origins: Mapping[str, str]) -> Problem:
    name = ".".join(str(step) for step in detail["loc"] if isinstance(step, str))
    origin = origins.get(name) or origins.get(name.rpartition(".")[0], "")
    known = list(_fields(Settings))
    message = str(detail["msg"]).removeprefix("Value error, ")
    secret = isinstance(detail.get("input"), SecretStr) or name in ("store_urls", "bank.debtor_account")
    value = "" if secret else f" {str(detail.get('input'))!r}:"
    if detail["type"] == "extra_forbidden":
        return Problem(name, f"unknown setting, from {origin}", _mend(name, known))
    return Problem(name, f"{value.strip()} {message[:1].lower()}{message[1:]}".strip() + (f", from {origin}" if origin else ""))


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return masked_url(value.get_secret_value()) if "=" in value.get_secret_value() or "//" in value.get_secret_value() else "***"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_text(item) for item in value) or "none"
    return "none" if value is None else str(value)
