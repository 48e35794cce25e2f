"""Drives Codex against a running matou: a question that it answers by reading a file with its shell.
Usage: agent_codex.py BASE_URL FOLDER_WITH_NODE_MODULES"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True  # this folder is under version control
import agent

url, folder = sys.argv[1], pathlib.Path(sys.argv[2]).absolute()
# A string of JSON is one of TOML. What fails here fails again: no long retries.
config = f"""
model = {json.dumps(agent.model(url))}
model_provider = "matou"
check_for_update_on_startup = false

[model_providers.matou]
name = "matou"
base_url = {json.dumps(url + "/v1")}
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1

[analytics]
enabled = false
"""
# Containers often forbid what its sandbox is made of, and the folder is a temporary one.
command = [folder / "node_modules/.bin/codex", "exec", "--dangerously-bypass-approvals-and-sandbox"]
command += ["--skip-git-repo-check", "--ephemeral", "--json", agent.PROMPT]
with agent.workplace() as (home, work):
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text(config)
    output = agent.run(command, home, work, {})

items = [event["item"] for event in agent.events(output) if event["type"] == "item.completed"]
read = any(
    item["type"] == "command_execution" and item["exit_code"] == 0 and agent.FACT in item["aggregated_output"]
    for item in items
)
agent.check(read, "no command gave what the file says", output)
answers = [item["text"] for item in items if item["type"] == "agent_message"]
agent.check(bool(answers) and "Milo" in answers[-1], "the answer does not name the cat", output)
print("codex ok")
