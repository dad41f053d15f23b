"""Where settings come from, and how a mistake in them is told."""

from pathlib import Path

import pytest

from pipeline.problems import Malformed
from streams.settings import Settings, describe, load_settings, masked_url, unused_variables


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and no variable of ours."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME_DIR", "HOME", "CONFIG", "SHARDS", "STORE_URLS", "BANK__BATCH_SIZE", "BANK__BATCH_SISE", "BANK", "LOG_LEVEL", "RULES", "METRICS_PORT"):
        monkeypatch.delenv(f"PAYOUT_{name}", raising=False)


def described(settings: Settings) -> dict[str, tuple[str, str]]:
    return {row.name: (row.value, row.origin) for row in describe(settings)}


def problems(text: str) -> list[str]:
    Path("payout.toml").write_text(text)
    with pytest.raises(Malformed) as refused:
        load_settings()
    return [str(problem) for problem in refused.value.problems]


def test_without_a_file_the_defaults_hold():
    settings = load_settings()
    assert (settings.home, settings.shards, settings.frame_records, settings.store_urls, settings.rules) == (Path("home"), 8, 10_000, (), ())
    assert {origin for _, origin in described(settings).values()} == {"default"}


def test_the_command_line_beats_the_environment_and_the_environment_beats_the_file(monkeypatch: pytest.MonkeyPatch):
    Path("payout.toml").write_text('shards = 2\nframe_records = 10\nlog_level = "debug"\n')
    monkeypatch.setenv("PAYOUT_SHARDS", "3")
    monkeypatch.setenv("PAYOUT_FRAME_RECORDS", "20")
    settings = load_settings(shards=4, log_format=None)
    assert (settings.shards, settings.frame_records, settings.log_level) == (4, 20, "debug")
    told = described(settings)
    assert told["shards"] == ("4", "command line")
    assert told["frame_records"] == ("20", "PAYOUT_FRAME_RECORDS")
    assert told["log_level"] == ("debug", "payout.toml")
    assert told["log_format"] == ("auto", "default")


def test_a_file_in_the_home_goes_before_one_in_the_working_directory():
    Path("here").mkdir()
    Path("here/payout.toml").write_text("shards = 5\n")
    Path("payout.toml").write_text("shards = 6\n")
    assert load_settings(home=Path("here")).shards == 5
    assert load_settings().shards == 6


def test_the_home_of_the_environment_is_searched_for_the_file(monkeypatch: pytest.MonkeyPatch):
    Path("there").mkdir()
    Path("there/payout.toml").write_text("shards = 7\n")
    monkeypatch.setenv("PAYOUT_HOME", "there")
    settings = load_settings()
    assert (settings.home, settings.shards) == (Path("there"), 7)


def test_a_file_in_the_home_cannot_name_another_home():
    Path("here").mkdir()
    Path("here/payout.toml").write_text('home = "elsewhere"\n')
    with pytest.raises(Malformed, match=r"here/payout\.toml: home: the home is the folder in which this file lies"):
        load_settings(home=Path("here"))
    Path("here").rename("home")
    with pytest.raises(Malformed, match="the home is the folder in which this file lies"):
        load_settings()


def test_paths_in_a_file_count_from_its_folder(tmp_path: Path):
    Path("etc").mkdir()
    Path("etc/payout.toml").write_text('home = "h"\nregistries = "r"\nrules = ["a.yaml", "/b.yaml"]\n')
    settings = load_settings(config=tmp_path / "etc/payout.toml")
    assert (settings.home, settings.registries) == (tmp_path / "etc/h", tmp_path / "etc/r")
    assert settings.rules == (tmp_path / "etc/a.yaml", Path("/b.yaml"))


def test_a_file_that_was_named_must_exist():
    with pytest.raises(Malformed, match="nowhere.toml: this settings file does not exist"):
        load_settings(config=Path("nowhere.toml"))


def test_a_list_in_the_environment_is_words_or_json(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_STORE_URLS", "postgresql://a,b/one postgresql://c/two")
    monkeypatch.setenv("PAYOUT_RULES", '["with space.yaml"]')
    settings = load_settings()
    assert [url.get_secret_value() for url in settings.store_urls] == ["postgresql://a,b/one", "postgresql://c/two"]
    assert settings.rules == (Path("with space.yaml"),)


def test_a_list_in_the_environment_that_is_broken_json_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_RULES", '["a.yaml"')
    with pytest.raises(Malformed, match="rules: .*not a JSON list.*from PAYOUT_RULES"):
        load_settings()


def test_one_field_of_the_bank_is_set_alone(monkeypatch: pytest.MonkeyPatch):
    Path("payout.toml").write_text('[bank]\ndebtor_name = "Udbetaling Danmark"\n')
    monkeypatch.setenv("PAYOUT_BANK__BATCH_SIZE", "17")
    bank = load_settings().bank
    assert (bank.debtor_name, bank.batch_size, bank.bank_bic) == ("Udbetaling Danmark", 17, Settings().bank.bank_bic)


def test_unknown_keys_are_all_told_with_file_place_and_suggestion():
    assert problems('shard = 2\n\n[bank]\nbatch_sise = 5\n\n[store]\nurl = ""\n')[:2] == [
        "payout.toml: shard: unknown setting (line 1, column 1). Did you mean 'shards'?",
        "payout.toml: bank.batch_sise: unknown setting (line 4, column 1). Did you mean 'bank.batch_size'?",
    ]


def test_values_out_of_range_are_all_told_with_their_origin():
    assert problems('shards = 0\nlog_level = "loud"\nmetrics_port = 70000\n') == [
        "shards: '0': input should be greater than or equal to 1, from payout.toml",
        "metrics_port: '70000': input should be less than or equal to 65535, from payout.toml",
        "log_level: 'loud': input should be 'debug', 'info', 'warning' or 'error', from payout.toml",
    ]


def test_a_table_where_a_value_belongs_is_told():
    assert problems("[shards]\nx = 1\n") == ["payout.toml: shards.x: unknown setting (line 2, column 1). Did you mean 'shards'?"]
    assert "bank: " in problems('bank = "mine"\n')[0]


def test_text_that_is_no_toml_is_told_with_its_line():
    assert problems("shards = 1\nshards = 2\n") == ["payout.toml: not TOML: Cannot overwrite a value (at line 2, column 11)"]


def test_bytes_that_are_no_text_are_told():
    Path("payout.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Malformed, match="not UTF-8 text: byte 0 is 0xff"):
        load_settings()


def test_an_unknown_field_of_the_bank_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_BANK__BATCH_SISE", "5")
    with pytest.raises(Malformed, match=r"bank\.batch_sise: unknown setting, from PAYOUT_BANK__BATCH_SISE\. Did you mean 'bank\.batch_size'\?"):
        load_settings()


def test_a_variable_that_sets_nothing_is_told_but_those_of_a_cluster_are_left_alone():
    told = unused_variables({"PAYOUT_SHARD": "4", "PAYOUT_SERVICE_HOST": "10.0.0.1", "PAYOUT_SHARDS": "4", "PATH": "/bin"})
    assert [str(problem) for problem in told] == ["PAYOUT_SHARD: sets nothing. Did you mean 'PAYOUT_SHARDS'?"]


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_STORE_URLS", "postgresql://payout:hunter2@db:5432/payout host=db,password=hunter2")
    settings = load_settings()
    shown = f"{settings!r} {settings} {described(settings)}"
    assert "hunter2" not in shown
    assert settings.bank.debtor_account.get_secret_value() not in shown
    assert described(settings)["store_urls"][0].startswith("postgresql://payout:***@db:5432/payout")


def test_a_secret_that_is_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_BANK__DEBTOR_AGENT_BIC", "x")
    monkeypatch.setenv("PAYOUT_STORE_URLS", '[["postgresql://a:hunter2@b/c"]]')
    with pytest.raises(Malformed) as refused:
        load_settings()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p%40ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("host=h password='a b' dbname=d", "host=h password=*** dbname=d"),
        ("postgresql://h/d?user=u&password=secret", "postgresql://h/d?user=u&password=***"),
    ],
)
def test_passwords_in_addresses_are_masked(url: str, masked: str):
    assert masked_url(url) == masked


def test_every_setting_says_what_it_means():
    assert [row.name for row in describe(Settings()) if not row.meaning] == []


def test_settings_cannot_be_changed_once_loaded():
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.shards = 3  # type: ignore[misc]
