// Drives a running matou with OpenAI's own client for Node. Usage: openai_node.mjs BASE_URL

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "unused", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const messages = [
  { role: "system", content: "You are a helpful assistant." },
  { role: "user", content: "What is the capital of France?" },
];
const ask = { model, messages, temperature: 0, max_tokens: 32 };

const answer = (await client.chat.completions.create(ask)).choices[0].message.content;
assert.match(answer, /Paris/);
let text = "";
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(text, answer);

const parameters = {
  type: "object",
  properties: { city: { type: "string", enum: ["Ulm", "Kiel"] } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const stream = client.chat.completions.stream({ ...ask, tools, tool_choice: "required" });
const call = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
assert.ok(["Ulm", "Kiel"].includes(JSON.parse(call.function.arguments).city));

const response = await client.responses.create({ model, input: messages, temperature: 0, max_output_tokens: 32 });
assert.equal(response.output_text, answer);
const events = client.responses.stream({ model, input: messages, temperature: 0, max_output_tokens: 32 });
assert.equal((await events.finalResponse()).output_text, answer);

const embeddings = await client.embeddings.create({ model, input: ["a", "b"] });
assert.equal(embeddings.data.length, 2);

await assert.rejects(client.chat.completions.create({ ...ask, model: "no-such-model" }), OpenAI.NotFoundError);
console.log("openai for node ok");
