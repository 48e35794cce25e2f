"""Drives a running matou with what people put on top of clients: LiteLLM, LangChain and Instructor.
Usage: frameworks.py BASE_URL"""

import json
import os
import sys
import urllib.request
from typing import Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices

import instructor
import litellm
import openai
import pydantic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

base_url = sys.argv[1] + "/v1"
model = json.load(urllib.request.urlopen(sys.argv[1] + "/v1/models"))["data"][0]["id"]
question = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


class Capital(pydantic.BaseModel):
    """The capital of a country."""

    model_config = pydantic.ConfigDict(extra="forbid")
    city: Literal["Paris", "Rome"]


@tool
def weather(city: Literal["Ulm", "Kiel"]) -> str:
    """Tells the weather of a city."""
    return "sunny"


common = dict(model="openai/" + model, api_base=base_url, api_key="unused", temperature=0, max_tokens=32)
answer = litellm.completion(messages=question, **common).choices[0].message.content
assert "Paris" in answer, answer
chunks = litellm.completion(messages=question, stream=True, **common)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer

chat = ChatOpenAI(model=model, base_url=base_url, api_key="unused", temperature=0, max_tokens=64)
assert "Paris" in chat.invoke(question).content
assert "Paris" in "".join(chunk.content for chunk in chat.stream(question))
called = chat.bind_tools([weather], tool_choice="any", strict=True).invoke("How is the weather?").tool_calls[0]
assert called["name"] == "weather" and called["args"]["city"] in ("Ulm", "Kiel"), called
assert isinstance(chat.with_structured_output(Capital).invoke("The capital of France?"), Capital)
embeddings = OpenAIEmbeddings(model=model, base_url=base_url, api_key="unused", check_embedding_ctx_length=False)
assert len(embeddings.embed_documents(["a", "b"])) == 2

client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    found = instructor.from_openai(client, mode=mode).chat.completions.create(
        model=model, messages=question, response_model=Capital, max_retries=0, max_tokens=64
    )
    assert isinstance(found, Capital), found

print("frameworks ok")
