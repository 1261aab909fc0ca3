// The official JavaScript clients, the AI SDK's providers and LangChain, against `lisao serve`. Run by
// tools/test-clients.sh, which names the server in LISAO_URL and its key in LISAO_KEY.
import assert from "node:assert/strict";

const url = process.env.LISAO_URL, key = process.env.LISAO_KEY;
const question = "What is the capital of Japan?", answer = "The capital of Japan is Tokyo.";
const words = process.argv.slice(2);
const join = async (stream) => { let all = ""; for await (const piece of stream) all += piece; return all; };

const cases = {
  async openai_raw() {
    const { default: OpenAI } = await import("openai");
    const o = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
    const ask = { model: "x", messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 20 };
    const whole = await o.chat.completions.create(ask);
    assert.equal(whole.choices[0].message.content, answer);
    let text = "";
    for await (const chunk of await o.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } }))
      text += chunk.choices[0]?.delta.content ?? "";
    assert.equal(text, answer);
    await assert.rejects(o.chat.completions.create({ ...ask, temperature: 9 }), (e) => e.status === 400 && e.code === "invalid_value");
  },
  async openai_stream() {
    const { default: OpenAI } = await import("openai");
    const o = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
    const stream = o.chat.completions.stream({ model: "x", messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 20 });
    assert.equal((await stream.finalChatCompletion()).choices[0].message.content, answer);
  },
  async openai_abort() {
    const { default: OpenAI } = await import("openai");
    const o = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
    const stream = await o.chat.completions.create({ model: "x", messages: [{ role: "user", content: question }], max_tokens: 3000, ignore_eos: true, stream: true });
    for await (const _ of stream) { stream.controller.abort(); break; }
  },
  async openai_responses() {
    const { default: OpenAI } = await import("openai");
    const o = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
    const ask = { model: "x", input: question, temperature: 0, max_output_tokens: 20 };
    assert.equal((await o.responses.create(ask)).output_text, answer);
    assert.equal((await o.responses.stream(ask).finalResponse()).output_text, answer);
  },
  async anthropic() {
    const { default: Anthropic } = await import("@anthropic-ai/sdk");
    const a = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
    const ask = { model: "x", max_tokens: 20, temperature: 0, messages: [{ role: "user", content: question }] };
    assert.equal((await a.messages.create(ask)).content[0].text, answer);
    assert.equal((await a.messages.stream(ask).finalMessage()).content[0].text, answer);
    assert.ok((await a.messages.countTokens({ model: "x", messages: ask.messages })).input_tokens > 20);
    await assert.rejects(a.messages.create({ ...ask, top_p: 9 }), (e) => e.status === 400 && e.error.error.type === "invalid_request_error");
  },
  ai_openai_compatible: () => ai(async () => (await import("@ai-sdk/openai-compatible")).createOpenAICompatible({ name: "lisao", baseURL: url + "/v1", apiKey: key })("x")),
  ai_deepseek: () => ai(async () => (await import("@ai-sdk/deepseek")).createDeepSeek({ baseURL: url, apiKey: key })("x")),
  ai_openai_chat: () => ai(async () => (await import("@ai-sdk/openai")).createOpenAI({ baseURL: url + "/v1", apiKey: key }).chat("x")),
  ai_openai_responses: () => ai(async () => (await import("@ai-sdk/openai")).createOpenAI({ baseURL: url + "/v1", apiKey: key }).responses("x")),
  ai_open_responses: () => ai(async () => (await import("@ai-sdk/open-responses")).createOpenResponses({ name: "lisao", url: url + "/v1/responses", apiKey: key })("x")),
  ai_anthropic: () => ai(async () => (await import("@ai-sdk/anthropic")).createAnthropic({ baseURL: url + "/v1", apiKey: key })("x")),
  langchain_openai: () => langchain(async () => new (await import("@langchain/openai")).ChatOpenAI({ model: "x", apiKey: key, temperature: 0, maxTokens: 20, maxRetries: 0, configuration: { baseURL: url + "/v1" } })),
  langchain_deepseek: () => langchain(async () => new (await import("@langchain/deepseek")).ChatDeepSeek({ model: "x", apiKey: key, temperature: 0, maxTokens: 20, maxRetries: 0, configuration: { baseURL: url } })),
  langchain_anthropic: () => langchain(async () => new (await import("@langchain/anthropic")).ChatAnthropic({ model: "x", apiKey: key, temperature: 0, maxTokens: 20, maxRetries: 0, anthropicApiUrl: url })),
};

async function ai(make) {
  const { generateText, streamText } = await import("ai");
  const ask = { model: await make(), prompt: question, temperature: 0, maxOutputTokens: 20, maxRetries: 0 };
  const whole = await generateText(ask);
  assert.equal(whole.text, answer);
  assert.equal(whole.finishReason, "stop");
  assert.ok(whole.usage.outputTokens > 5);
  const stream = streamText({ ...ask, onError({ error }) { throw error; } });
  assert.equal(await join(stream.textStream), answer);
}

async function langchain(make) {
  const model = await make();
  assert.equal((await model.invoke(question)).text, answer);
  let text = "";
  for await (const chunk of await model.stream(question)) text += chunk.text;
  assert.equal(text, answer);
}

let passed = 0, failed = 0;
for (const [name, run] of Object.entries(cases)) {
  if (words.length && !words.some((w) => name.includes(w))) continue;
  try {
    await run();
    passed++;
    console.log(`ok - ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok - ${name}: ${String(error?.stack ?? error).split("\n").slice(0, 6).join(" | ")}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
