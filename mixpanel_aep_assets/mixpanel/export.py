"""A day of Mixpanel's export into `raw_events`: received, proven whole, parsed, written and committed in one step.

A pipeline of three threads: receive, gunzip and split; parse (the caller's); encode and write. Memory is bounded by the
queues between them. A body that is not proven whole leaves nothing behind, and the whole window is asked for again.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_aep_assets.mixpanel import body, changes, errors, events, time_mode
from mixpanel_aep_assets.mixpanel.client import Body, MixpanelClient, classify
from mixpanel_aep_assets.mixpanel.odd import Broken
from mixpanel_aep_assets.mixpanel.parts import PartWriter
from mixpanel_aep_assets.mixpanel.pipes import ahead, collector_paused
from mixpanel_aep_assets.mixpanel.retry import Retry
from mixpanel_aep_assets.storage import Day

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the rows and the decompressed bytes so far, some times a second."""

BATCHES_AHEAD = 6
SAMPLE = 20_000
"""Events whose receipt is looked at to tell the time mode."""

TERMINATED = b"terminated early"
"""Mixpanel's words for giving up in the middle of a 200 (section 3.4)."""

_TEXT = 64 << 10
"""Bytes of an answer that are looked at for what Mixpanel says in it."""

MARGIN = 256
"""Bytes within which a line can be one of those failure texts; longer ones that are no JSON are just broken."""

UNCHANGED = "unchanged"
"""Key of a returned manifest (never of a stored one): true where the committed day was found to be the same."""


def export_day(
    client: MixpanelClient,
    day: Day,
    date: datetime.date | str,
    *,
    mode: time_mode.Decision | None = None,
    retry: Retry | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Exports one day and commits it as the content of `day`; returns the manifest (keys: `_manifest`).

    `mode` is what is known of the time mode; None: the settings decide, else the day's own events are looked at.
    A day whose lines are the same as those committed, in any order, is left as it is, and its manifest returned with
    `unchanged`. Whole-window retry on failures that may pass. Raises the errors of `mixpanel.errors` and StorageError;
    what was committed before stays.
    """
    asked = datetime.date.fromisoformat(date) if isinstance(date, str) else date
    source = client.source
    known = mode or time_mode.configured(source.time_mode, source.timezone)

    def attempt() -> dict[str, Any]:
        with day.stage() as staging:
            with PartWriter(staging) as writer:
                received = _receive(client, asked, writer, progress)
                parts, aside = writer.close()
            observed = time_mode.detect(received.differences(), source.timezone, asked)
            manifest = _manifest(client, asked, received, known or observed, observed)
            manifest |= {"parts": parts, "quarantine": aside}
            before = day.manifest()
            if before is not None and _same(before, manifest):
                log(f"{asked}: the export is the same as the one committed; it stays")
                return {**before, UNCHANGED: True}
            if before is not None:
                after = [day.storage.location(staging.path(part["name"])) for part in parts]
                manifest["changes"] = changes.compare(day.locations(before), after)
            return staging.commit(manifest)

    manifest = (retry or Retry()).call(attempt, log)
    if not manifest.get(UNCHANGED):
        log(f"{asked}: {manifest['rows']} events, {manifest['quarantined']} lines set aside")
    return manifest


@dataclass
class _Received:
    """What is known of a body once it has been read to its end."""

    wire_bytes: int = 0
    body_bytes: int = 0
    seconds: float = 0.0
    numbered: int = 0
    exported: int = 0
    rows: int = 0
    digest: int = 0
    max_processing_ms: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    sample: list[npt.NDArray[np.int64]] = field(default_factory=list)
    sampled: int = 0
    first_broken: Broken | None = None
    last_broken: Broken | None = None
    ended: bool = True

    def add(self, parsed: events.Parsed, data: bytes) -> None:
        table = parsed.events
        self.body_bytes += len(data)
        self.numbered += parsed.numbered
        self.exported += parsed.lines
        self.rows += table.num_rows
        self.digest = (self.digest + parsed.digest) % (1 << 128)
        self.ended = data.endswith(b"\n")
        for line in parsed.broken:
            self.reasons[line.reason] += 1
        if self.first_broken is None and parsed.broken:
            self.first_broken = parsed.broken[0]
        if parsed.lines:
            last = parsed.broken[-1] if parsed.broken else None
            rows = table.num_rows
            behind = rows and last is not None and table["line"][rows - 1].as_py() > last.line
            self.last_broken = None if behind else last
        if table.num_rows:
            self._look(table)

    def _look(self, table: pa.RecordBatch) -> None:
        processed = pc.max(table["processing_ms"]).as_py()
        if processed is not None:
            self.max_processing_ms = max(processed, self.max_processing_ms or processed)
        span = pc.min_max(table["time_ms"]).as_py()
        self.first_ms = span["min"] if self.first_ms is None else min(self.first_ms, span["min"])
        self.last_ms = span["max"] if self.last_ms is None else max(self.last_ms, span["max"])
        for entry in pc.value_counts(table["event"]).to_pylist():
            self.names[entry["values"]] += entry["counts"]
        if self.sampled < SAMPLE:
            receipt = pc.coalesce(table["received_ms"], table["processing_ms"])
            differences = pc.subtract(receipt, table["time_ms"])
            online = pc.invert(pc.fill_null(table["imported"], False))
            found = differences.filter(online).drop_null().to_numpy(zero_copy_only=False)
            self.sample.append(found)
            self.sampled += len(found)

    def differences(self) -> npt.NDArray[np.int64]:
        return np.concatenate(self.sample) if self.sample else np.empty(0, np.int64)


def _receive(client: MixpanelClient, date: datetime.date, writer: PartWriter, progress: Progress | None) -> _Received:
    """Reads a body to its end and judges whether it is whole; raises ExportIncomplete (or what it says) if not."""
    received = _Received()
    began = time.perf_counter()
    framing: list[Body] = []
    with collector_paused(), ahead(_batches(client, date, received, framing), BATCHES_AHEAD) as batches:
        for prepared in batches:
            parsed = events.read(prepared, received.numbered + 1)
            for line in parsed.broken:
                _refuse_failure_text(line)
            writer.write(parsed.events, parsed.broken)
            received.add(parsed, prepared.lines.data)
            if progress is not None:
                progress(received.rows, received.body_bytes)
    received.seconds = time.perf_counter() - began
    _prove_end(received, framing[0])
    return received


def _batches(
    client: MixpanelClient, date: datetime.date, received: _Received, framing: list[Body]
) -> Iterator[events.Prepared]:
    """The body in batches of whole lines, half parsed. Runs in the receiving thread."""

    def counted(blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            received.wire_bytes += len(block)
            yield block

    with client.export(date, date) as sent:
        framing.append(sent)
        blocks = counted(sent.blocks)
        if sent.gzip:
            first = next(blocks, None)
            if first is None:  # an empty day may come without a gzip header
                return
            blocks = body.gunzip(_chain(first, blocks))
        yield from map(events.prepare, body.batches(blocks))


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _refuse_failure_text(line: Broken) -> None:
    """Raises for a line that is Mixpanel's word that the export failed."""
    if len(line.bytes) <= MARGIN and line.reason == "not_json" and TERMINATED in line.bytes.lower():
        raise errors.ExportIncomplete(f"Mixpanel ended the export early (line {line.line})")


def _prove_end(received: _Received, sent: Body) -> None:
    """The signs that tell a whole body, beside the coding's own end and gzip's checksum (section 3.2)."""
    last, first = received.last_broken, received.first_broken
    torn = first is not None and first.reason == "not_json" and first.bytes.lstrip().startswith(b"{")
    if received.rows == 0 and first is not None and not torn:
        text = first.bytes[:_TEXT].decode("utf-8", "replace")
        said = classify(200, text)
        if received.exported == 1 and (first.reason == "no_event" or not isinstance(said, errors.BadRequest)):
            raise said
        if received.reasons["not_json"] == received.exported:
            raise errors.UnexpectedAnswer(f"The answer is no export, it begins {text[:80]!r}")
    if last is not None and last.reason == "no_event" and b'"error"' in last.bytes:
        raise errors.ExportIncomplete(f"the export ends in an error: {last.bytes[:300].decode('utf-8', 'replace')}")
    if not received.ended:
        raise errors.ExportIncomplete(f"the export ends in the middle of line {received.numbered}")
    if last is not None and last.reason == "not_json":
        raise errors.ExportIncomplete(f"the last line ({last.line}) of the export is no JSON: {last.detail}")
    if not sent.framed and not sent.gzip:
        raise errors.ExportIncomplete(
            "the answer had neither a length nor chunks nor gzip, so that nothing proves its end",
            fix="A proxy between you and Mixpanel rewrites its answers: let the export host pass unchanged.",
        )


def _manifest(
    client: MixpanelClient,
    date: datetime.date,
    received: _Received,
    decision: time_mode.Decision,
    observed: time_mode.Decision,
) -> dict[str, Any]:
    """What is stored beside the files; `changes` (appeared, changed, vanished) is added where a day is replaced.

    `exported` = `rows` + `quarantined`. `time_evidence` tells the mode's grounds: `sure` is false where the mode is
    a guess, `observed` what the day's own events say whatever was set. No secret, and no value of a filter beside the
    request's own.
    """
    request = client.request(date, date)
    del request["time_in_ms"]
    request.pop("project_id", None)
    return {
        "day": date.isoformat(),
        "exported": received.exported,
        "rows": received.rows,
        "quarantined": received.exported - received.rows,
        "reasons": dict(sorted(received.reasons.items())),
        "digest": f"{received.digest:032x}",
        "max_processing_ms": received.max_processing_ms,
        "first_ms": received.first_ms,
        "last_ms": received.last_ms,
        "events": dict(received.names.most_common(1_000)),
        "time_mode": "utc" if decision.mode == "unsure" else decision.mode,
        "timezone": decision.timezone,
        "time_evidence": {
            "sure": decision.sure,
            "lasting": decision.lasting,
            "text": decision.evidence,
            "observed": observed.mode,
            "observed_text": observed.evidence,
        },
        "request": request,
        "body": {
            "bytes": received.body_bytes,
            "wire_bytes": received.wire_bytes,
            "seconds": round(received.seconds, 3),
        },
    }


def _same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    keys = ("digest", "exported", "rows", "time_mode", "timezone", "request")
    return all(before.get(key) == after[key] for key in keys)
