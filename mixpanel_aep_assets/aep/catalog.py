"""The Catalog: batches and datasets, one by one and by filter (platform.md#catalog).

What does not belong here: making and filling batches (`ingest`), judging their states (`follow`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from mixpanel_aep_assets.aep.http import CATALOG, Call, PlatformClient
from mixpanel_aep_assets.aep.platform_errors import AepError, AnswerLost, DatasetNotFound, NotFound, UnexpectedAnswer

PAGE = 100
"""The largest `limit` of a Catalog list (platform.md#catalog-lists)."""


@dataclass(frozen=True)
class Batch:
    """One batch as the Catalog tells it. Times are epoch milliseconds."""

    id: str
    status: str
    external_id: str = ""
    created: int = 0
    completed: int | None = None
    dataset_ids: tuple[str, ...] = ()
    predecessors: tuple[str, ...] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, batch_id: str, body: Any) -> Batch:
        if not isinstance(body, Mapping) or not isinstance(body.get("status"), str):
            raise UnexpectedAnswer(f"The Catalog's answer for batch {batch_id} holds no status", where="GET /batches")
        related = body.get("relatedObjects") or ()
        return cls(
            id=str(body.get("id") or batch_id),
            status=str(body["status"]).lower(),
            external_id=str(body.get("externalId") or ""),
            created=int(body.get("created") or 0),
            completed=int(body["completed"]) if body.get("completed") else None,
            dataset_ids=tuple(str(r.get("id")) for r in related if str(r.get("type", "")).lower() == "dataset"),
            predecessors=tuple((body.get("replay") or {}).get("predecessors") or ()),
            tags=body.get("tags") or {},
            metrics=body.get("metrics") or {},
            errors=tuple(body.get("errors") or ()),
            raw=body,
        )

    def tag(self, name: str) -> str | None:
        """The first value of a tag; they come as a list as a rule, as a scalar at times."""
        value = self.tags.get(name)
        if isinstance(value, list):
            value = value[0] if value else None
        return None if value is None else str(value)


def batch(client: PlatformClient, batch_id: str) -> Batch | None:
    """The batch, None where the sandbox has none of this id."""
    try:
        body = client.json("GET", f"{CATALOG}/batches/{quote(batch_id, safe='')}")
    except NotFound:
        return None
    if not isinstance(body, Mapping):
        raise UnexpectedAnswer("The Catalog's answer is not a JSON object", where=f"GET {CATALOG}/batches/{batch_id}")
    found = body.get(batch_id)
    return None if found is None else Batch.of(batch_id, found)


def batches(client: PlatformClient, *, at_most: int = 10_000, **filters: str | int) -> Iterator[Batch]:
    """Batches of the sandbox that fit the filters of platform.md#catalog-lists, oldest first, page by page."""
    for batch_id, body in _pages(client, "batches", {**filters, "orderBy": "asc:created"}, at_most):
        yield Batch.of(batch_id, body)


def batches_of(client: PlatformClient, external_id: str, dataset_id: str) -> list[Batch]:
    """Batches with this external id in the dataset, oldest first. Usually none or one; a lost race leaves two."""
    found = batches(client, externalId=external_id, dataSet=dataset_id)
    return [b for b in found if b.external_id == external_id]


def dataset(client: PlatformClient, dataset_id: str) -> Mapping[str, Any]:
    """The dataset's description. Raises DatasetNotFound."""
    try:
        body = client.json("GET", f"{CATALOG}/dataSets/{quote(dataset_id, safe='')}")
        return dict(body[dataset_id])
    except (NotFound, KeyError, TypeError) as error:
        raise DatasetNotFound(
            f"The sandbox {client.platform.sandbox!r} has no dataset {dataset_id!r}", where="AEP_DATASET_ID"
        ) from error


def datasets_named(client: PlatformClient, name: str) -> dict[str, Mapping[str, Any]]:
    """Datasets of exactly this name, by id."""
    return {key: body for key, body in _pages(client, "dataSets", {}, 10_000) if body.get("name") == name}


def datasets_like(client: PlatformClient, name: str) -> dict[str, Mapping[str, Any]]:
    """Datasets whose name is this one where case and blanks do not count, by id."""
    wanted = " ".join(name.split()).casefold()
    every = _pages(client, "dataSets", {}, 10_000)
    return {key: body for key, body in every if " ".join(str(body.get("name")).split()).casefold() == wanted}


def dataset_id_of(client: PlatformClient, name: str) -> str:
    """The id of the one dataset of this name. Raises DatasetNotFound when there is none or more than one."""
    found = datasets_named(client, name)
    if len(found) == 1:
        return next(iter(found))
    sandbox = client.platform.sandbox
    what = (
        f"The sandbox {sandbox!r} has {len(found)} datasets named {name!r}: {', '.join(sorted(found))}"
        if found
        else f"The sandbox {sandbox!r} has no dataset named {name!r}"
    )
    raise DatasetNotFound(what, where="AEP_DATASET_NAME")


def create_dataset(client: PlatformClient, body: Mapping[str, Any]) -> str:
    """Makes a dataset and returns its id. When the answer is lost, looks for one of that name before another try."""
    last: AepError | None = None
    for _ in range(client.platform.tries):
        try:
            answer = client.json("POST", f"{CATALOG}/dataSets", call=Call.CREATE, json=body)
        except AnswerLost as error:
            last = error
            found = datasets_named(client, str(body["name"]))
            if found:
                return next(iter(found))
            continue
        if isinstance(answer, list) and answer and str(answer[0]).startswith("@/dataSets/"):
            return str(answer[0]).rsplit("/", 1)[-1]
        raise UnexpectedAnswer("The Catalog's answer has no id of the new dataset", where=f"POST {CATALOG}/dataSets")
    assert last is not None
    raise last


def patch_dataset(client: PlatformClient, dataset_id: str, operations: list[Mapping[str, Any]]) -> None:
    """Applies a JSON Patch (RFC 6902) to the dataset."""
    client.request(
        "PATCH",
        f"{CATALOG}/dataSets/{quote(dataset_id, safe='')}",
        json=operations,
        headers={"Content-Type": "application/json-patch+json"},
    )


def _pages(
    client: PlatformClient, what: str, filters: Mapping[str, str | int], at_most: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    start = 0
    while start < at_most:
        body = client.json("GET", f"{CATALOG}/{what}", params={**filters, "limit": PAGE, "start": start})
        if not isinstance(body, Mapping):
            raise UnexpectedAnswer("The Catalog's list is not a JSON object", where=f"GET {CATALOG}/{what}")
        yield from body.items()
        if len(body) < PAGE:
            return
        start += PAGE
