// A bench, not a test: streams an answer into a conversation of 50,000 tokens and prints how smooth the page
// stays. Usage: stream.mjs BASE_URL [TOKENS]

import { api, browser, visitor } from "./browser.mjs";

const [base, tokens = "400"] = process.argv.slice(2);
const paragraph = "The *harbour* lay still, and `nobody` spoke of **the storm** that was to come from the sea. ";
const block = `${paragraph.repeat(12)}\n\n- one\n- two\n\n\`\`\`python\nfor word in text.split():\n    print(word)\n\`\`\`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n`;
// About 300 tokens a block, five blocks an answer: 34 answers are some 50,000 tokens.
const messages = [];
const add = (role, content) => messages.push({ id: `m${messages.length}`, parent: messages.length ? `m${messages.length - 1}` : null, role, content, created_at: 1_790_000_000 + messages.length, state: "done" });
for (let at = 0; at < 34; at += 1) {
  add("user", `Chapter ${at}`);
  add("assistant", block.repeat(5));
}

const chromium = await browser();
const me = await visitor(chromium, base);
const { page } = me;
const given = { title: "bench", settings: { max_tokens: Number(tokens), temperature: 0 }, messages, leaf: messages.at(-1).id };
const { ids: [id] } = await api(base, "/v1/history/import", { method: "POST", body: given });
// No small model takes so much: the server is asked in another, short conversation, and the page shows what
// comes below the long one.
await page.route("**/answers", async (route) => {
  const body = route.request().postDataJSON();
  const short = await api(base, "/v1/history", { method: "POST", body: {} });
  const asked = await api(base, `/v1/history/${short.id}/messages`, { method: "POST", body: { parent: null, role: "user", content: "Tell a very long story about the sea, with a list of its chapters." } });
  await route.continue({ url: `${base}/v1/history/${short.id}/answers`, postData: JSON.stringify({ ...body, parent: asked.id }) });
});
await page.goto(`${base}/#/c/${id}`);
await me.messages("assistant").last().waitFor();
await page.evaluate(() => {
  const seen = globalThis.seen = { frames: [], tasks: [] };
  let last = performance.now();
  const frame = (now) => { seen.frames.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
});
await me.say("Go on.");
await me.at("stop").waitFor();
await page.evaluate(() => { globalThis.seen.frames.length = globalThis.seen.tasks.length = 0; });
await me.at("stop").waitFor({ state: "hidden", timeout: 300_000 });
const { frames, tasks } = await page.evaluate(() => globalThis.seen);
const stats = await page.locator('[data-testid="stats"]').last().innerText();
const sorted = [...frames].sort((a, b) => a - b);
const share = (part) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]);
console.log(`server: ${stats}`);
console.log(`frames: ${frames.length}, median ${share(0.5)} ms, 99 % within ${share(0.99)} ms, longest ${share(1)} ms, over 50 ms: ${frames.filter((ms) => ms > 50).length}`);
console.log(`tasks over 50 ms: ${tasks.length}${tasks.length ? `, longest ${Math.round(Math.max(...tasks))} ms` : ""}`);
await api(base, "/v1/history", { method: "DELETE" });
await me.leave();
await chromium.close();
