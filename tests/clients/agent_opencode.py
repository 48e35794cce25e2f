"""Drives opencode against a running matou: a question that it answers by reading a file with a tool.
Usage: agent_opencode.py BASE_URL FOLDER_WITH_NODE_MODULES"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True  # this folder is under version control
import agent

url, folder = sys.argv[1], pathlib.Path(sys.argv[2]).absolute()
name = agent.model(url)
config = {
    "$schema": "https://opencode.ai/config.json",
    "autoupdate": False,
    "share": "disabled",
    "model": "matou/" + name,
    "small_model": "matou/" + name,
    "provider": {
        "matou": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "matou",
            "options": {"baseURL": url + "/v1", "apiKey": "unused"},
            "models": {name: {"name": name}},
        }
    },
}
environment = {
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
}
command = [folder / "node_modules/.bin/opencode", "run", "--format", "json", agent.PROMPT]
with agent.workplace() as (home, work):
    (home / ".config/opencode").mkdir(parents=True)
    (home / ".config/opencode/opencode.json").write_text(json.dumps(config))
    output = agent.run(command, home, work, environment)

events = agent.events(output)
states = [event["part"]["state"] for event in events if event["type"] == "tool_use"]
read = any(state["status"] == "completed" and agent.FACT in state["output"] for state in states)
agent.check(read, "no tool gave what the file says", output)
texts = [event["part"]["text"] for event in events if event["type"] == "text"]
agent.check(bool(texts) and "Milo" in texts[-1], "the answer does not name the cat", output)
print("opencode ok")
