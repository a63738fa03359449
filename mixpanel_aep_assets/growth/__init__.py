"""Schemas grown from what is seen: names, types and the plan of tenant fields for properties that no mapping covers.

`properties` says what is known of a property, `field_names` and `field_types` decide, `schema_plan` is the document that
a person reviews, `mappings` is what follows from it. What belongs here: decisions. What was seen comes from
`pipeline.insight.property_statistics`, what is made of a plan on the Platform is `aep.provision`.
"""
