"""How the Platform is reached and how hard it may be pressed.

What belongs here: addresses, credentials, sizes, waits, and where their defaults come from. What does not: reading the
environment (`connection`) and what a day's batch holds.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

IMS_URL = "https://ims-na1.adobelogin.com"
PLATFORM_URL = "https://platform.adobe.io"
SCOPES = "openid,session,AdobeID,read_organizations,additional_info.projectedProductContext"
"""Scopes of Adobe's own environment template (platform.md#tokens)."""


class Platform(BaseModel):
    """One organisation's sandbox, and the credential that opens it. Printing shows stars for the secrets.

    Sizes are bytes, times are seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_id: SecretStr
    client_secret: SecretStr
    org_id: str = Field(min_length=1)
    scopes: str = SCOPES
    ims_url: str = IMS_URL
    url: str = PLATFORM_URL
    sandbox: str = Field("prod", min_length=1)

    small_upload_bytes: int = Field(256_000_000, gt=0)
    """The largest file that is sent in one PUT; 256 x 10^6 is safe for both readings of "256 MB" (platform.md#small-files)."""
    chunk_bytes: int = Field(100_000_000, gt=0, le=512_000_000)
    """Part size of the large-file protocol; the Platform takes up to 512 000 000 (platform.md#small-files)."""
    uploads_at_once: int = Field(4, ge=1, le=32)

    tries: int = Field(6, ge=1, le=20)
    backoff: float = Field(1.0, ge=0)
    backoff_cap: float = Field(60.0, ge=0)
    """Adobe prescribes no numbers; exponential with jitter, base 1 s, cap 60 s, 6 tries (platform.md#retries)."""
    longest_wait: float = Field(60.0, ge=0)
    """A `Retry-After` beyond this is not slept through: the error carries it as `wait` and lets go of the worker."""
    connect_timeout: float = Field(15.0, gt=0)
    read_timeout: float = Field(120.0, gt=0)

    claim_seconds: float = Field(300.0, gt=0)
    """How long a partition stays claimed without a sign of life from its owner."""
    clock_skew: float = Field(30.0, ge=0)
    """How far the clocks of hosts that share the storage may differ."""
    settle_seconds: float = Field(30.0, ge=0)
    """How long `send_day` waits for an earlier batch of the day to become final before it can be replaced."""

    @field_validator("ims_url", "url")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with https:// (or http:// for an emulator)")
        return value.rstrip("/")

    @property
    def target(self) -> str:
        """What a batch id is unique in: gateway, organisation, sandbox."""
        return f"{self.url}|{self.org_id}|{self.sandbox}"
