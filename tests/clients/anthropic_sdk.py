"""Drives a running matou with Anthropic's own Python client. Usage: anthropic_sdk.py BASE_URL"""

import json
import sys
import urllib.request

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=120)
model = json.load(urllib.request.urlopen(sys.argv[1] + "/v1/models"))["data"][0]["id"]
ask = dict(
    model=model,
    system="You are a helpful assistant.",
    messages=[{"role": "user", "content": "What is the capital of France?"}],
    max_tokens=32,
    extra_body={"temperature": 0},
)

answer = client.messages.create(**ask)
assert answer.type == "message" and answer.role == "assistant", answer
assert "Paris" in answer.content[0].text, answer
assert answer.stop_reason in ("end_turn", "max_tokens")
assert answer._request_id

with client.messages.stream(**ask) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text == answer.content[0].text == final.content[0].text, text
assert final.usage.output_tokens == answer.usage.output_tokens

counted = client.messages.count_tokens(model=model, system=ask["system"], messages=ask["messages"])
assert counted.input_tokens == answer.usage.input_tokens + answer.usage.cache_read_input_tokens, counted

stopped = client.messages.create(**ask, stop_sequences=["Paris"])
assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "Paris", stopped

weather = {
    "name": "weather",
    "description": "the weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Ulm", "Kiel"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
forced = dict(ask, tools=[weather], tool_choice={"type": "tool", "name": "weather"}, max_tokens=64)
called = client.messages.create(**forced)
assert called.stop_reason == "tool_use", called
call = called.content[0]
assert call.type == "tool_use" and call.input["city"] in ("Ulm", "Kiel"), call
with client.messages.stream(**forced) as stream:
    assert stream.get_final_message().content[0].input == call.input
history = ask["messages"] + [
    {"role": "assistant", "content": called.content},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
]
assert client.messages.create(**dict(ask, tools=[weather], messages=history)).content

served = list(client.models.list(limit=1))
assert [entry.id for entry in served] == [model], served
assert client.models.retrieve(model) == served[0] and served[0].created_at.year >= 2024, served
try:
    client.models.retrieve("no-such-model")
except anthropic.NotFoundError as raised:
    assert raised.body["error"]["type"] == "not_found_error", raised
else:
    raise AssertionError("found a model that is not there")

for bad, error in [
    (dict(ask, model="no-such-model"), anthropic.NotFoundError),
    (dict(ask, messages=[]), anthropic.BadRequestError),
    (dict(ask, extra_body={"temperature": 7}), anthropic.BadRequestError),
]:
    try:
        client.messages.create(**bad)
    except error as raised:
        assert raised.body["error"]["message"], raised
    else:
        raise AssertionError(f"accepted {bad}")

print("anthropic", anthropic.__version__, "ok")
