"""curl: publishing, polling, long polling, Server-Sent Events and a plain stream."""

import base64
import json

from support import Asking, Server, Stream, curl, publish


def since(channel, cursor, *arguments):
    return curl(*arguments, f"{channel}?since={cursor}").json()


def test_publish_and_get(server, name):
    channel = server.channel(name)
    published = curl("--header", "Content-Type: application/vnd.x+json; v=1", channel, body=b'{ "a": 1 }')
    assert published.status == 201
    receipt = published.json()
    assert receipt.keys() == {"channel", "cursor", "time"}
    assert (receipt["channel"], published["ETag"]) == (name, f'"{receipt["cursor"]}"')
    latest = curl(channel)
    assert (latest.status, latest.body) == (200, b'{ "a": 1 }')
    assert latest["Content-Type"] == "application/vnd.x+json; v=1"
    assert latest["ETag"] == published["ETag"]
    assert latest["Cache-Control"] == "no-cache"
    assert latest["Vary"].lower().split(", ") == ["accept", "prefer"]


def test_a_body_without_a_type_is_binary(server, name):
    every_byte = bytes(range(256))
    assert curl("--header", "Content-Type:", server.channel(name), body=every_byte).status == 201
    latest = curl(server.channel(name))
    assert (latest["Content-Type"], latest.body) == ("application/octet-stream", every_byte)


def test_polling_by_etag(server, name):
    channel = server.channel(name)
    assert curl(channel).status == 404
    first = publish(channel, "one")
    for tags in [f'"{first}"', f'W/"{first}"', f'"x", "{first}"', "*"]:
        answer = curl("--header", f"If-None-Match: {tags}", channel)
        assert (answer.status, answer.body, answer["ETag"]) == (304, b"", f'"{first}"'), tags
    publish(channel, "two")
    assert curl("--header", f'If-None-Match: "{first}"', channel).body == b"two"


def test_long_polling_is_held_until_there_is_news(server, name):
    channel = server.channel(name)
    cursor = publish(channel, "old")
    asking = Asking("--header", f'If-None-Match: "{cursor}"', "--header", "Prefer: wait=30", channel)
    # Whether curl asks before or after this is published, the answer is the news.
    publish(channel, "new")
    answer = asking.answer()
    assert (answer.status, answer.body, answer["Preference-Applied"]) == (200, b"new", "wait=30")
    expired = curl("--header", 'If-None-Match: *', "--header", "Prefer: wait=1", channel)
    assert (expired.status, expired["Preference-Applied"]) == (304, "wait=1")
    nothing = curl("--header", "Prefer: wait=1", server.channel(f"{name}/empty"))
    assert (nothing.status, nothing["Preference-Applied"]) == (404, "wait=1")


def test_polling_the_stream_skips_nothing(server, name):
    channel = server.channel(name)
    empty = since(channel, "")
    assert (empty["publications"], empty["recovered"]) == ([], True)
    cursors = [publish(channel, str(number)) for number in range(5)]
    page = since(channel, f"{empty['cursor']}&limit=3")
    assert [one["data"] for one in page["publications"]] == ["0", "1", "2"]
    assert page["cursor"] == cursors[2]
    page = since(channel, page["cursor"])
    assert [one["data"] for one in page["publications"]] == ["3", "4"]
    assert page["recovered"] is True
    expired = since(channel, cursors[4], "--header", "Prefer: wait=1")
    assert expired == {"publications": [], "cursor": cursors[4], "recovered": True}


def test_a_long_poll_of_the_stream_is_answered_by_a_publication(server, name):
    channel = server.channel(name)
    cursor = publish(channel, "old")
    asking = Asking("--header", "Prefer: wait=30", f"{channel}?since={cursor}")
    publish(channel, "new")
    answer = asking.answer()
    assert answer["Preference-Applied"] == "wait=30"
    assert [one["data"] for one in answer.json()["publications"]] == ["new"]


def test_deleted_history_is_gone_and_said_to_be(server, name):
    channel = server.channel(name)
    cursor = publish(channel, "one")
    publish(channel, "two")
    assert curl("--request", "DELETE", channel).status == 204
    assert curl(channel).status == 404
    assert since(channel, cursor)["recovered"] is False


def test_server_sent_events_resume_by_last_event_id(server, name):
    channel = server.channel(name)
    first = publish(channel, "one")
    accept = ["--header", "Accept: text/event-stream"]
    with Stream(*accept, channel) as stream:
        assert stream.field("content-type") == "text/event-stream"
        assert stream.field("x-accel-buffering") == "no"
        ready = stream.event()
        assert ready["event"] == "ready"
        assert json.loads(ready["data"])["recovered"] is True
        assert stream.event() == {"id": first, "data": "one"}
        second = publish(channel, "two\nlines")
        assert stream.event() == {"id": second, "data": "two\nlines"}
        third = publish(channel, b"\x00\xff", "application/octet-stream")
        binary = stream.event()
        assert (binary["event"], binary["id"]) == ("binary", third)
        assert base64.b64decode(binary["data"]) == b"\x00\xff"
        fourth = publish(channel, "carriage\rreturn")
        assert stream.event() == {"event": "binary", "id": fourth, "data": base64.b64encode(b"carriage\rreturn").decode()}
    # The field wins over the query.
    with Stream(*accept, "--header", f"Last-Event-ID: {first}", f"{channel}?since={third}") as stream:
        assert stream.event()["event"] == "ready"
        assert [stream.event()["id"] for _ in range(3)] == [second, third, fourth]
    for lost in ["nonsense", "000000000000:1"]:
        with Stream(*accept, "--header", f"Last-Event-ID: {lost}", channel) as stream:
            assert stream.event()["event"] == "gap"
            assert stream.event()["id"] == fourth


def test_a_plain_stream_resumes_by_since(server, name):
    pattern = server.channel(f"{name}/*")
    accept = ["--header", "Accept: application/x-ndjson"]
    with Stream(*accept, pattern) as stream:
        assert stream.field("content-type") == "application/x-ndjson"
        ready = stream.object()
        assert ready["recovered"] is True
        first = publish(server.channel(f"{name}/a"), '{"n":\r\n1}', "application/json")
        envelope = stream.object()
        assert (envelope["channel"], envelope["cursor"], envelope["data"]) == (f"{name}/a", first, {"n": 1})
        second = publish(server.channel(f"{name}/b"), b"\x00", "application/octet-stream")
        assert stream.object()["base64"] == "AA=="
    with Stream(*accept, f"{pattern}?since={first}") as stream:
        assert stream.object() == {"cursor": first, "recovered": True}
        assert stream.object()["cursor"] == second


def test_an_idempotency_key_makes_a_retry_safe(server, name):
    channel = server.channel(name)
    key = ["--header", "Idempotency-Key: 7c0e", "--header", "Content-Type: text/plain"]
    first = curl(*key, channel, body=b"once")
    again = curl(*key, channel, body=b"once")
    assert (again.status, again.json()) == (201, first.json())
    assert curl(*key, channel, body=b"another").status == 422
    assert len(since(channel, "")["publications"]) == 1


def test_pages_of_an_allowed_origin_get_cors(name):
    origin = ["--header", "Origin: https://app.example"]
    with Server("--allow-origin", "https://app.example") as server:
        channel = server.channel(name)
        preflight = curl(*origin, "--request", "OPTIONS", "--header", "Access-Control-Request-Method: POST",
                         "--header", "Access-Control-Request-Headers: content-type, idempotency-key", channel)
        assert 200 <= preflight.status < 300
        assert preflight["Access-Control-Allow-Origin"] == "https://app.example"
        assert "POST" in preflight["Access-Control-Allow-Methods"]
        assert "idempotency-key" in preflight["Access-Control-Allow-Headers"].lower()
        answer = curl(*origin, channel, body=b"x")
        assert answer.status == 201
        assert answer["Access-Control-Allow-Origin"] == "https://app.example"
        exposed = answer["Access-Control-Expose-Headers"].lower()
        assert all(field in exposed for field in ["etag", "preference-applied", "retry-after"])
        assert "origin" in answer["Vary"].lower()
