"""What is set about the door at which registries hand events in, and about the pseudonyms that people get there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from connectors.pseudonyms import PseudonymKey, read_key


class Ingest(BaseModel):
    """Events over HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="address on which `payout events serve` takes events")
    port: int = Field(default=8080, ge=0, le=65535, description="and its port; 0 takes a free one")
    tokens: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="who may send events, as `REGISTRY:HASH` each, which `payout events token` makes"
    )
    token_file: Path | None = Field(default=None, description="a file with more of these, one a line")
    cert_file: Path | None = Field(default=None, description="the certificate with which it is served over TLS; none: without TLS")
    key_file: Path | None = Field(default=None, description="and its key")
    pending_bytes: int = Field(default=64 * 1024 * 1024, ge=16 * 1024 * 1024, description="bytes of requests in hand at most; one registry may have half of it")

    @field_validator("tokens", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split() if isinstance(value, str) else value


class PseudonymSettings(BaseModel):
    """The key under which numbers of people become pseudonyms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_file: Path | None = Field(default=None, description="the file of the key under which numbers become pseudonyms; `payout events keygen` makes one")
    key: SecretStr | None = Field(default=None, description="or the key itself, for the environment")
    key_id: str | None = Field(default=None, description="which key it must be: another one would make another person of everybody")

    def read(self) -> PseudonymKey | None:
        """The key, where there is one."""
        return read_key(self.key_file, self.key.get_secret_value() if self.key is not None else "", self.key_id)
