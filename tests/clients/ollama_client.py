"""Drives a running matou with Ollama's own Python client. Usage: ollama_client.py BASE_URL"""

import json
import sys

import ollama

client = ollama.Client(host=sys.argv[1])
model = client.list().models[0].model
assert client.ps().models[0].model == model
assert "completion" in client.show(model).capabilities

question = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
options = {"temperature": 0, "num_predict": 32}
answer = client.chat(model, question, options=options)
assert "Paris" in answer.message.content and answer.done, answer
chunks = list(client.chat(model, question, options=options, stream=True))
assert "".join(chunk.message.content for chunk in chunks) == answer.message.content
assert chunks[-1].done and chunks[-1].eval_count == answer.eval_count

raw = client.generate(model, "The capital of France is", raw=True, options=options)
assert "Paris" in raw.response, raw
schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
          "additionalProperties": False}
shaped = client.generate(model, "The capital of France?", format=schema, options=options)
assert json.loads(shaped.response)["city"] in ("Paris", "Rome"), shaped


def weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: where
    """
    return "sunny"


assert client.chat(model, question, tools=[weather], options=options).done
vectors = client.embed(model, ["a cat", "a dog"]).embeddings
assert len(vectors) == 2 and abs(sum(x * x for x in vectors[0]) - 1) < 1e-4

try:
    client.chat("no-such-model", question)
except ollama.ResponseError as raised:
    assert raised.status_code == 404 and "no-such-model" in raised.error, raised
else:
    raise AssertionError("accepted an unknown model")

print("ollama ok")
