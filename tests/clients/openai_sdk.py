"""Drives a running matou with OpenAI's own Python client. Usage: openai_sdk.py BASE_URL

Exits non-zero, with the failed assertion, when an answer is not what the client expects.
"""

import json
import sys
from typing import Literal

import openai
import pydantic

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="unused", max_retries=0, timeout=120)

models = client.models.list().data
assert len(models) == 1, models
model = models[0].id
assert client.models.retrieve(model).id == model

question = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
answer = client.chat.completions.create(model=model, messages=question, temperature=0, max_tokens=32)
choice = answer.choices[0]
assert "Paris" in choice.message.content, choice
assert choice.message.role == "assistant"
assert choice.finish_reason in ("stop", "length")
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

stream = client.chat.completions.create(
    model=model,
    messages=question,
    temperature=0,
    max_tokens=32,
    stream=True,
    stream_options={"include_usage": True},
)
chunks = list(stream)
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
assert text == choice.message.content, (text, choice.message.content)
assert [c.choices[0].delta.role for c in chunks if c.choices and c.choices[0].delta.role] == ["assistant"]
assert len({c.id for c in chunks}) == 1
assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == choice.finish_reason
assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == answer.usage.completion_tokens

completion = client.completions.create(
    model=model, prompt="The capital of France is", temperature=0, max_tokens=6, logprobs=2
)
assert "Paris" in completion.choices[0].text, completion
assert len(completion.choices[0].logprobs.tokens) == completion.usage.completion_tokens

streamed = client.completions.create(
    model=model, prompt="The capital of France is", temperature=0, max_tokens=6, stream=True
)
assert "".join(c.choices[0].text for c in streamed if c.choices) == completion.choices[0].text

several = client.chat.completions.create(
    model=model, messages=question, n=3, seed=7, temperature=1.0, max_tokens=12, logprobs=True, top_logprobs=3
)
assert sorted(c.index for c in several.choices) == [0, 1, 2]
for c in several.choices:
    for token in c.logprobs.content:
        assert bytes(token.bytes) and len(token.top_logprobs) == 3

for bad, error in [
    (dict(model="no-such-model", messages=question), openai.NotFoundError),
    (dict(model=model, messages=[]), openai.BadRequestError),
    (dict(model=model, messages=question, max_tokens=-1), openai.BadRequestError),
    (dict(model=model, messages=question, temperature="warm"), openai.BadRequestError),
]:
    try:
        client.chat.completions.create(**bad)
    except error as raised:
        assert raised.body["message"], raised
    else:
        raise AssertionError(f"accepted {bad}")

weather = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Ulm", "Kiel"]}},
    "required": ["city"],
    "additionalProperties": False,
}
tools = [{"type": "function", "function": {"name": "weather", "description": "the weather", "parameters": weather}}]
forced = dict(model=model, messages=question, tools=tools, tool_choice="required", temperature=0, max_tokens=64)
called = client.chat.completions.create(**forced).choices[0]
assert called.finish_reason == "tool_calls", called
call = called.message.tool_calls[0]
assert call.function.name == "weather" and json.loads(call.function.arguments)["city"] in ("Ulm", "Kiel"), call
with client.chat.completions.stream(**forced) as events:
    for _ in events:
        pass
    streamed = events.get_final_completion().choices[0].message.tool_calls[0]
assert streamed.function.arguments == call.function.arguments, streamed
after = question + [called.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
assert client.chat.completions.create(model=model, messages=after, tools=tools, max_tokens=8).choices


class Capital(pydantic.BaseModel):
    city: Literal["Paris", "Rome"]
    is_large: bool


parsed = client.chat.completions.parse(
    model=model, messages=question, response_format=Capital, temperature=0, max_tokens=128
).choices[0].message.parsed
assert isinstance(parsed, Capital), parsed

response = client.responses.create(model=model, input=question, temperature=0, max_output_tokens=32)
assert response.output_text == choice.message.content, response
events = list(client.responses.create(model=model, input=question, temperature=0, max_output_tokens=32, stream=True))
assert events[0].type == "response.created" and [e.sequence_number for e in events] == list(range(len(events)))
text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
assert text == response.output_text and events[-1].response.output_text == text, text
followed = client.responses.create(
    model=model, input="And of Italy?", previous_response_id=response.id, max_output_tokens=8
)
assert followed.usage.input_tokens > response.usage.input_tokens
assert client.responses.retrieve(response.id).output_text == response.output_text
client.responses.delete(response.id)
function = {"type": "function", "name": "weather", "parameters": weather, "strict": True}
called = client.responses.create(
    model=model, input="?", tools=[function], tool_choice="required", max_output_tokens=64
).output[0]
assert called.type == "function_call" and json.loads(called.arguments)["city"] in ("Ulm", "Kiel"), called
parsed = client.responses.parse(model=model, input=question, text_format=Capital, max_output_tokens=128)
assert isinstance(parsed.output_parsed, Capital), parsed

# The client asks for base64 unless told otherwise.
texts = ["a cat sat on the mat", "the kitten is on the rug", "taxes are due in April"]
packed = client.embeddings.create(model=model, input=texts)
plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
vectors = [e.embedding for e in packed.data]
for a, b in zip(vectors, (e.embedding for e in plain.data)):
    assert all(abs(x - y) < 1e-6 for x, y in zip(a, b)) and abs(sum(x * x for x in a) - 1) < 1e-4
dot = lambda a, b: sum(x * y for x, y in zip(a, b))
assert dot(vectors[0], vectors[1]) > dot(vectors[0], vectors[2]), "cats are closer to kittens than to taxes"

print("openai", openai.__version__, "ok")
