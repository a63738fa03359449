"""The schema model: from repository files, from the Registry's full form, from a cache."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from mixpanel_aep_assets.xdm.composition import registry_schema, repository_schema
from mixpanel_aep_assets.xdm.names import platform_path
from mixpanel_aep_assets.xdm.schema import Schema, SchemaError
from mixpanel_aep_assets_tests.xdm.registry import full_form


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("xdm:timestamp", "timestamp"),
        ("@id", "_id"),
        ("@type", "_type"),
        ("schema:latitude", "_schema.latitude"),
        ("dc:language", "_dc.language"),
        ("repo:createDate", "_repo.createDate"),
        ("https://ns.adobe.com/experience/mcid", "_experience.mcid"),
        ("https://ns.adobe.com/xdm/channels/email", "_channels.email"),
        ("https://ns.adobe.com/vendor/a/b", "_vendor.a.b"),
        ("https://ns.adobe.com/xdm/channels/direct-mail", "_channels.directMail"),
        ("acme:field", "_acme.field"),
        ("plain", "plain"),
    ],
)
def test_repository_names_become_platform_paths(name: str, path: str) -> None:
    assert ".".join(platform_path(name)) == path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("_id", "string"),
        ("timestamp", "date_time"),
        ("environment.browserDetails.name", "string"),
        ("environment.browserDetails.cookiesEnabled", "boolean"),
        ("device.screenWidth", "int"),
        ("placeContext.geo._schema.latitude", "double"),
        ("environment._dc.language", "string"),
        ("productListItems[].SKU", "string"),
        ("productListItems.quantity", "int"),
        ("identityMap", "map"),
        ("identityMap{}[].primary", "boolean"),
        ("web.webPageDetails.pageViews", "object"),
    ],
)
def test_fields_are_found_by_platform_path_with_their_type(path: str, kind: str, event_schema: Schema) -> None:
    field = event_schema.field(path)
    assert field is not None
    assert field.kind == kind


def test_a_path_that_the_schema_lacks_is_none(event_schema: Schema) -> None:
    assert event_schema.field("environment.nothing.here") is None
    assert event_schema.field("_id.x") is None


def test_constraints_survive_the_way_into_the_model(event_schema: Schema) -> None:
    connection = event_schema.field("environment.connectionType")
    assert connection is not None
    assert connection.enum is not None
    assert len(connection.enum) == 17
    latitude = event_schema.field("placeContext.geo._schema.latitude")
    assert latitude is not None
    assert latitude.range == (-90, 90)
    event_type = event_schema.field("eventType")
    assert event_type is not None
    assert event_type.enum is None
    assert len(event_type.suggested) == 88
    assert event_schema.root.required == ("_id", "timestamp")
    measure = event_schema.field("commerce.purchases")
    assert measure is not None
    assert measure.required == ("value",)


def test_the_registry_form_gives_the_same_fields_as_the_repository(standard_schema: Schema) -> None:
    schema = registry_schema(full_form(standard_schema))
    assert schema.root == standard_schema.root
    assert (schema.id, schema.version, schema.union) == ("https://ns.adobe.com/acme/schemas/1", "1.3", True)
    assert schema.class_id == standard_schema.class_id


def test_the_cache_form_gives_the_same_schema(standard_schema: Schema) -> None:
    assert Schema.from_json(standard_schema.to_json()) == standard_schema


def test_a_damaged_cache_is_told(standard_schema: Schema) -> None:
    with pytest.raises(SchemaError, match="delete it"):
        Schema.from_json(standard_schema.to_json()[:-10])


def test_the_registry_form_may_compose_by_local_references() -> None:
    document = {
        "title": "t",
        "definitions": {"custom": {"properties": {"_acme": {"properties": {"n": {"type": "integer"}}}}}},
        "allOf": [{"$ref": "#/definitions/custom"}],
    }
    field = registry_schema(document).field("_acme.n")
    assert field is not None
    assert field.kind == "int"


@pytest.mark.parametrize("document", [{}, {"title": "x"}, [], "text", {"results": []}])
def test_what_is_no_schema_is_refused(document: Any) -> None:
    with pytest.raises(SchemaError, match="xed-full"):
        registry_schema(document)


def test_a_reference_without_a_file_is_named() -> None:
    document = {"$id": "https://x/a", "allOf": [{"$ref": "https://x/b"}]}
    with pytest.raises(SchemaError, match="https://x/b"):
        repository_schema([document], "https://x/a")


def test_a_schema_that_refers_to_itself_ends() -> None:
    document = {"properties": {"a": {"type": "object", "properties": {"b": {"$ref": "#/properties/a"}}}}}
    assert registry_schema(document).field("a.b") is not None


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        ({"type": "integer"}, "int"),
        ({"type": "integer", "minimum": 0}, "int"),
        ({"type": "integer", "minimum": 0, "maximum": 100}, "byte"),
        ({"type": "integer", "minimum": 1, "maximum": 32767}, "short"),
        ({"type": "integer", "minimum": -32768, "maximum": 32768}, "short"),
        ({"type": "integer", "minimum": -2147483648, "maximum": 2147483648}, "int"),
        ({"type": "integer", "minimum": -9007199254740992, "maximum": 9007199254740992}, "long"),
        ({"type": "integer", "meta:xdmType": "long"}, "long"),
        ({"type": "number"}, "double"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "date-time"}, "date_time"),
        ({"type": "string", "meta:enum": {"a": "A"}}, "string"),
        ({"type": ["string", "null"]}, "string"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "map"),
        ({"type": "array", "items": {"type": "string"}}, "array"),
        ({"properties": {"x": {"type": "string"}}}, "object"),
    ],
)
def test_types_follow_the_table(node: dict[str, Any], kind: str) -> None:
    field = registry_schema({"properties": {"f": node}}).field("f")
    assert field is not None
    assert field.kind == kind


def test_the_frame_of_a_schema_has_its_types(event_schema: Schema) -> None:
    columns = event_schema.polars_schema()
    assert columns["timestamp"] == pl.Datetime("ms", "UTC")
    identity = pl.Struct({"id": pl.String, "authenticatedState": pl.String, "primary": pl.Boolean})
    assert columns["identityMap"] == pl.Map(pl.String(), pl.List(identity))
