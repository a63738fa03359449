"""What can go wrong with Mixpanel, as types. Each text says what happened, where, and what to do.

`retryable` says whether the same request may succeed later without anybody changing anything; `wait` is the number of
seconds until that makes sense, where it is known. No message ever holds a secret.
"""

from __future__ import annotations

from mixpanel_aep_assets.errors import ServiceError, SettingsError


class MixpanelError(ServiceError):
    """Base of all errors of this room."""


class SettingsWrong(MixpanelError, SettingsError):
    """A setting is missing or cannot be; the text names it."""


class AuthenticationFailed(MixpanelError):
    """Wrong or expired credentials. Mixpanel answers these with 401 or 400, also for a wrong region
    (mixpanel.md#refused-credentials)."""

    fix = (
        "Check, in this order: MIXPANEL_USERNAME and MIXPANEL_SECRET (a service account may have expired or been "
        "deleted) or the project secret or bearer token used instead, MIXPANEL_REGION (the hosts of another region know "
        "none of your accounts), MIXPANEL_PROJECT_ID, and that the account is a member of the project."
    )


class WrongRegion(MixpanelError):
    """The hosts of a region answer 400 "invalid project id for cluster" for a project of another one."""

    fix = (
        "Check MIXPANEL_REGION first (US, EU or IN; Mixpanel: Project Settings, Overview, Data Residency), then "
        "MIXPANEL_PROJECT_ID, and MIXPANEL_EXPORT_URL and MIXPANEL_API_URL where they are set."
    )


class Blocked(MixpanelError):
    """A page for people where the API sends JSON: Mixpanel's front end, a proxy or a firewall answered (403, 407)."""

    fix = (
        "This is the network, not a role of the account: the front end blocks the address that you call from, or a proxy "
        "or firewall on the way answers in Mixpanel's place. Try from another address, let the proxy pass Mixpanel's "
        "hosts (HTTPS_PROXY, NO_PROXY), or ask Mixpanel whether your address is blocked."
    )


class NotAllowed(MixpanelError):
    """The account is known but may not read this project (403)."""

    fix = (
        "Check MIXPANEL_PROJECT_ID, and add the service account to the project (role analyst or higher) under "
        "Organization Settings, Service Accounts; a project with classified properties also needs a role with access "
        "to them."
    )


class PlanLacksExport(MixpanelError):
    """The project's plan has no such API (402, or the old sentence in a 200)."""

    fix = "Ask Mixpanel for a plan with raw data export, or leave this check out where only the Query API is concerned."


class DateTooLate(MixpanelError):
    """The day has not begun yet where Mixpanel counts days."""

    fix = (
        "Ask for a closed day. If the day is over where you are, MIXPANEL_TIMEZONE or MIXPANEL_TIME_MODE differ from the "
        "project's setting."
    )


class BadRequest(MixpanelError):
    """Mixpanel does not accept the request as it stands (other 4xx)."""

    fix = "Check MIXPANEL_PROJECT_ID, the event list and the `where` expression of the connection."


class NotFound(MixpanelError):
    """No such path or project (404)."""

    fix = "Check MIXPANEL_EXPORT_URL and MIXPANEL_API_URL (base URLs without path) and MIXPANEL_PROJECT_ID."


class RequestTooLong(MixpanelError):
    """The request is longer than the server, or a proxy on the way, takes (413, 414, 431)."""

    fix = (
        "All of an export request is in its address: shorten the connection's `events` and `where`, split the events "
        "over several connections, or name none. Where both are short, a proxy on the way has a lower limit: raise it."
    )


class RateLimited(MixpanelError):
    """Mixpanel says that the project's requests are used up (429)."""

    retryable = True
    fix = "Nothing is lost. Others draw on the same 60 requests an hour of the project; the budget share is settable."


class BudgetExhausted(MixpanelError):
    """Our own share of the project's request budget is used up; no request was made."""

    retryable = True
    fix = "Nothing is lost; the day is taken up again after the wait."


class ServerFault(MixpanelError):
    """Mixpanel failed (5xx, or a time-out that it reports as 400) and went on failing for all tries."""

    retryable = True
    fix = "Nothing is lost; run the day again. If it lasts, see https://www.mixpanelstatus.com."


class Unreachable(MixpanelError):
    """No answer: name, route, TLS, time-out."""

    retryable = True
    fix = (
        "Check MIXPANEL_REGION or MIXPANEL_EXPORT_URL, the network, the proxy (HTTPS_PROXY, NO_PROXY) and the firewall."
    )


class CannotConnect(Unreachable):
    """A certificate that is not trusted, or a proxy that refuses: another try would end the same way."""

    retryable = False


class ExportIncomplete(MixpanelError):
    """The body is not proven whole; nothing of it was kept (mixpanel.md#failures and mixpanel.md#reading-the-stream)."""

    retryable = True
    fix = "Nothing was kept of it and what was stored before is untouched; run the day again."


class EvidenceMissing(MixpanelError):
    """An answer is not believed, and the request that could bear it out failed (`retryable` and `wait` are its own)."""

    fix = "What is committed and what is live stay as they are; run the day again."

    def __init__(self, what: str, *, cause: MixpanelError | None = None, fix: str = "") -> None:
        super().__init__(what, fix=fix, wait=cause.wait if cause is not None else None)
        self.retryable = cause is None or cause.retryable


class SliceNotHonoured(MixpanelError):
    """Asked for a part of a day by a filter, Mixpanel sent events that are not of that part."""

    fix = (
        "The day is too large for one request and cannot be had in parts: split the connection by event names "
        "(`events`), each with a name of its own, or ask Mixpanel."
    )


class LineTooLong(MixpanelError):
    """A line is longer than any event can be."""

    fix = "The answer is not an event export: check MIXPANEL_EXPORT_URL and any proxy between you and Mixpanel."


class UnexpectedAnswer(MixpanelError):
    """A success that is not what the API describes: a proxy's page, a redirect, something else on this port."""

    fix = "Check MIXPANEL_EXPORT_URL and MIXPANEL_API_URL, and proxies that answer in Mixpanel's place."


class TimeModeUnsure(MixpanelError):
    """Nothing tells whether `time` is UTC or the project's wall clock."""

    fix = "Set MIXPANEL_TIME_MODE to `utc` (project made since 2023) or `project`, and MIXPANEL_TIMEZONE."
