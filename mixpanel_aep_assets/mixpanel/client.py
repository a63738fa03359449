"""The HTTP side of Mixpanel: one request at a time, every answer classified, nothing read that is not needed.

What belongs here: addresses, headers, time-outs, what a failure means (mixpanel.md#failures), `Retry-After`. What does not: the
meaning of an export's body (`export`), whether to try again (`retry`).
"""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from mixpanel_aep_assets import network
from mixpanel_aep_assets.mixpanel import answers, mixpanel_errors
from mixpanel_aep_assets.mixpanel.budget import Budget, open_budget
from mixpanel_aep_assets.mixpanel.budget_stores import FIRST_PAUSE, LONGEST_ASKED
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.source_settings import API_HOSTS, MixpanelSource, Region

logger = logging.getLogger(__name__)

USER_AGENT = "mixpanel-aep-assets"
CONNECT_TIMEOUT = 15.0
ERROR_TEXT = 64 << 10
"""Bytes read of an answer that is an error."""

WIRE_BLOCK = 1 << 18
"""Bytes handed on at a time: each hand-over costs a turn of the interpreter lock."""

_PASSING = re.compile(r"timeout error|timed out|internal (?:server )?error|temporarily unavailable|try again later")
"""Words of a failure of Mixpanel's own that comes with the status of another one (mixpanel.md#failures)."""

IN_THE_LAST_HOUR = re.compile(r"(\d{1,9})/(\d{1,9}) queries running in the last hour")

NAMES_IN_URL = 4_000
"""Characters of event names in one address; servers refuse addresses beyond some 8 kB (414)."""


@dataclass(frozen=True)
class Project:
    """What `/me` tells of a project (mixpanel.md#self-checks)."""

    id: int
    name: str | None
    timezone: str | None
    domain: str | None
    organization_id: int | None


@dataclass(frozen=True)
class ServiceAccount:
    username: str
    expires: datetime.datetime | None
    sensitive: bool | None


@dataclass(frozen=True)
class Body:
    """The body of a running export. `framed`: its end is marked (chunked coding or a length)."""

    blocks: Iterator[bytes]
    gzip: bool
    framed: bool


class MixpanelClient:
    """One project's doors. Use as a context manager, or close. Safe to share between threads."""

    def __init__(
        self, source: MixpanelSource, *, budget: Budget | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.source = source
        self._http = network.client(
            headers={"Authorization": source.credentials.header(), "User-Agent": USER_AGENT},
            timeout=httpx.Timeout(source.read_timeout, connect=CONNECT_TIMEOUT, pool=CONNECT_TIMEOUT),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            follow_redirects=False,
            transport=transport,
        )
        self.budget = budget or open_budget(source.budget_key, source.budget_share, source.budget_location)
        self._query_budget: Budget | None = budget
        self._budget_is_ours = budget is None

    def __enter__(self) -> MixpanelClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()
        if self._budget_is_ours:
            self.budget.close()
            if self._query_budget is not None:
                self._query_budget.close()

    @contextmanager
    def export(
        self,
        first: datetime.date,
        last: datetime.date,
        *,
        events: Sequence[str] | None = None,
        where: str | None = None,
    ) -> Iterator[Body]:
        """Asks for the events of whole days, both included, and gives the body as it comes.

        `events` takes the place of the source's event list, `where` is asked for beside the source's expression.

        Raises BudgetExhausted before anything is sent, a classified error for any answer but 200, and ExportIncomplete
        from the body's blocks if the connection ends before the body does.
        """
        parameters = self.request(first, last)
        if events is not None:
            parameters["event"] = orjson.dumps(list(events)).decode()
        if where is not None:
            parameters["where"] = f"({self.source.where}) and ({where})" if self.source.where else where
        self.budget.acquire()
        logger.info("export %s to %s of project %s", first, last, self.source.project_id)
        url = self._url(self.source.export_base, "/api/2.0/export")
        headers = {"Accept": "text/plain", "Accept-Encoding": "gzip"}
        with self._failures(url), self._http.stream("GET", url, params=parameters, headers=headers) as response:
            if response.status_code != 200:
                raise self._classified(response, url, self.budget)
            self.budget.went_well()
            gzip = _is_gzip(response.headers.get("content-encoding", ""))
            framed = (
                "chunked" in response.headers.get("transfer-encoding", "").lower()
                or "content-length" in response.headers
            )
            yield Body(_received(response), gzip, framed)

    def request(self, first: datetime.date, last: datetime.date) -> dict[str, str]:
        """The query of an export request; without the project where the secret names it."""
        parameters = {"from_date": first.isoformat(), "to_date": last.isoformat(), "time_in_ms": "true"}
        if self.source.project_id is not None:
            parameters["project_id"] = str(self.source.project_id)
        if self.source.events:
            parameters["event"] = orjson.dumps(list(self.source.events)).decode()
        if self.source.where:
            parameters["where"] = self.source.where
        return parameters

    def projects(self) -> dict[int, Project]:
        """The projects that the credentials can see. Raises a classified error; a project secret cannot ask."""
        return self._projects(self._url(self.source.api_base, "/api/app/me"))

    def _projects(self, url: httpx.URL) -> dict[int, Project]:
        answer = self._get(url, {})
        results = answer.get("results", answer) if isinstance(answer, dict) else {}
        found = results.get("projects") if isinstance(results, dict) else None
        if not isinstance(found, dict):
            raise mixpanel_errors.UnexpectedAnswer("The answer of /api/app/me names no projects")
        return {int(key): _project(int(key), value) for key, value in found.items() if str(key).isdigit()}

    def project(self) -> Project:
        """Our project. Raises NotAllowed where the credentials do not see it."""
        projects = self.projects()
        if self.source.project_id not in projects:
            raise mixpanel_errors.NotAllowed(f"The account does not see the project {self.source.project_id}")
        return projects[self.source.project_id]

    def service_accounts(self) -> list[ServiceAccount]:
        """The project's service accounts, with their expiry and whether they read classified data."""
        url = self._url(self.source.api_base, f"/api/app/projects/{self.source.project_id}/service-accounts")
        answer = self._get(url, {})
        found = answer.get("results") if isinstance(answer, dict) else None
        return [_account(item) for item in found or [] if isinstance(item, dict) and item.get("username")]

    def lexicon(self) -> list[Any]:
        """The event schemas of the project's Lexicon, as sent (mixpanel.md#lexicon; `lexicon.declared` reads them).

        Raises NotAllowed where the account may not read them; 5 requests a minute are allowed to an organisation.
        """
        url = self._url(self.source.api_base, f"/api/app/projects/{self.source.project_id}/schemas/event")
        answer = self._get(url, {})
        found = answer.get("results") if isinstance(answer, dict) else None
        return found if isinstance(found, list) else []

    def daily_counts(
        self, first: datetime.date, last: datetime.date, names: list[str]
    ) -> dict[str, dict[datetime.date, int]]:
        """Mixpanel's own number of events for each name and day, by the Query API (mixpanel.md#daily-counts): deduplicated.

        Costs a request of the Query API's 60 an hour for each 4,000 characters of names. Raises PlanLacksExport (402)
        where the plan has no Query API.
        """
        url = self._url(self.source.api_base, "/api/query/events")
        counts: dict[str, dict[datetime.date, int]] = {}
        for some in _by_length(names):
            self._query().acquire()
            answer = self._get(
                url,
                {
                    "event": orjson.dumps(some).decode(),
                    "type": "general",
                    "unit": "day",
                    "from_date": first.isoformat(),
                    "to_date": last.isoformat(),
                    **({"project_id": str(self.source.project_id)} if self.source.project_id is not None else {}),
                },
                self._query(),
            )
            try:
                for name, days in answer["data"]["values"].items():
                    counts[name] = {datetime.date.fromisoformat(day[:10]): int(n) for day, n in days.items()}
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise mixpanel_errors.UnexpectedAnswer("The Query API's answer has no daily counts") from error
        return counts

    def other_region(self) -> Region | None:
        """The other region whose hosts show the project to these credentials, None if none does. For a hint after a refusal."""
        for region, host in API_HOSTS.items():
            if region == self.source.region or self.source.api_url is not None:
                continue
            try:
                found = self._projects(httpx.URL(host + "/api/app/me"))
            except mixpanel_errors.MixpanelError:
                continue
            if self.source.project_id in found:
                return region
        return None

    def _query(self) -> Budget:
        if self._query_budget is None:
            source = self.source
            self._query_budget = open_budget(f"query:{source.budget_key}", source.budget_share, source.budget_location)
        return self._query_budget

    def _url(self, base: httpx.URL, path: str) -> httpx.URL:
        return base.copy_with(raw_path=(base.path.rstrip("/") + path).encode())

    def _get(self, url: httpx.URL, parameters: dict[str, str], budget: Budget | None = None) -> Any:
        headers = {"Accept": "application/json"}
        with self._failures(url), self._http.stream("GET", url, params=parameters, headers=headers) as response:
            if response.status_code != 200:
                raise self._classified(response, url, budget)
            text = response.read()
        if budget is not None:
            budget.went_well()
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise mixpanel_errors.UnexpectedAnswer("The answer is not JSON", where=_place(url)) from error

    def _classified(
        self, response: httpx.Response, url: httpx.URL, budget: Budget | None
    ) -> mixpanel_errors.MixpanelError:
        """The refusal as a typed error. A 429 pauses the budget that the request drew on, and no other."""
        text = b""
        try:
            for block in response.iter_bytes():
                text += block
                if len(text) >= ERROR_TEXT:
                    break
        except (httpx.HTTPError, httpx.StreamError):
            pass  # the status says enough
        wait = network.retry_after(response.headers.get("retry-after"), LONGEST_ASKED)
        said = network.without(text.decode("utf-8", "replace"), *self.source.credentials.secrets())
        if response.status_code == 429:
            wait = _paused(budget, wait, said)
        if 300 <= response.status_code < 400:
            target = httpx.URL(response.headers.get("location", "")).host
            return mixpanel_errors.UnexpectedAnswer(
                f"Redirected to {target or 'nowhere'}, which Mixpanel never does",
                where=_place(url),
                status=response.status_code,
            )
        return classify(response.status_code, said, _place(url), wait)

    @contextmanager
    def _failures(self, url: httpx.URL) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            kind = (
                "connecting"
                if isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout))
                else "waiting for an answer"
            )
            raise _explained(error, f"Timed out {kind}{network.through(error)}", _place(url)) from error
        except httpx.UnsupportedProtocol as error:
            raise mixpanel_errors.SettingsWrong(f"{_place(url)} is not a valid address") from error
        except httpx.LocalProtocolError:  # its text repeats the header
            raise mixpanel_errors.SettingsWrong(
                "The credentials cannot be sent as a header", where=_place(url)
            ) from None
        except httpx.TransportError as error:
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            raise _explained(error, f"No answer{network.through(error)}: {reason}", _place(url)) from error
        except httpx.DecodingError as error:
            raise mixpanel_errors.UnexpectedAnswer(
                "The answer is not in the coding that it names", where=_place(url)
            ) from error


def _explained(error: httpx.TransportError, what: str, where: str) -> mixpanel_errors.MixpanelError:
    """No answer as a typed error; what is wrong with a proxy or a certificate stays wrong, and is not asked again."""
    fault = network.fault_of(error)
    if fault is None:
        return mixpanel_errors.Unreachable(what, where=where)
    kind = mixpanel_errors.Unreachable if fault.passing else mixpanel_errors.CannotConnect
    return kind(fault.what, where=where, fix=fault.fix)


def project_zone(source: MixpanelSource) -> str | None:
    """The project's time zone as Mixpanel names it; None where the credentials may not ask.

    A refusal is no error here: the export says what is wrong with credentials. No answer of Mixpanel's is one, since a day
    must not get another time mode because a host was out of reach. Raises Unreachable, Blocked, ServerFault or RateLimited.
    """
    if source.credentials.kind == "project secret":
        return None
    try:
        with MixpanelClient(source) as client:
            return Retry(tries=2).call(client.project).timezone
    except mixpanel_errors.MixpanelError as error:
        if not error.retryable and not isinstance(error, mixpanel_errors.Unreachable | mixpanel_errors.Blocked):
            return None
        fix = f"With MIXPANEL_TIMEZONE set it is not asked. {error.fix}"
        raise type(error)(error.what, where=error.where, fix=fix, status=error.status, wait=error.wait) from error


def _paused(budget: Budget | None, asked: float | None, said: str) -> float:
    """Seconds to wait after a 429, by the header, by what Mixpanel says of the hour (mixpanel.md#failures), or a first pause."""
    if budget is None:
        return FIRST_PAUSE if asked is None else asked
    used = IN_THE_LAST_HOUR.search(said)
    if asked is None and used is not None and int(used[1]) >= int(used[2]):
        return budget.hour_is_full()
    return budget.pause(asked)


def _is_gzip(header: str) -> bool:
    """What `Content-Encoding` says. Raises UnexpectedAnswer for a coding that was not offered, and for several."""
    codings = [coding for part in header.split(",") if (coding := part.strip().lower()) not in ("", "identity")]
    if not codings:
        return False
    if codings not in (["gzip"], ["x-gzip"]):  # the old name of the same (RFC 9110, 8.4.1.3)
        raise mixpanel_errors.UnexpectedAnswer(
            f"The export came in the coding {header.strip()!r}, only gzip was offered"
        )
    return True


def _received(response: httpx.Response) -> Iterator[bytes]:
    """The body as sent (still gzipped), in blocks of some `WIRE_BLOCK` bytes."""
    parts: list[bytes] = []
    held = 0
    try:
        for chunk in response.iter_raw():
            parts.append(chunk)
            held += len(chunk)
            if held >= WIRE_BLOCK:
                yield b"".join(parts)
                parts, held = [], 0
    except httpx.TimeoutException as error:
        raise mixpanel_errors.ExportIncomplete("Mixpanel went silent in the middle of the export") from error
    except httpx.TransportError as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise mixpanel_errors.ExportIncomplete(f"The connection ended before the export did: {reason}") from error
    if parts:
        yield b"".join(parts)


def classify(status: int, text: str, where: str = "", wait: float | None = None) -> mixpanel_errors.MixpanelError:
    """What a refusal means (mixpanel.md#failures). Texts are matched by their lasting parts; they vary around those."""
    said = _said(text)
    lower = text.lower()
    if (status in (401, 403) and network.is_page(text)) or status == 407:
        return mixpanel_errors.Blocked(
            f"A front end on the way refuses the request: {said}", where=where, status=status
        )
    if "does not support raw data export" in lower or status == 402:
        return mixpanel_errors.PlanLacksExport(
            f"The plan does not include this API: {said}", where=where, status=status
        )
    if status == 429 or (status == 200 and re.search(r"rate limit|too many (?:\w+ )?requests", lower)):
        return mixpanel_errors.RateLimited(f"Too many requests: {said}", where=where, status=status, wait=wait)
    if status >= 500 or (status in (400, 200) and _PASSING.search(lower)):
        return mixpanel_errors.ServerFault(f"Mixpanel failed: {said}", where=where, status=status, wait=wait)
    if "to_date cannot be later than today" in lower:
        return mixpanel_errors.DateTooLate(f"The day has not begun yet at Mixpanel: {said}", where=where, status=status)
    if "invalid project id for cluster" in lower:
        return mixpanel_errors.WrongRegion(f"The project is not in this region: {said}", where=where, status=status)
    if status == 401 or "authenticate" in lower or "invalid credentials" in lower:
        return mixpanel_errors.AuthenticationFailed(
            f"Mixpanel refuses the credentials: {said}", where=where, status=status
        )
    if status == 403:
        return mixpanel_errors.NotAllowed(f"Mixpanel refuses the account: {said}", where=where, status=status)
    if status == 404:
        return mixpanel_errors.NotFound(f"Not found: {said}", where=where, status=status)
    if status in (413, 414, 431):
        return mixpanel_errors.RequestTooLong("The request is too long", where=where, status=status)
    return mixpanel_errors.BadRequest(f"Mixpanel refuses the request: {said}", where=where, status=status)


def _said(text: str) -> str:
    """The message of an error body: the `error` of JSON, a page's title, or the first words."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, dict) and parsed.get("error"):
        text = str(parsed["error"])
    elif title := re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL):
        text = title.group(1)
    return answers.quoted(text)


def _place(url: httpx.URL) -> str:
    """Host and path; never the query, which may hold a filter's values."""
    return f"{url.host}{f':{url.port}' if url.port else ''}{url.path}"


def _project(number: int, value: Any) -> Project:
    value = value if isinstance(value, dict) else {}
    organization = value.get("organization_id")
    return Project(
        id=number,
        name=value.get("name"),
        timezone=value.get("timezone") or None,
        domain=value.get("domain") or None,
        organization_id=organization if isinstance(organization, int) else None,
    )


def _account(value: dict[str, Any]) -> ServiceAccount:
    expires = None
    if isinstance(value.get("expires"), str):
        try:
            expires = datetime.datetime.fromisoformat(value["expires"])
        except ValueError:
            expires = None
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=datetime.UTC)
    sensitive = value.get("hasSensitiveAccess")
    return ServiceAccount(str(value["username"]), expires, sensitive if isinstance(sensitive, bool) else None)


def names_of_one_request(names: list[str]) -> list[str]:
    """As many of the names, from the first one on, as one request of `daily_counts` takes."""
    return next(_by_length(names), [])


def _by_length(names: list[str]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for name in names:
        length = len(name.encode()) * 3 + 8
        if some and size + length > NAMES_IN_URL:
            yield some
            some, size = [], 0
        some.append(name)
        size += length
    if some:
        yield some
