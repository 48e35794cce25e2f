#!/usr/bin/env python3
"""Concurrent clients against a running server: does everybody get an answer, and how fast together?

    matou serve --port 8080 &
    benches/serve.py http://127.0.0.1:8080 [--clients 32] [--requests 1] [--long 4 --long-tokens 3000] [--max-tokens 64]

Each client sends its requests one after the other; the first --long clients have prompts of about
--long-tokens tokens, the others short ones. Answers are not streamed, so that this program takes little
of the machine from the server. Prints one JSON line. Needs nothing but Python.
"""
import argparse, json, threading, time, urllib.error, urllib.request


def call(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=900) as response:
        return response.read()


def metric(base, name):
    for line in call(f"{base}/metrics").decode().splitlines():
        if line.startswith(f"matou:{name}{{"):
            return float(line.rsplit(" ", 1)[1])
    raise SystemExit(f"{base}/metrics has no {name}")


def prompt(base, client, tokens):
    """Made-up text of about this many tokens that no other client has."""
    words = "river stone garden winter letter music silver window market story".split()
    text = " ".join(words[(i * (client + 3) + i // 10) % 10] for i in range(tokens))
    return f"Story {client}: {text}. Go on with the story."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--long", type=int, default=4)
    parser.add_argument("--long-tokens", type=int, default=3000)
    parser.add_argument("--max-tokens", type=int, default=64)
    args = parser.parse_args()
    answered, failed, lock = [], [], threading.Lock()

    def client(i):
        length = args.long_tokens if i < args.long else 20 + 10 * (i % 8)
        for turn in range(args.requests):
            body = {
                "messages": [{"role": "user", "content": prompt(args.base, i + 100 * turn, length)}],
                "max_tokens": args.max_tokens, "ignore_eos": True, "seed": i,
            }
            try:
                usage = json.loads(call(f"{args.base}/v1/chat/completions", body))["usage"]
                with lock:
                    answered.append(usage)
            except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
                with lock:
                    failed.append(repr(error))

    threads = [threading.Thread(target=client, args=(i,)) for i in range(args.clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    total = lambda field: sum(usage[field] for usage in answered)
    print(json.dumps({
        "clients": args.clients, "answered": len(answered), "failed": len(failed), "errors": failed[:3],
        "seconds": round(seconds, 2),
        "prompt_tokens": total("prompt_tokens"), "completion_tokens": total("completion_tokens"),
        "prompt_tokens_per_s": round(total("prompt_tokens") / seconds, 1),
        "completion_tokens_per_s": round(total("completion_tokens") / seconds, 1),
        "total_tokens_per_s": round((total("prompt_tokens") + total("completion_tokens")) / seconds, 1),
        "kv_blocks_used_afterwards": metric(args.base, "kv_blocks_used"),
        "running_afterwards": metric(args.base, "num_requests_running"),
    }))


main()
