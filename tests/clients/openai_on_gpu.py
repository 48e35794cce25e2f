"""Asks a matou that computes on a GPU with OpenAI's own Python client. Usage: openai_on_gpu.py BASE_URL"""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="unused", max_retries=0, timeout=120)
model = client.models.list().data[0].id
question = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
answer = client.chat.completions.create(model=model, messages=question, temperature=0, max_tokens=12)
text = answer.choices[0].message.content
assert "Paris" in text, answer

stream = client.chat.completions.create(
    model=model, messages=question, temperature=0, max_tokens=12, stream=True
)
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
assert streamed == text, (streamed, text)
print("ok")
