"""Drives a running matou with OpenAI's own Python client. Usage: openai_sdk.py BASE_URL

Exits non-zero, with the failed assertion, when an answer is not what the client expects.
"""

import sys

import openai

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

print("openai", openai.__version__, "ok")
