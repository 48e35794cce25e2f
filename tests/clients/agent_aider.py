"""Drives aider against the Ollama API of a running matou: it writes what a file says into another one. aider
calls no tools: it shows the model its files, and writes those that the answer lists.
Usage: agent_aider.py BASE_URL FOLDER_OF_THE_VIRTUAL_ENVIRONMENT"""

import pathlib
import sys

sys.dont_write_bytecode = True  # this folder is under version control
import agent

url, folder = sys.argv[1], pathlib.Path(sys.argv[2]).absolute()
command = [folder / "bin/aider", "--model", "ollama_chat/" + agent.model(url), "--edit-format", "whole", "--stream"]
command += ["--yes-always", "--no-git", "--no-auto-commits", "--no-pretty", "--no-fancy-input"]
command += ["--no-check-update", "--analytics-disable", "--no-show-model-warnings", "--no-show-release-notes"]
command += ["--no-suggest-shell-commands", "--no-detect-urls", "--no-auto-lint"]
command += ["--read", "notes.txt", "--message", "Write the name of the cat into answer.txt."]
environment = {
    "OLLAMA_API_BASE": url,
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network for prices
    "PYTHONIOENCODING": "utf-8",
}
with agent.workplace() as (home, work):
    # A list of prices that is not empty and not old: else aider fetches one.
    (home / ".aider/caches").mkdir(parents=True)
    (home / ".aider/caches/model_prices_and_context_window.json").write_text('{"none": {}}')
    output = agent.run(command, home, work, environment)
    written = work / "answer.txt"
    # aider's exit status is 0 whatever the server said.
    agent.check(written.is_file(), "answer.txt was not written", output)
    agent.check("Milo" in written.read_text(), "answer.txt does not name the cat", output)
print("aider ok")
