"""The example lines of mixpanel.md#example-lines, as sent."""

from __future__ import annotations

DOCUMENTED = [
    rb'{"event":"Signed up","properties":{"time":1602611311,"$insert_id":"hpuDqcvpltpCjBsebtxwadtEBDnFAdycabFb","mp_processing_time_ms":1602625711874}}',
    rb'{"event":"Signed up","properties":{"time":1602787121,"$insert_id":"jajcebutltmvhbbholfhxtCcycwnBjDtndha","mp_processing_time_ms":1602801521561}}',
    rb'{"event":"Viewed E-commerce Page","properties":{"time":1623860880,"distinct_id":"1d694fd9-31a5-4b99-9eef-ae63112063ed","$browser":"Chrome","$browser_version":"91.0.4472.101","$current_url":"https://unblockdata.com/solutions/e-commerce/","$insert_id":"c5eed127-c747-59c8-a5ed-d766f48e39a4","$mp_api_endpoint":"api.mixpanel.com","mp_lib":"Segment: analytics-wordpress","mp_processing_time_ms":1623886083321,"noninteraction":true}}',
]

VARIED = [
    line.encode()
    for line in r"""
{"event":"Purchase","properties":{"time":1768024800123,"distinct_id":"U1","$device_id":"D1","$user_id":"U1","$insert_id":"a1b2c3d4-0001","price":19.99,"qty":2,"coupon":null,"gift":false}}
{"event":"Purchase","properties":{"time":1768024801,"distinct_id":"U1","$insert_id":"a1b2c3d4-0002","price":"19.99","qty":"2","coupon":"","gift":"false"}}
{"event":"Purchase","properties":{"time":1768024802,"distinct_id":"U2","$insert_id":"a1b2c3d4-0003","items":[{"sku":"A","price":30},{"sku":"B","price":15.5,"tags":["x","y"]}],"genres":["Folk",1,10.0,null,true],"empty":[],"emptyobj":{}}}
{"event":"Checkout","properties":{"time":1768024803,"distinct_id":"U2","$insert_id":"a1b2c3d4-0004","ctx":{"a":{"b":{"c":"depth3"}}},"order_id":9007199254740993,"account":12345678901234567890,"tiny":1e-320,"huge":1.7976931348623157e308,"neg":-0.0}}
{"event":"検索 🔍","properties":{"time":1768024804,"distinct_id":"üser-ñ","$insert_id":"a1b2c3d4-0005","クエリ":"東京 — ½ \"quoted\" back\\slash","sep":"line\u2028para\u2029nel\u0085vt\u000bff\f","nl":"a\nb\r\nc\ttab","rtl":"שלום"}}
{"event":"Odd names","properties":{"time":1768024805,"distinct_id":"U3","$insert_id":"a1b2c3d4-0006","":"empty name","Cart Size (# of Items)":3,"Marketing A/B Test":"B","a.b.c":1,"a b":2,"A B":3,"a_b":4,"$city":"Austin","city":"austin","Plan":"x","plan":"y","50%":true,"💥":"emoji key","new\nline":1}}
{"event":"Dates","properties":{"time":1768024806,"distinct_id":"U3","$insert_id":"a1b2c3d4-0007","d1":"2026-01-10","d2":"2022-10-30T13:30:25","d3":"2022-10-30T13:30:25Z","d4":"2022-10-30T13:30:25+05:30","d5":"1638298874","d6":1638298874,"d7":1638298874000,"d8":"15/08/53895","d9":"0000-00-00"}}
{"event":"$mp_web_page_view","properties":{"time":1768024807,"distinct_id":"$device:18f-D9","$device_id":"18f-D9","$insert_id":"0z9y8x7w6v5u4t3s","$browser":"Chrome","$browser_version":120,"$current_url":"https://shop.example/p?utm_source=x","utm_source":"x","gclid":"g1","$initial_referrer":"$direct","$screen_height":1080,"$screen_width":1920,"mp_lib":"web","$lib_version":"2.55.1","mp_country_code":"DE","$city":"Köln","$region":"North Rhine-Westphalia","current_url_path":"/p","$mp_api_endpoint":"api-js.mixpanel.com","$mp_api_timestamp_ms":1768024808001,"mp_processing_time_ms":1768024809002,"mp_sent_by_lib_version":"2.55.1"}}
{"event":"$mp_web_page_view","properties":{"time":1768024807,"distinct_id":"U9","$distinct_id_before_identity":"$device:18f-D9","$is_reshuffled":true,"$device_id":"18f-D9","$insert_id":"0z9y8x7w6v5u4t3s","mp_processing_time_ms":1768024809002}}
{"event":"$identify","properties":{"time":1768024810,"distinct_id":"U9","$identified_id":"U9","$anon_id":"7b8f3c1e-5d2a-4c9b-8e1f-0a1b2c3d4e5f","$insert_id":"id-1"}}
{"event":"$merge","properties":{"time":1768024811,"distinct_id":"U9","$distinct_ids":["U9","old-9"],"$insert_id":"id-2"}}
{"event":"$create_alias","properties":{"time":1768024811,"distinct_id":"U9","alias":"u9@example.com","$insert_id":"id-3"}}
{"event":"$hotshard_events","properties":{"time":1768024812,"distinct_id":"","mp_original_event_name":"Ping","mp_original_distinct_id":"bot-1","$insert_id":"hs-1"}}
{"event":"Purchase","properties":{"time":1768024800,"distinct_id":"U1","$insert_id":"dup-1","price":10,"mp_processing_time_ms":1768024900000}}
{"event":"Purchase","properties":{"time":1768024800,"distinct_id":"U1","$insert_id":"dup-1","price":12,"mp_processing_time_ms":1768025900000}}
{"event":"Iso time","properties":{"time":"2026-01-10T06:00:13","distinct_id":4,"$insert_id":"iso-1","company_id":["acme","globex"]}}
{"event":"Late import","properties":{"time":1738368000,"distinct_id":"U5","$insert_id":"late-1","$import":true,"mp_processing_time_ms":1768030000000}}
{"event":"Lone surrogate","properties":{"time":1768024814,"distinct_id":"U6","$insert_id":"sur-1","s":"\ud83d"}}
""".strip().split("\n")
]

OF_ONE_DAY = [line.replace(b'"time":1738368000', b'"time":1768024816') for line in VARIED]
"""The same, the late import too of 10 January 2026: lines that one day's export sends."""

RAW_SEPARATORS = (
    '{"event":"検索","properties":{"time":1768024804,"distinct_id":"U","sep":"a\u2028b\u2029c\u0085d"}}'.encode()
)
RAW_CONTROLS = b'{"event":"Search","properties":{"time":1768024804,"distinct_id":"U","sep":"vt\x0bff\x0cfs\x1c"}}'

BROKEN = {
    b'{"event":"x","properties":{"time":17': "not_json",
    b"     ": "not_json",
    b"null": "wrong_shape",
    b"[]": "wrong_shape",
    b'{"error":"something"}': "no_event",
    b"\xff": "not_utf8",
    b'{"event":"x\xff","properties":{"time":1768024804}}': "not_utf8",
    b'{"event":"x","properties":{"n":NaN}}': "nan",
    b'{"event":"x","properties":{"n":-Infinity,"time":1}}': "nan",
    b'{"event":"x","properties":{}}': "no_time",
    b'{"event":"x","properties":{"time":null}}': "no_time",
    b'{"event":"x","properties":{"time":"yesterday"}}': "bad_time",
    b'{"event":"x","properties":{"time":true}}': "bad_time",
    b'{"event":"x","properties":{"time":1e300}}': "bad_time",
    b'{"event":"x","properties":{"time":1741168800000000}}': "bad_time",
    b'{"event":"x","properties":{"time":-1741168800000000}}': "bad_time",
    b'{"event":"x","properties":{"time":' + b"9" * 400 + b"}}": "bad_time",
    b'{"event":7,"properties":{"time":1}}': "no_event",
    b'{"event":"x","properties":[]}': "wrong_shape",
    b'{"event":"x"}': "wrong_shape",
    b'{"event":"x","properties":{"time":1},"more":1}': "wrong_shape",
    b'{"event":"x","properties":{"time":1}}{"event":"y","properties":{"time":1}}': "not_json",
    b'{"event":"x","properties":{"time":1,"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}": "too_deep",
}
