"""What `pipeline` derives of each event before the mapping reads it."""

DERIVED = {
    "mixpanel.id": "mixpanel.id",
    "mixpanel.timestamp": "mixpanel.timestamp",
    "mixpanel.identityMap": "mixpanel.identityMap",
    "mixpanel.properties": "properties",
    "mixpanel.event": "event",
    "mixpanel.insertId": "insert_id",
    "mixpanel.distinctId": "distinct_id",
    "mixpanel.distinctIdBeforeIdentity": "distinct_id_before_identity",
    "mixpanel.deviceId": "device_id",
    "mixpanel.userId": "user_id",
}
"""Source path of a derived attribute -> column of the frame that the mapping reads."""
