"""Asks a gateway with the official OpenAI client for Python, as its users do.

    openai_client.py BASE_URL PROMPT REPLY

REPLY is what the model answers to PROMPT in twelve tokens. Exits with 1 and says
why when an answer is not as it must be.
"""

import sys

import openai


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: {got!r}, should be {want!r}")
    print(f"{what}: as expected")


def main(base_url, prompt, reply):
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    messages = [{"role": "user", "content": prompt}]

    check("models", sorted(m.id for m in client.models.list() if m.id.startswith("tiny")), ["tiny-chat", "tiny-embed"])

    whole = client.chat.completions.create(model="tiny-chat", messages=messages, max_tokens=12)
    check("chat", (whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.completion_tokens), (reply, "length", 12))

    events = list(client.chat.completions.create(
        model="tiny-chat", messages=messages, max_tokens=12, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.delta.content or "" for e in events for c in e.choices)
    check("chat, streamed", (text, events[-1].usage.completion_tokens), (reply, 12))

    check("completion", client.completions.create(model="tiny-chat", prompt=prompt, max_tokens=12).choices[0].text, reply)
    text = "".join(e.choices[0].text for e in client.completions.create(model="tiny-chat", prompt=prompt, max_tokens=12, stream=True))
    check("completion, streamed", text, reply)

    stop = reply.split()[5]
    stopped = client.chat.completions.create(model="tiny-chat", messages=messages, max_tokens=12, stop=[stop])
    check("stop word", (stopped.choices[0].finish_reason, stopped.choices[0].message.content.split()), ("stop", reply.split()[:5]))

    with client.chat.completions.with_streaming_response.create(model="tiny-chat", messages=messages, max_tokens=12, stream=True) as raw:
        check("raw stream", list(raw.iter_lines())[-2:] == ["data: [DONE]", ""], True)

    vector = client.embeddings.create(model="tiny-embed", input=prompt, encoding_format="float").data[0].embedding
    packed = client.embeddings.create(model="tiny-embed", input=prompt).data[0].embedding
    check("embedding", (len(vector), [round(x, 4) for x in packed]), (64, [round(x, 4) for x in vector]))

    for what, error, status, call in (
        ("a model that is none", openai.NotFoundError, 404, lambda: client.chat.completions.create(model="none", messages=messages)),
        ("a temperature that is none", openai.BadRequestError, 400, lambda: client.chat.completions.create(model="tiny-chat", messages=messages, temperature="hot")),
        ("a prompt too long", openai.BadRequestError, 400, lambda: client.chat.completions.create(model="tiny-chat", messages=[{"role": "user", "content": "abc " * 5000}])),
    ):
        try:
            call()
        except error as e:
            check(what, e.status_code, status)
        else:
            sys.exit(f"{what}: no error")


if __name__ == "__main__":
    main(*sys.argv[1:])
