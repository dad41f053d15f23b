"""The documents agree with the code: pages made from it, links, commands and settings. Run as a program, it writes the pages."""

import re
from functools import partial
from pathlib import Path

import click
import pytest
import typer

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from pipeline.registry import facts_page
from pipeline.rules.benefit_page import benefit_page, index_page
from pipeline.rules.reference import reference_page
from streams.metrics import catalogue_page
from streams.settings import Settings, describe, settings_page

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BENEFITS = {path: read_rule(path, load_registries(ROOT / "registries")) for path in sorted((ROOT / "benefits").glob("*/*.yaml"))}
PAGES = {
    "docs/metrics.md": catalogue_page,
    "docs/settings.md": settings_page,
    "docs/facts.md": lambda: facts_page(load_registries(ROOT / "registries")),
    "docs/rules/reference.md": reference_page,
    "docs/benefits/index.md": lambda: index_page(list(BENEFITS.values())),
    **{f"docs/benefits/{rule.benefit}.md": partial(benefit_page, rule, path.relative_to(ROOT).as_posix()) for path, rule in BENEFITS.items()},
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_made_from_code_is_what_the_code_says_now(page: str):
    assert (ROOT / page).read_text(encoding="utf-8") == PAGES[page](), "run make docs"


def test_every_link_to_a_file_leads_somewhere():
    broken = []
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            if "://" not in link and not (document.parent / link).exists():
                broken.append(f"{document.relative_to(ROOT)}: {link}")
    assert broken == []


def test_every_command_in_the_documents_exists():
    from streams.cli import app

    root = typer.main.get_command(app)
    unknown = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for words in re.findall(r"(?:`|^ {4}(?:\S*/)?)payout ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", text, re.MULTILINE):
            if not known_command(root, words.split()):
                unknown.append(f"{document.relative_to(ROOT)}: payout {words}")
    assert unknown == []


def known_command(command: click.Command, words: list[str]) -> bool:
    if not words or not isinstance(command, click.Group):
        return True
    return words[0] in command.commands and known_command(command.commands[words[0]], words[1:])


def test_every_command_of_make_in_the_documents_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for document in DOCUMENTS for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE)}
    assert named - targets == set()
    assert {"demo", "test", "lint", "bench", "soak"} <= targets


def test_the_settings_file_in_the_documents_is_accepted(tmp_path: Path):
    from streams.settings import load_settings

    [block] = re.findall(r"\n((?: {4}.*\n|\n)*? {4}\[bank\]\n(?: {4}.+\n)+)", (ROOT / "docs/operators.md").read_text(encoding="utf-8"))
    (tmp_path / "payout.toml").write_text(re.sub(r"^ {4}", "", block, flags=re.MULTILINE))
    settings = load_settings(config=tmp_path / "payout.toml")
    assert len(settings.store_urls) == 2


def test_every_setting_stands_in_the_documents():
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert [row.name for row in describe(Settings()) if f"`{row.name}`" not in page] == []


def test_every_dependency_has_its_line_of_reasons():
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    named = re.findall(r'^    "([A-Za-z0-9_.-]+)', (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.")[0], re.MULTILINE)
    assert len(named) > 10
    assert [name for name in named if name not in page] == []


def test_the_locked_releases_of_the_documents_are_those_of_the_locks():
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^(\S+)==(\S+) \\$", (ROOT / "requirements-dev.lock").read_text(encoding="utf-8"), re.MULTILINE))
    stale = []
    for names, versions in re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE):
        for name in re.findall(r"[A-Za-z][\w.-]+", re.sub(r"\(.*?\)", "", names)):
            version = pins.get(name.replace(".", "-"))
            if version and version not in re.findall(r"[\d.]+\d", versions):
                stale.append(f"{name} {version}")
    assert stale == []


def test_every_word_of_the_glossary_stands_once_and_in_order():
    words = re.findall(r"^\| ([a-z][^|]*?) \|", (ROOT / "GLOSSARY.md").read_text(encoding="utf-8"), re.MULTILINE)[1:]
    assert words == sorted(set(words))


if __name__ == "__main__":
    for page, text in PAGES.items():
        (ROOT / page).write_text(text(), encoding="utf-8")
