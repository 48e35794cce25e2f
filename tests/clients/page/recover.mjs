// What goes wrong between a page and its server, and what others do meanwhile: nothing that was written is
// lost, and what is shown is so. Usage: recover.mjs BASE_URL

import assert from "node:assert/strict";
import { api, browser, violations, visitor } from "./browser.mjs";

const base = process.argv[2];
const chromium = await browser();
const me = await visitor(chromium, base);
const { page } = me;
const text = '[data-testid="message-text"]';
const inside = (message, name) => message.locator(`[data-testid="${name}"]`);
const edit = async (message) => {
  await message.hover();
  await inside(message, "edit").click();
};
const kept = async () => (await api(base, "/v1/history")).data[0];
const look = () => page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
/** Answers some requests with an error until it is called. */
const refuse = async (pattern, status, method = "POST") => {
  const handler = (route) => (route.request().method() === method
    ? route.fulfill({ status, contentType: "application/json", body: '{"error":{"message":"refused by the test"}}' })
    : route.fallback());
  await page.route(pattern, handler);
  return () => page.unroute(pattern, handler);
};
const toasts = (pattern) => me.reads(page.locator("#toasts"), pattern);

// ---- An address that is none.
await page.goto(`${base}/#/c/%`);
await me.at("composer").waitFor();
await page.goto(base);

// ---- Text files are sent along; what is no text is refused.
await me.limit(16);
await me.at("attach-file").setInputFiles([
  { name: "add.py", mimeType: "text/x-python", buffer: Buffer.from("def add(a, b):\n    return a + b\n```\n") },
  { name: "photo.png", mimeType: "image/png", buffer: Buffer.from([137, 80, 78, 71]) },
]);
await me.at("attached").waitFor();
await toasts(/photo\.png/);
assert.equal(await me.at("attached").count(), 1);
await me.at("attach-file").setInputFiles({ name: "a.bin", mimeType: "", buffer: Buffer.from([0, 1, 2, 255]) });
await toasts(/a\.bin is not a text file/);
await me.at("attach-file").setInputFiles({ name: "big.txt", mimeType: "text/plain", buffer: Buffer.alloc(1_000_001, 97) });
await toasts(/big\.txt.*1 MB/);
const dropped = await page.evaluateHandle(() => {
  const transfer = new DataTransfer();
  transfer.items.add(new File(["dropped"], "notes.txt", { type: "text/plain" }));
  return transfer;
});
await page.locator("#main").dispatchEvent("drop", { dataTransfer: dropped });
await me.at("attached").nth(1).waitFor();
await me.accessible("attached files");
await me.picture("attached");
await me.at("attached").nth(1).locator("button").click();
assert.equal(await me.at("attached").count(), 1);
await me.say("What does it do?");
await me.answered();
assert.equal(await me.at("attached").count(), 0);
const { id } = await kept();
const whole = await api(base, `/v1/history/${id}`);
assert.equal(whole.messages[0].content, "What does it do?\n\nadd.py\n````python\ndef add(a, b):\n    return a + b\n```\n````");

// ---- Marks stacked by the hundred are set apart.
await me.at("new-chat").click();
await me.limit(16);
await me.say(`Zal${"\u0301".repeat(100)}go`);
await me.answered();
const stacked = await me.messages("user").first().locator(text).textContent();
assert.ok(!/\p{M}{33}/u.test(stacked) && stacked.replaceAll("\u200b", "").length === 105);

// ---- A follow-up goes on from one of two answers, and is seen.
await me.at("new-chat").click();
await me.limit(16);
await me.at("composer").fill("Name a colour.");
await me.at("compare").click();
await me.at("compare-choice").first().click();
await me.at("compare-dialog").waitFor({ state: "detached" });
await me.at("composer").press("Enter");
await me.at("keep").nth(1).waitFor();
const chosen = await me.messages("assistant").nth(1).getAttribute("data-id");
await me.messages("assistant").nth(1).click();
await me.say("And another one.");
await me.count("user", 2);
await me.count("assistant", 2);
await me.answered();
assert.equal(await me.messages("assistant").first().getAttribute("data-id"), chosen);
await me.messages("assistant").first().hover();
await inside(me.messages("assistant").first(), "compare-answer").click();
await me.at("compare-choice").first().click();
await me.at("compare-dialog").waitFor({ state: "detached" });
await me.at("keep").nth(1).waitFor();
await me.messages("assistant").nth(1).hover();
await inside(me.messages("assistant").nth(1), "regenerate").click();
await me.count("assistant", 1);
await me.answered();
await me.reads(inside(me.messages("assistant").first(), "branch-label"), /4\D+4/);

// ---- An edit that was not taken stays open, and is there after a reload.
let allow = await refuse("**/messages", 503);
const question = me.messages("user").first();
await edit(question);
await me.at("edit-text").fill("Name a city.");
await me.at("edit-save").click();
await toasts(/refused by the test/);
assert.equal(await me.at("edit-text").inputValue(), "Name a city.");
await allow();
await page.reload();
await me.count("assistant", 1);
await edit(question);
assert.equal(await me.at("edit-text").inputValue(), "Name a city.");

// ---- A server that was away does not close what is open, nor move what is read.
const away = (route) => route.abort();
await me.at("edit-text").focus();
await page.route("**/*", away);
await look();
await page.evaluate(() => fetch("/status").catch(() => dispatchEvent(new Event("offline"))));
await me.at("offline").waitFor();
await me.at("edit-save").click();
await page.unroute("**/*", away);
await me.at("offline").waitFor({ state: "hidden" });
await toasts(/again|back/i);
assert.equal(await me.at("edit-text").inputValue(), "Name a city.");
await me.at("edit-save").click();
await me.at("edit-text").waitFor({ state: "detached" });
await me.answered();

// ---- A stop that fails has stopped nothing.
await me.limit(2000);
await me.say("Write a very long story about the sea, with many chapters.");
await me.count("assistant", 2);
await me.reads(me.messages("assistant").last().locator(text), /.{40}/s);
// While an answer is being written, the arrow edits nothing.
await me.at("composer").press("ArrowUp");
assert.equal(await me.at("edit-text").count(), 0);
allow = await refuse("**/stop", 500);
await me.at("stop").click();
await toasts(/could not be stopped/);
assert.equal(await me.messages("assistant").last().getAttribute("data-state"), "running");
await allow();
await me.at("stop").click();
let answer = await me.answered("stopped");

// ---- Going on is stopped too, before there is a word of it.
const last = await answer.getAttribute("data-id");
let release;
const held = new Promise((resolve) => { release = resolve; });
const hold = async (route) => { await held; await route.abort().catch(() => {}); };
await page.route("**/answers", hold);
await answer.hover();
await inside(answer, "continue").click();
const stopping = page.waitForRequest((request) => request.url().endsWith(`/messages/${last}/stop`));
await me.at("stop").click();
await stopping;
await me.at("stop").waitFor({ state: "hidden" });
release();
await page.unroute("**/answers", hold);

// ---- An answer that has no message yet, because its model is being loaded, is waited for.
await me.limit(16);
const current = await kept();
const waits = async (route) => {
  if (route.request().method() !== "GET") return route.fallback();
  const response = await route.fetch();
  return route.fulfill({ response, json: { ...await response.json(), pending: [{ id: "msg_waiting", parent: last, continues: false }] } });
};
const sent = [
  { object: "history.answer", message: { id: "msg_waiting", parent: last, role: "assistant", content: "", created_at: 1, state: "running" } },
  { choices: [{ index: 0, delta: { content: "Here I am." } }] },
  { object: "history.answer.end", id: "msg_waiting", state: "interrupted", timings: { first_token_ms: 2500 } },
];
let tell;
const told = new Promise((resolve) => { tell = resolve; });
await page.route(`**/v1/history/${current.id}`, waits);
await page.route("**/msg_waiting/stream", async (route) => {
  await told;
  await route.fulfill({ contentType: "text/event-stream", body: `${sent.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("")}data: [DONE]\n\n` });
});
await page.reload();
await page.locator('[data-testid="pending"]').waitFor();
// One may look elsewhere meanwhile.
await me.at("new-chat").click();
await page.locator(`[data-id="${current.id}"] a`).click();
await page.locator('[data-testid="pending"]').waitFor();
tell();
await me.reads(me.messages("assistant").last().locator(text), /Here I am/);
await me.reads(inside(me.messages("assistant").last(), "stats"), /first token 2\.50 s/);
assert.equal(await me.messages("assistant").last().getAttribute("data-state"), "interrupted");
await page.unroute(`**/v1/history/${current.id}`, waits);

// ---- What is done elsewhere is seen: in another window at once, on another device when one looks.
await page.reload();
await me.count("assistant", 2);
const second = await me.context.newPage();
await second.goto(page.url());
await second.locator('[data-testid="composer"]').fill("From another window.");
await second.locator('[data-testid="composer"]').press("Enter");
await me.count("user", 3);
await me.count("assistant", 3);
answer = await me.answered();
await second.close();
const parent = await answer.getAttribute("data-id");
await api(base, `/v1/history/${current.id}/messages`, { method: "POST", body: { parent, role: "user", content: "From another device." } });
await look();
await me.count("user", 4);

// ---- A draft that was sent from another device does not come back.
await me.at("composer").fill("A draft.");
await page.waitForFunction(() => Object.entries(localStorage).some(([key, value]) => key.includes(".draft.") && value.includes('"saved":true')));
await api(base, `/v1/history/${current.id}`, { method: "POST", body: { draft: "" } });
await page.reload();
await me.count("user", 4);
assert.equal(await me.at("composer").inputValue(), "");

// ---- Who has to sign in while a dialog is open finds it as it was.
await me.at("settings").click();
await me.at("setting-temperature").fill("7");
await me.at("settings-save").click();
const field = me.at("setting-temperature");
await me.reads(page.locator(`[id="${await field.getAttribute("aria-describedby")}"]`), /0 and 2/);
await me.accessible("a setting that is wrong");
await field.fill("0.5");
allow = await refuse("**/v1/history/*", 401);
await me.at("settings-save").click();
await me.at("sign-in-key").waitFor();
await me.at("sign-in-key").fill("a key");
const session = await refuse("**/session", 401);
await me.at("sign-in").click();
await me.reads(page.locator('.sign-in [role="alert"]'), /not known/);
await session();
await allow();
await page.route("**/session", async (route) => (route.request().method() === "POST" ? route.fulfill({ json: { ...await api(base, "/session"), needs_key: true } }) : route.fallback()));
await me.at("sign-in").click();
await me.at("sign-in-key").waitFor({ state: "detached" });
assert.equal(await field.inputValue(), "0.5");
await me.at("settings-save").click();
await me.at("settings-dialog").waitFor({ state: "detached" });

// ---- What is deleted leaves the browser's copy too.
const copied = (table) => page.evaluate(async (table) => {
  const { name } = (await indexedDB.databases()).find(({ name }) => name.endsWith("copy"));
  const db = await new Promise((resolve) => { const asked = indexedDB.open(name); asked.onsuccess = () => resolve(asked.result); });
  const rows = await new Promise((resolve) => { const asked = db.transaction(table).objectStore(table).getAll(); asked.onsuccess = () => resolve(asked.result); });
  db.close();
  return rows.map((row) => row.id);
}, table);
const gone = await me.messages("user").last().getAttribute("data-id");
assert.ok((await copied("messages")).includes(gone));
await me.messages("user").last().hover();
await inside(me.messages("user").last(), "delete").click();
await me.at("confirm").click();
await me.count("user", 3);
while ((await copied("messages")).includes(gone)) await page.waitForTimeout(50);
assert.ok((await copied("conversations")).includes(id));
await api(base, `/v1/history/${id}`, { method: "DELETE" });
await look();
while ((await copied("conversations")).includes(id)) await page.waitForTimeout(50);

// ---- Who deletes from the list stays in the list.
const rows = me.at("history-item");
await page.waitForFunction(() => document.querySelectorAll('[data-testid="history-item"]').length === 2);
await page.locator(".item-more").first().focus();
await page.keyboard.press("Enter");
await me.at("delete-conversation").click();
await me.at("confirm").click();
await page.waitForFunction(() => document.querySelectorAll('[data-testid="history-item"]').length === 1 && document.activeElement.dataset.testid === "history-item");
assert.equal(await rows.count(), 1);

await api(base, "/v1/history", { method: "DELETE" });
await me.leave();
await chromium.close();
assert.equal(await violations(base), 0);
