"""One call with the official OpenAI client for Python, as its users make it.

    client.py BASE_URL KEY MODEL NAME

Its requests carry NAME as X-Request-Id. Prints what came as one line of JSON:
the text of a stream, or the status and the code of the error, and how long it
took.
"""

import json
import sys
import time

import openai


def main(base_url, key, model, name):
    client = openai.OpenAI(base_url=base_url, api_key=key, default_headers={"X-Request-Id": name})
    begun = time.monotonic()
    out = {}
    try:
        events = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "count"}], max_tokens=20, stream=True)
        out["text"] = "".join(c.delta.content or "" for e in events for c in e.choices)
    except openai.APIStatusError as e:
        out.update(status=e.status_code, code=e.code, error=type(e).__name__)
    out["seconds"] = time.monotonic() - begun
    print(json.dumps(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
