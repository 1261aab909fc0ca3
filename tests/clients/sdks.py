"""The official Python clients of OpenAI and Anthropic, against `lisao serve`."""
import struct
import time

import anthropic
import openai
from common import KEY, Server, run

QUESTION = [{"role": "user", "content": "What is the capital of Japan?"}]
ANSWER = "The capital of Japan is Tokyo."


def clients(server):
    return (openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, max_retries=0),
            anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0))


def chat_whole(server, o, a):
    r = o.chat.completions.create(model="x", messages=QUESTION, temperature=0, max_tokens=20, logprobs=True,
                                  top_logprobs=2)
    assert r.choices[0].message.content == ANSWER, r
    assert r.choices[0].finish_reason == "stop"
    content = r.choices[0].logprobs.content
    assert "".join(t.token for t in content) == ANSWER
    assert all(t.top_logprobs[0].logprob == t.logprob and len(t.top_logprobs) == 2 for t in content)
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    assert r._request_id.startswith("req_")


def chat_stream(server, o, a):
    text, usage, reasons = "", None, []
    for chunk in o.chat.completions.create(model="x", messages=QUESTION, temperature=0, max_tokens=20, stream=True,
                                           stream_options={"include_usage": True}):
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.finish_reason:
                reasons.append(choice.finish_reason)
    assert (text, reasons) == (ANSWER, ["stop"]), (text, reasons)
    assert usage.completion_tokens == 8 and usage.prompt_tokens > 20, usage
    with o.chat.completions.stream(model="x", messages=QUESTION, temperature=0, max_tokens=20) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def chat_length(server, o, a):
    r = o.chat.completions.create(model="x", messages=QUESTION, temperature=0, max_tokens=3)
    assert r.choices[0].finish_reason == "length" and r.usage.completion_tokens == 3
    r = o.chat.completions.create(model="x", messages=QUESTION, temperature=0, stop=[" Tokyo", "none"])
    assert (r.choices[0].message.content, r.choices[0].finish_reason) == ("The capital of Japan is", "stop")


def chat_seed(server, o, a):
    def ask(**more):
        r = o.chat.completions.create(model="x", messages=QUESTION, temperature=1.5, max_tokens=12, **more)
        return [c.message.content for c in r.choices]
    first, again, three = ask(seed=7), ask(seed=7), ask(seed=7, n=3)
    assert first == again and three[0] == first[0], (first, again, three)
    assert ask(seed=8) == three[1:2], "choice i draws by seed + i"


def embeddings(server, o, a):
    texts = ["The river runs to the sea.", "A stream flows to the ocean.", "Divide both sides by two."]
    alone = o.embeddings.create(model="x", input=texts[0]).data[0].embedding  # the client asks for base64
    three = o.embeddings.create(model="x", input=texts, encoding_format="float")
    assert [d.index for d in three.data] == [0, 1, 2] and three.usage.total_tokens > 15
    assert [struct.pack("<f", x) for x in alone] == [struct.pack("<f", x) for x in three.data[0].embedding]
    assert all(abs(sum(x * x for x in d.embedding) - 1) < 1e-5 for d in three.data)


def chat_prefix(server, o, a):
    r = o.chat.completions.create(model="x", messages=QUESTION + [{"role": "assistant", "content": "The capital of"}],
                                  temperature=0, max_tokens=20)
    assert ("The capital of" + r.choices[0].message.content) == ANSWER, r


def chat_errors(server, o, a):
    def status(kind, param, **body):
        try:
            o.chat.completions.create(model="x", **body)
        except kind as e:
            assert e.param == param and e.code and e.type, e.body
            return
        raise AssertionError(body)
    status(openai.BadRequestError, "temperature", messages=QUESTION, temperature=3)
    status(openai.BadRequestError, "messages", messages=[])
    status(openai.BadRequestError, "messages", messages=[{"role": "king", "content": "x"}])
    status(openai.BadRequestError, "messages",
           messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])
    status(openai.BadRequestError, "top_logprobs", messages=QUESTION, top_logprobs=3)
    try:
        o.chat.completions.create(model="x", messages=[{"role": "user", "content": "word " * 9000}])
        raise AssertionError("a prompt that is too long")
    except openai.BadRequestError as e:
        assert e.code == "context_length_exceeded", e.body


def keys(server, o, a):
    for bad in (openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0),):
        try:
            bad.models.list()
            raise AssertionError("a wrong key was let in")
        except openai.AuthenticationError as e:
            assert e.code == "invalid_api_key"
    try:
        anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0).messages.create(
            model="x", max_tokens=3, messages=QUESTION)
        raise AssertionError("a wrong key was let in")
    except anthropic.AuthenticationError as e:
        assert e.body["error"]["type"] == "authentication_error"
    assert anthropic.Anthropic(base_url=server.url, auth_token=KEY, api_key=None, max_retries=0).messages.count_tokens(
        model="x", messages=QUESTION).input_tokens > 20


def models(server, o, a):
    name = o.models.list().data[0].id
    assert o.models.retrieve(name).id == name
    assert a.models.list().data[0].id == name
    try:
        o.models.retrieve("none")
        raise AssertionError
    except openai.NotFoundError as e:
        assert e.code == "model_not_found"


def completions(server, o, a):
    r = o.completions.create(model="x", prompt="The capital of France is", temperature=0, max_tokens=3, logprobs=2,
                             echo=True)
    c = r.choices[0]
    assert c.text.startswith("The capital of France is Paris"), c
    assert "".join(c.logprobs.tokens) == c.text and c.logprobs.token_logprobs[0] is None
    assert c.logprobs.text_offset == [len("".join(c.logprobs.tokens[:i])) for i in range(len(c.logprobs.tokens))]
    assert r.usage.completion_tokens == 3
    ids = o.completions.create(model="x", prompt=[[504, 3575], [504, 3575, 282]], max_tokens=1, temperature=0)
    assert len(ids.choices) == 2
    text = "".join(k.choices[0].text for k in o.completions.create(model="x", prompt="One, two,", max_tokens=5,
                                                                    temperature=0, stream=True))
    whole = o.completions.create(model="x", prompt="One, two,", max_tokens=5, temperature=0).choices[0].text
    assert text == whole, (text, whole)


def messages_whole(server, o, a):
    r = a.messages.create(model="x", max_tokens=20, messages=QUESTION, extra_body={"temperature": 0})
    assert r.content[0].text == ANSWER and r.stop_reason == "end_turn", r
    assert r.usage.output_tokens == 8
    r = a.messages.create(model="x", max_tokens=20, messages=QUESTION, extra_body={"temperature": 0},
                          stop_sequences=["Berlin", " is"])
    assert (r.content[0].text, r.stop_reason, r.stop_sequence) == ("The capital of Japan", "stop_sequence", " is")


def messages_stream(server, o, a):
    with a.messages.stream(model="x", max_tokens=20, messages=QUESTION, extra_body={"temperature": 0},
                           system=[{"type": "text", "text": "You are a helpful AI assistant named SmolLM, trained by "
                                                            "Hugging Face"}]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == ANSWER == final.content[0].text and final.stop_reason == "end_turn", text
    assert final.usage.output_tokens == 8


def responses(server, o, a):
    r = o.responses.create(model="x", input="What is the capital of Japan?", temperature=0, max_output_tokens=20)
    assert r.output_text == ANSWER and r.status == "completed", r
    with o.responses.stream(model="x", input=[{"role": "user", "content": "What is the capital of Japan?"}],
                            temperature=0, max_output_tokens=20) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == ANSWER and kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    r = o.responses.create(model="x", input="Tell me a story.", max_output_tokens=3)
    assert r.status == "incomplete" and r.incomplete_details.reason == "max_output_tokens"


def cancelled(server, o, a):
    """A client that leaves frees its sequence at once."""
    stream = o.chat.completions.create(model="x", messages=QUESTION, stream=True, max_tokens=3000,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    end = time.time() + 5
    while time.time() < end:
        text = o.get("/metrics", cast_to=str)
        if "lisao_requests_running 0" in text and "cancelled_total 1" in text:
            return
        time.sleep(0.05)
    raise AssertionError(text)


if __name__ == "__main__":
    with Server("--act", "a16") as server:
        run([chat_whole, chat_stream, chat_length, chat_seed, chat_prefix, embeddings, chat_errors, keys, models,
             completions, messages_whole, messages_stream, responses, cancelled], server, *clients(server))
