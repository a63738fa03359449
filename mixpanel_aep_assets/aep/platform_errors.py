"""What can go wrong with the Platform, as types. Each text says what happened, where, and what to do.

`retryable` says whether the same call may succeed later without anybody changing anything; `wait` is the number of
seconds that the other side (or the claim of another process) named. No message ever holds a token or a secret.
"""

from __future__ import annotations

from mixpanel_aep_assets.errors import ServiceError


class AepError(ServiceError):
    """Base of all errors of this room."""


class CredentialsRejected(AepError):
    """IMS refuses the client id, secret or scopes, or the gateway refuses a fresh token."""

    fix = (
        "Check ADOBE_CLIENT_ID, ADOBE_CLIENT_SECRET and ADOBE_SCOPES against the OAuth server-to-server credential in "
        "the Adobe Developer Console; a secret may have expired or been rotated."
    )


class PermissionMissing(AepError):
    """The credential is known but not allowed (platform.md#gateway-errors)."""

    fix = (
        "Add the API credential to a role and a product profile of the sandbox in Adobe Admin Console and Platform "
        "Permissions (schemas, datasets, identity namespaces, data ingestion), and check ADOBE_ORG_ID and AEP_SANDBOX."
    )


class Blocked(AepError):
    """A page for people where the API sends JSON: a front end, a proxy or a firewall answered (403, 407)."""

    fix = (
        "This is the network, not a role of the credential: a proxy or firewall on the way answers in Adobe's place, or "
        "blocks the address that you call from. Let it pass platform.adobe.io and ims-na1.adobelogin.com (HTTPS_PROXY, "
        "NO_PROXY), and check AEP_URL and ADOBE_IMS_URL."
    )


class BadRequest(AepError):
    """The Platform does not accept the request as it stands (any 4xx without a type of its own)."""


class NotFound(AepError):
    """There is no such thing in this sandbox."""

    fix = "Check AEP_SANDBOX and the id; `mixpanel-aep provision` shows what the sandbox has."


class DatasetNotFound(NotFound):
    """The dataset that the events should go to does not exist, or its name is not unique."""

    fix = "Set AEP_DATASET_ID to a dataset of this sandbox, or run `mixpanel-aep provision --apply` to make one."


class Conflict(AepError):
    """What is there contradicts what is wanted; nothing was changed."""


class TooLarge(AepError):
    """A body or an address is longer than the Platform, or a proxy on the way, takes (HTTP 413, 414, 431)."""

    fix = (
        "Files stay below the 256 MB and parts of files below the 512 MB that the Platform takes, so it is most likely a "
        "proxy on the way that has a lower limit for bodies: raise it to 256 MB (nginx: client_max_body_size), or name "
        "the host of AEP_URL in NO_PROXY. Nothing was ingested; run the day again."
    )


class RateLimited(AepError):
    """HTTP 429, also after the tries that fit into the allowed wait."""

    retryable = True
    fix = "Nothing is lost; the run continues after the wait."


class ServerFault(AepError):
    """A 5xx that outlasted the tries. Adobe documents overload as 500 (platform.md#gateway-errors)."""

    retryable = True
    fix = "Nothing is lost; run the day again. If it lasts, see https://status.adobe.com."


class Unreachable(AepError):
    """No answer: name, route, TLS, time-out or a cut connection."""

    retryable = True
    fix = (
        "Check the address, the network, the proxy (HTTPS_PROXY, NO_PROXY) and the firewall (platform.adobe.io and "
        "ims-na1.adobelogin.com)."
    )


class CannotConnect(Unreachable):
    """A certificate that is not trusted, or a proxy that refuses: another try would end the same way."""

    retryable = False


class AnswerLost(AepError):
    """A call that must not be repeated blindly was sent, and whether it took effect is not known."""

    retryable = True
    fix = "Nothing is lost; the next run looks up what the Platform has before it does anything."


class UnexpectedAnswer(AepError):
    """A 2xx answer that is not what the API describes."""

    fix = "Check that AEP_URL and ADOBE_IMS_URL point to Adobe's gateway and not to a proxy's page."


class SourceChanged(AepError):
    """A file to send does not have the size it was announced with."""

    fix = "The stored files changed while they were sent: run xdm_events for this day again, then the upload."


class PartitionBusy(AepError):
    """Another living process works on this partition."""

    retryable = True
    fix = "No harm done: the other process finishes the day; this one may try again after the wait."


class ClaimLost(AepError):
    """This process was silent for so long that another one took the partition over."""

    retryable = True
    fix = "No harm done: the other process finishes the day."


class BatchInProgress(AepError):
    """An earlier batch of this day is not final yet, so it cannot be replaced or reverted."""

    retryable = True
    fix = "Nothing was changed; run the day again when that batch is final."


class DayChanged(AepError):
    """The day has another main batch than the one that its replay was made for."""

    retryable = True
    fix = "Nothing was sent; replay the day again."


class BatchRefused(AepError):
    """The Platform already refused this very data; sending it again would fail again."""

    fix = (
        "Look at the batch's errors (asset check, quarantine), fix the mapping, the schema or the data, and run the "
        "day again; to send the same data once more, force it: `--force`, or the run tag mixpanel_aep/force=true."
    )


class BatchVanished(AepError):
    """The receipts know a batch that the Catalog does not."""

    fix = (
        "The storage belongs to another sandbox, organisation or emulator, or the batch was removed by hand. Use the "
        "storage of this sandbox, or force the day to send it again."
    )


class LimitExceeded(AepError):
    """A documented limit of the Platform would be broken; nothing was sent (platform.md#limits)."""


class ReceiptsDamaged(AepError):
    """The receipts of a partition cannot be read."""

    fix = "Restore the folder from a backup; do not delete it while its batches are live."
