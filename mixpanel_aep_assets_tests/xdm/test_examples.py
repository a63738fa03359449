"""The official examples, converted to Platform names, against their own schema closed."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest

from mixpanel_aep_assets.xdm.composition import repository_schema
from mixpanel_aep_assets.xdm.conformance import Conformance
from mixpanel_aep_assets.xdm.json_schema import closed_json_schema
from mixpanel_aep_assets.xdm.names import platform_record
from mixpanel_aep_assets.xdm.rules import OWN
from mixpanel_aep_assets.xdm.schema import Schema
from mixpanel_aep_assets_tests.outside import NO_XDM, XDM
from mixpanel_aep_assets_tests.xdm.conftest import NOW, SELECTION, load

UNCLEAN = [
    "components/classes/experienceevent.example.1.json",
    "components/classes/experienceevent.example.2.json",
    "components/classes/experienceevent.example.3.json",
    "components/classes/experienceevent.example.4.json",
    "components/classes/experienceevent.example.5.json",
    "components/classes/experienceevent.example.6.json",
    "components/classes/experienceevent.example.7.json",
    "components/classes/profile.example.1.json",
    "components/datatypes/application.example.2.json",
    "components/datatypes/b2b/b2b-source.example.1.json",
    "components/datatypes/channels/channel.example.1.json",
    "components/datatypes/data/order.example.2.json",
    "components/datatypes/enduserids.example.1.json",
    "components/datatypes/external/schema/geocoordinates.example.1.json",
    "components/datatypes/marketing/advertising.example.1.json",
    "components/datatypes/marketing/commerce.example.1.json",
    "components/datatypes/namespace.example.1.json",
    "components/datatypes/placecontext.example.1.json",
    "components/datatypes/poi-detail.example.2.json",
    "components/datatypes/productlistitem.example.1.json",
    "components/datatypes/segmentmembershipitem.example.1.json",
    "components/datatypes/webinfo.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-advertising.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-commerce.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-enduserids.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-file-download-details.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-file-upload-details.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-inappmessage-tracking.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-order-details.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-profile-stitch.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-pushtracking.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-segmentmembership.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-user-login-details.example.1.json",
    "components/fieldgroups/experience-event/experienceevent-web.example.1.json",
    "components/fieldgroups/product/product-measurement.example.1.json",
    "components/fieldgroups/profile/profile-work-details.example.1.json",
    "components/fieldgroups/shared/external-source-system-audit-details.example.1.json",
    "components/fieldgroups/shared/identitymap.example.1.json",
    "components/fieldgroups/shared/identitymap.example.2.json",
    "components/fieldgroups/shared/segmentation.example.1.json",
    "extensions/adobe/experience/aep-web-sdk-experienceevent.example.1.json",
    "extensions/adobe/experience/decisioning/content-component-details.example.1.json",
    "extensions/adobe/experience/decisioning/experienceevent-proposition-interaction.example.2.json",
    "extensions/adobe/experience/decisioning/interaction-measurement-details.example.1.json",
    "extensions/adobe/experience/decisioning/interaction-measurement-details.example.2.json",
    "extensions/adobe/experience/decisioning/interaction-measurement-details.example.3.json",
    "extensions/adobe/experience/decisioning/interaction-measurement-details.example.4.json",
    "extensions/adobe/experience/decisioning/option-detail.example.1.json",
    "extensions/adobe/experience/decisioning/option-detail.example.2.json",
    "extensions/adobe/experience/decisioning/option-detail.example.3.json",
    "extensions/adobe/experience/decisioning/option-detail.example.4.json",
    "extensions/adobe/experience/decisioning/proposition-interaction-detail.example.1.json",
    "extensions/adobe/experience/decisioning/proposition-interaction-detail.example.2.json",
]
"""Examples with undeclared fields or worse, by `resolve_check.py -v`. All others it calls clean."""

BECOME_CLEAN = [
    "extensions/adobe/experience/decisioning/interaction-measurement-details.example.1.json",
    "extensions/adobe/experience/decisioning/interaction-measurement-details.example.2.json",
    "extensions/adobe/experience/decisioning/interaction-measurement-details.example.3.json",
    "components/fieldgroups/experience-event/experienceevent-order-details.example.1.json",
]
"""Their slip is a bare name, or `xdm:_id`: with Platform names there is none left."""

EXAMPLES = [path for path in SELECTION if ".example." in path]
CLEAN = [name for name in EXAMPLES if name not in UNCLEAN]


def converted(name: str, files: list[dict[str, Any]]) -> tuple[Schema, Any]:
    path = XDM / name
    stem = re.sub(r"\.example\.\d+\.json$", "", path.name)
    schema = repository_schema(files, load(path.parent / f"{stem}.schema.json")["$id"])
    return schema, platform_record(load(path), schema.root)


@pytest.mark.skipif(not EXAMPLES, reason=NO_XDM)
def test_the_examples_are_those_of_the_reference() -> None:
    assert (len(EXAMPLES), len(CLEAN)) == (169, 116)


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_example_is_accepted(name: str, files: list[dict[str, Any]]) -> None:
    schema, record = converted(name, files)
    assert [v for v in Conformance(schema, now=NOW).record(record) if v.keyword not in OWN] == []


@pytest.mark.parametrize("name", [name for name in UNCLEAN if name not in BECOME_CLEAN])
def test_an_example_with_undeclared_fields_is_refused(name: str, files: list[dict[str, Any]]) -> None:
    schema, record = converted(name, files)
    assert any(v.keyword not in OWN for v in Conformance(schema, now=NOW).record(record))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_oracle_agrees_on_every_example(name: str, files: list[dict[str, Any]]) -> None:
    schema, record = converted(name, files)
    oracle = jsonschema_rs.Draft6Validator(closed_json_schema(schema), validate_formats=True)
    expected = {("".join(f"/{step}" for step in e.instance_path), e.kind.name) for e in oracle.iter_errors(record)}
    found = {(v.pointer, v.keyword) for v in Conformance(schema, now=NOW).record(record) if v.keyword not in OWN}
    assert found == expected


def test_event_examples_pass_the_class_with_all_groups(event_schema: Schema) -> None:
    folder = XDM / "components" / "fieldgroups" / "experience-event"
    rules = Conformance(event_schema, now=NOW)
    names = [name for name in CLEAN if name.startswith("components/fieldgroups/experience-event/")]
    for name in names:
        record = platform_record(load(folder / name.rsplit("/", 1)[1]), event_schema.root)
        record = {"_id": "a", "timestamp": "2026-01-01T00:00:00Z", **record}
        assert [v for v in rules.record(record) if v.keyword not in OWN] == [], name
    assert len(names) > 15
