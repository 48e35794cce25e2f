"""What the drivers of coding agents share: a home of their own, a folder with a file to read, one bounded run.
The agent is told to read the file with a tool, so that what a driver checks went through a tool call and its
result. Not a script."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.request

TIMEOUT = 120  # seconds for the whole run of an agent
PROMPT = "Read notes.txt and tell me what the cat is called."
FACT = "The cat is called Milo."


def model(url: str) -> str:
    """The name under which the server at `url` serves its model."""
    with urllib.request.urlopen(url + "/v1/models", timeout=30) as answer:
        return json.load(answer)["data"][0]["id"]


@contextlib.contextmanager
def workplace():
    """An empty home and a folder to work in, which has `notes.txt`; both are removed at the end."""
    # What an agent leaves running may still write while the folders are removed.
    with tempfile.TemporaryDirectory(prefix="agent-", ignore_cleanup_errors=True) as place:
        home, work = pathlib.Path(place, "home"), pathlib.Path(place, "work")
        home.mkdir()
        work.mkdir()
        (work / "notes.txt").write_text(FACT + "\n")
        yield home, work


def run(command: list, home: pathlib.Path, work: pathlib.Path, environment: dict) -> str:
    """Runs an agent to its end and gives what it printed; ends this program if that failed."""
    # Nothing of this user's settings reaches the agent, and nothing of the agent's reaches them.
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), **environment}
    agent = subprocess.Popen(
        [str(part) for part in command],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, errors = agent.communicate(timeout=TIMEOUT)
        problem = f"exit status {agent.returncode}" if agent.returncode else None
    except subprocess.TimeoutExpired:
        end(agent)
        output, errors = agent.communicate()
        problem = f"no end within {TIMEOUT} seconds"
    finally:
        end(agent)
    if problem:
        fail(problem, output, errors)
    return output


def end(agent: subprocess.Popen):
    """Kills the agent and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(agent.pid, signal.SIGKILL)


def check(holds: bool, problem: str, output: str):
    """Ends this program with what the agent printed, unless `holds`."""
    if not holds:
        fail(problem, output)


def fail(problem: str, output: str, errors: str = ""):
    """Ends this program, which did not go well."""
    sys.exit(f"{problem}\n--- the end of its output\n{output[-6000:]}\n--- and of its errors\n{errors[-3000:]}")


def events(output: str) -> list:
    """The lines of JSON among what an agent printed."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
