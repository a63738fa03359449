"""A day of Mixpanel's export into `raw_events`: received, proven whole, parsed, written and committed in one step.

A pipeline of four threads: receive; gunzip, cut and look at lines; parse (the caller's); encode and write. Memory is
bounded by the queues between them. A body that is not proven whole leaves nothing behind, and the whole window is asked for
again.
"""

from __future__ import annotations

import datetime
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from msgspec.structs import replace

from mixpanel_aep_assets import manifests
from mixpanel_aep_assets.manifests import Exported, RawManifest
from mixpanel_aep_assets.mixpanel import (
    answers,
    body,
    changes,
    events,
    lines_of_other_days,
    mixpanel_errors,
    time_evidence,
    time_mode,
)
from mixpanel_aep_assets.mixpanel.client import Body, MixpanelClient, classify
from mixpanel_aep_assets.mixpanel.content import Content
from mixpanel_aep_assets.mixpanel.doubt import Judge
from mixpanel_aep_assets.mixpanel.export_retry import Retry
from mixpanel_aep_assets.mixpanel.line_parser import Broken
from mixpanel_aep_assets.mixpanel.lines_by_day import Dealer, Share
from mixpanel_aep_assets.mixpanel.parts import PartWriter
from mixpanel_aep_assets.mixpanel.privacy import WITHHELD, Privacy
from mixpanel_aep_assets.runtime.prefetch import ahead, collector_paused, memory_kept, quick_turns
from mixpanel_aep_assets.storage import Day, Staging, now

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the rows and the decompressed bytes so far, some times a second."""

BATCHES_AHEAD = 3
BLOCKS_AHEAD = 16
_ARRAY = re.compile(rb"\s*\[\s*(?:[{\]]|\Z)")
"""How a body begins that is one JSON array of events; looked for in its first 64 bytes."""

_TEXT = 64 << 10
"""Bytes of an answer that are looked at for what Mixpanel says in it."""


def export_day(
    client: MixpanelClient,
    day: Day,
    date: datetime.date | str,
    *,
    mode: time_mode.Decision | None = None,
    others: time_evidence.Evidence | None = None,
    retry: Retry | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda _: None,
    judge: Judge | None = None,
) -> Exported:
    """Exports one day and commits it as the content of `day`.

    The day gets the lines whose content is of it (`dealing`); others that came are kept with the request (`outside`).
    `mode` is what is known of the time mode; None: the settings decide, else the day's own events are looked at, together
    with the evidence of other days (`others`).
    A day whose lines are the same as those committed, in any order, is left as it is (`unchanged`).
    So is one whose reading the `judge` doubts (`doubt`). Whole-window retry on failures that may pass.
    Raises the errors of `mixpanel.mixpanel_errors` and StorageError; what was committed before stays.
    """
    asked = datetime.date.fromisoformat(date) if isinstance(date, str) else date
    source = client.source
    known = mode or time_mode.configured(source.time_mode, source.timezone)

    def attempt() -> Exported:
        request, asked_at = lines_of_other_days.request_of(day, asked, asked), now()
        with day.stage() as staging, request.stage() as beside:
            with (
                PartWriter(staging, source.privacy) as writer,
                lines_of_other_days.OutsideWriter(beside, source.privacy, asked.isoformat()) as astray,
            ):
                share = Share(writer)
                dealer = Dealer(asked, [share], astray)
                received = receive(client, asked, asked, dealer.take, progress=progress)
                dealer.deal()
                parts, aside = writer.close()
                astray.close()
            share.content.wire_bytes, share.content.seconds = received.wire_bytes, received.seconds
            manifest = manifest_of(client, asked, share.content, known, others)
            committed = commit(day, staging, replace(manifest, parts=parts, quarantine=aside), log, judge)
            if is_believed(judge):
                alone = () if judge is None else judge.held
                lines_of_other_days.finish(
                    request, beside, asked, asked, asked_at, [astray], source.privacy, left_alone=alone
                )
            return committed

    return (retry or Retry()).call(attempt, log)


def commit(
    day: Day, staging: Staging, manifest: RawManifest, log: Callable[[str], None], judge: Judge | None = None
) -> Exported:
    """Makes the staged files the day's content; leaves the day as it is where its lines are the committed ones, or the
    judge doubts them."""
    before = manifests.read(day, RawManifest)
    if before is not None and _same(before, manifest):
        log(f"{manifest.day}: the export is the same as the one committed; it stays")
        if judge is not None:
            judge.settle(day, manifest)
        return Exported(before, unchanged=True)
    after = [day.storage.location(staging.path(part.name)) for part in manifest.parts]
    if before is not None:
        manifest = replace(manifest, changes=changes.compare(day.locations(before), after))
    if judge is not None and (doubt := judge.doubt(day, before, manifest, after)) is not None:
        return Exported(manifest if before is None else before, unchanged=True, doubt=doubt.text)
    committed = manifests.commit(staging, manifest)
    if judge is not None:
        judge.settle(day, manifest)
    log(f"{manifest.day}: {manifest.rows} events, {manifest.quarantined} lines quarantined")
    if manifest.changes is not None:
        told = ", ".join(f"{count} {what}" for what, count in manifests.as_json(manifest.changes).items())
        log(f"{manifest.day}: events since the export before: {told}")
    return Exported(committed)


def is_believed(judge: Judge | None) -> bool:
    """Whether the last reading says which lines lie outside its days: not where it is doubted, except for lines that other
    days may have."""
    return judge is None or all(doubt.kind == "elsewhere" for doubt in judge.held.values())


@dataclass
class Received:
    """What is known of a body, whatever its days, once it has been read to its end."""

    wire_bytes: int = 0
    body_bytes: int = 0
    seconds: float = 0.0
    numbered: int = 0
    exported: int = 0
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_broken: Broken | None = None
    last_broken: Broken | None = None
    ended: bool = True
    opens_array: bool = False

    def add(self, parsed: events.Parsed, data: bytes | memoryview) -> None:
        rows = parsed.events.num_rows
        if not self.numbered:
            self.opens_array = _ARRAY.match(bytes(data[:64])) is not None
        self.body_bytes += len(data)
        self.numbered += parsed.numbered
        self.exported += parsed.lines
        self.rows += rows
        self.ended = data[-1:] == b"\n"
        for line in parsed.broken:
            self.reasons[line.reason] += 1
        if self.first_broken is None and parsed.broken:
            self.first_broken = parsed.broken[0]
        if parsed.lines:
            last = parsed.broken[-1] if parsed.broken else None
            behind = rows and last is not None and parsed.events["line"][rows - 1].as_py() > last.line
            self.last_broken = None if behind else last


Take = Callable[[events.Parsed, events.Prepared], None]
"""Called with each batch of a body, in order."""


def receive(
    client: MixpanelClient,
    first: datetime.date,
    last: datetime.date,
    take: Take,
    *,
    events_only: Sequence[str] | None = None,
    where: str | None = None,
    after: int = 0,
    progress: Progress | None = None,
) -> Received:
    """Reads the body of one request to its end and judges whether it is whole.

    `events_only` and `where` narrow the request as in `MixpanelClient.export`; lines are numbered from `after` + 1.
    Raises ExportIncomplete, or what the body says, where it is not whole: nothing that `take` was given may be kept then.
    """
    received = Received()
    began = time.perf_counter()
    framing: list[Body] = []
    answer = client.export(first, last, events=events_only, where=where)
    privacy = client.source.privacy
    with (
        memory_kept(),
        collector_paused(),
        quick_turns(),
        ahead(_batches(answer, received, framing, privacy), BATCHES_AHEAD) as batches,
    ):
        for prepared in batches:
            parsed = events.read(prepared, after + received.numbered + 1)
            for line in parsed.broken:
                _refuse_failure_text(line)
            take(parsed, prepared)
            received.add(parsed, prepared.lines.data)
            if progress is not None:
                progress(received.rows, received.body_bytes)
    received.seconds = time.perf_counter() - began
    _prove_end(received, framing[0], withheld=privacy is not None)
    return received


def _batches(
    answer: AbstractContextManager[Body], received: Received, framing: list[Body], privacy: Privacy | None
) -> Iterator[events.Prepared]:
    """The body in batches of whole lines, after the privacy rules, as prepared as can be without the interpreter's lock.

    Runs in a thread of its own, the receiving in another: the socket is read while the lock is waited for here.
    """

    def counted(blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            received.wire_bytes += len(block)
            yield block

    with answer as sent, ahead(counted(sent.blocks), BLOCKS_AHEAD) as blocks:
        framing.append(sent)
        if sent.gzip:
            first = next(blocks, None)
            if first is None:  # an empty day may come without a gzip header
                return
            blocks = body.gunzip(_chain(first, blocks))
        whole = body.batches(body.without_mark(blocks))
        for batch in whole:
            yield events.prepare(batch if privacy is None else privacy.lines(bytes(batch)))


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _refuse_failure_text(line: Broken) -> None:
    """Raises for a line that is Mixpanel's word that the export failed."""
    said = answers.given_up(line)
    if said is not None:
        raise mixpanel_errors.ExportIncomplete(f"Mixpanel gave the export up: “{said}” (line {line.line})")


def _prove_end(received: Received, sent: Body, *, withheld: bool) -> None:
    """The signs that tell a whole body, beside the coding's own end and gzip's checksum (mixpanel.md#export-response).

    `withheld`: no error may quote the body, since what is no event may still be a piece of one.
    """
    last, first = received.last_broken, received.first_broken
    if received.opens_array and (received.rows == 0 or (last is not None and last.bytes.rstrip().endswith(b"]"))):
        raise mixpanel_errors.UnexpectedAnswer("The answer is one JSON array, where an export is one event a line")
    if received.rows == 0 and first is not None and (said := answers.word(first)) is not None:
        meaning = classify(200, said[:_TEXT])
        if received.exported == 1 and (
            first.reason == "no_event" or not isinstance(meaning, mixpanel_errors.BadRequest)
        ):
            raise type(meaning)(f"Mixpanel's answer: {WITHHELD}") if withheld else meaning
        if received.reasons["not_json"] == received.exported:
            begins = f"({WITHHELD})" if withheld else answers.quoted(said, 80)
            raise mixpanel_errors.UnexpectedAnswer(f"The answer is not an export; it begins {begins}")
    if last is not None and "error" in (answers.error_object(last) or {}):
        text = f"({WITHHELD})" if withheld else answers.quoted(last.bytes.decode("utf-8", "replace"))
        raise mixpanel_errors.ExportIncomplete(f"the export ends in an error: {text}")
    if not received.ended:
        raise mixpanel_errors.ExportIncomplete(f"the export ends in the middle of line {received.numbered}")
    if last is not None and last.reason == "not_json":
        raise mixpanel_errors.ExportIncomplete(f"the last line ({last.line}) of the export is not JSON: {last.detail}")
    if not sent.framed and not sent.gzip:
        raise mixpanel_errors.ExportIncomplete(
            "the answer had neither a length nor chunks nor gzip, so that nothing proves its end",
            fix="A proxy between you and Mixpanel rewrites its answers: let the export host pass unchanged.",
        )


def manifest_of(
    client: MixpanelClient,
    date: datetime.date,
    content: Content,
    known: time_mode.Decision | None,
    others: time_evidence.Evidence | None = None,
) -> RawManifest:
    """What is stored beside the files, without what is known only of the day's place among others (`changes`, `window`)."""
    seen = content.weighed(client.source.timezone)
    judged = time_evidence.judge(seen)
    decision = known or time_evidence.decide(others, [seen]) or judged
    request = client.request(date, date)
    del request["time_in_ms"]
    request.pop("project_id", None)
    quarantined = content.reasons.total()
    privacy = client.source.privacy
    # The same lines under other rules are another day, even where no line has what the rules name.
    digest = content.digest if privacy is None else (content.digest + int(privacy.fingerprint, 16)) % (1 << 128)
    return RawManifest(
        day=date.isoformat(),
        exported=content.rows + quarantined,
        rows=content.rows,
        quarantined=quarantined,
        reasons=dict(sorted(content.reasons.items())),
        digest=f"{digest:032x}",
        privacy=None if privacy is None else privacy.fingerprint,
        max_processing_ms=content.max_processing_ms,
        first_ms=content.first_ms,
        last_ms=content.last_ms,
        events=dict(content.names.most_common(1_000)),
        time_mode="utc" if decision.mode == "unsure" else decision.mode,
        timezone=decision.timezone,
        time_evidence=manifests.TimeEvidence(
            sure=decision.sure,
            lasting=decision.lasting,
            text=decision.evidence,
            observed=seen.observed,
            observed_text=judged.evidence,
            zone=seen.timezone,
            counts=seen.counts(),
        ),
        request=request,
        project=client.source.project_name,
        body=manifests.Body(content.body_bytes, content.wire_bytes, round(content.seconds, 3)),
    )


def _same(before: RawManifest, after: RawManifest) -> bool:
    return _sameness(before) == _sameness(after)


def _sameness(manifest: RawManifest) -> tuple[object, ...]:
    grounds = manifest.time_evidence  # a day whose mode was a guess is not left at it when the guess turns out right
    return (
        manifest.digest,
        manifest.exported,
        manifest.rows,
        manifest.time_mode,
        manifest.timezone,
        manifest.request,
        grounds.sure,
        grounds.observed,
    )
