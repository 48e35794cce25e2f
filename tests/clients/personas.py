"""Talks to a persona of a running matou with the clients of four APIs. Usage: personas.py BASE_URL PERSONA"""

import sys
import urllib.request

import anthropic
import ollama
import openai

url, persona = sys.argv[1:3]
question = [{"role": "user", "content": "What is the capital of France?"}]


def check(label, text):
    assert label["persona"] == persona and label["generator"].startswith("matou/"), label
    assert "Paris" in text, text


client = openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0, timeout=120)
assert persona in [model.id for model in client.models.list().data]
raw = client.chat.completions.with_raw_response.create(model=persona, messages=question)
answer = raw.parse()
assert raw.headers["ai-disclosure"].startswith("mode=ai-originated"), raw.headers
assert answer.model == persona
check(answer.model_extra["matou"], answer.choices[0].message.content)
assert answer.usage.prompt_tokens_details.cached_tokens > 0, answer.usage
chunks = list(client.chat.completions.create(model=persona, messages=question, stream=True))
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == answer.choices[0].message.content, text
check(chunks[0].model_extra["matou"], text)
greeted = client.chat.completions.create(model=persona, messages=question, extra_body={"persona": {"greeting": 0}})
assert greeted.choices[0].message.content == text

response = client.responses.create(model=persona, input="What is the capital of France?")
check(response.model_extra["matou"], response.output_text)
events = list(client.responses.create(model=persona, input="What is the capital of France?", stream=True))
check(events[-1].response.model_extra["matou"], events[-1].response.output_text)

claude = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0, timeout=120)
message = claude.messages.create(model=persona, messages=question, max_tokens=40)
check(message.model_extra["matou"], message.content[0].text)
with claude.messages.stream(model=persona, messages=question, max_tokens=40) as stream:
    final = stream.get_final_message()
check(final.model_extra["matou"], final.content[0].text)
assert claude.models.retrieve(persona).id == persona

local = ollama.Client(host=url)
assert persona in [model.model for model in local.list().models]
assert "Paris" in local.chat(persona, question).message.content
last = list(local.chat(persona, question, stream=True))[-1]
assert last.done, last
assert "completion" in local.show(persona).capabilities

for call in (
    lambda: client.completions.create(model=persona, prompt="The"),
    lambda: client.embeddings.create(model=persona, input="The"),
):
    try:
        call()
    except openai.BadRequestError as raised:
        assert "persona" in str(raised), raised
    else:
        raise AssertionError("a persona is no more than its prompt")
with urllib.request.urlopen(f"{url}/v1/personas/{persona}") as page:
    assert b"capital" not in page.read()
print("ok")
