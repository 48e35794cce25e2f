"""Drives Claude Code against a running matou: a question that it answers by reading a file with a tool.
Usage: agent_claude_code.py BASE_URL FOLDER_WITH_NODE_MODULES"""

import pathlib
import sys

sys.dont_write_bytecode = True  # this folder is under version control
import agent

url, folder = sys.argv[1], pathlib.Path(sys.argv[2]).absolute()
name = agent.model(url)
environment = {
    "ANTHROPIC_BASE_URL": url,
    "ANTHROPIC_AUTH_TOKEN": "unused",
    "ANTHROPIC_MODEL": name,
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": name,
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_MAX_RETRIES": "1",  # what fails here fails again; ten retries would take minutes
    "CLAUDE_CODE_MAX_TURNS": "4",
}
command = [folder / "node_modules/.bin/claude", "--print", agent.PROMPT, "--allowedTools", "Read,Bash"]
command += ["--output-format", "stream-json", "--verbose", "--include-partial-messages"]
with agent.workplace() as (home, work):
    output = agent.run(command, home, work, environment)

events = agent.events(output)
results = [
    block
    for event in events
    if event["type"] == "user"
    for block in event["message"]["content"]
    if block["type"] == "tool_result"
]
read = any(agent.FACT in str(result["content"]) and not result.get("is_error") for result in results)
agent.check(read, "no tool gave what the file says", output)
streamed = [event["event"]["type"] for event in events if event["type"] == "stream_event"]
agent.check("content_block_delta" in streamed, "nothing was streamed", output)
answer = next((event.get("result") or "" for event in events if event["type"] == "result"), "")
agent.check("Milo" in answer, "the answer does not name the cat", output)
print("claude code ok")
