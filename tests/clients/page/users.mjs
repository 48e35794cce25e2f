// Two users with two keys, and a server that goes and comes back. Usage: users.mjs BASE_URL KEY KEY
// The server is stopped when this prints "stop", and started again before it reads a line.

import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import { api, browser, violations, visitor } from "./browser.mjs";

const [base, one, two] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tell = async (word) => {
  console.log(word);
  await lines.next();
};

const chromium = await browser();
const enter = async (who, key) => {
  await who.at("sign-in-key").fill(key);
  await who.at("sign-in").click();
  await who.at("composer").waitFor();
};
const signIn = async (key) => {
  const who = await visitor(chromium, base);
  await who.page.goto(base);
  await who.at("sign-in-key").waitFor();
  await who.accessible("the sign-in");
  await who.picture("sign-in");
  await who.at("sign-in-key").fill("wrong");
  await who.at("sign-in").click();
  await who.reads(who.page.locator('[role="alert"]'), /not known/);
  await enter(who, key);
  return who;
};
/** Waits until the history has been read and found empty. */
const seesNothing = async (who) => {
  await who.reads(who.page.locator(".sidebar-note"), /listed here/);
  assert.equal(await who.at("history-item").count(), 0, "nobody sees what another has");
};

const ada = await signIn(one);
await ada.limit(32);
await ada.say("What is the capital of France?");
await ada.answered();
const bob = await signIn(two);
await seesNothing(bob);
assert.equal((await api(base, "/v1/history", { key: two })).data.length, 0);
assert.equal((await api(base, "/v1/history", { key: one })).data.length, 1);

// Scripts of the page cannot read the cookie.
assert.equal(await ada.page.evaluate(() => document.cookie), "");
const cookie = (await ada.context.cookies()).find(({ name }) => name.startsWith("matou"));
assert.ok(cookie.httpOnly && cookie.sameSite === "Strict");

// Two who share a browser: what it keeps for one, drafts and copies, it does not show to the other.
const shared = await visitor(chromium, base);
await shared.page.goto(base);
await shared.at("sign-in-key").waitFor();
await enter(shared, one);
await shared.at("composer").fill("a draft of Ada's");
await shared.at("history-item").first().click();
await shared.messages("assistant").first().waitFor();
const address = shared.page.url();
await shared.context.clearCookies();
await shared.page.goto(base);
await shared.at("sign-in-key").waitFor();
await enter(shared, two);
await seesNothing(shared);
assert.equal(await shared.at("composer").inputValue(), "");

// Without the server one can read, and is told.
await ada.page.reload();
await ada.messages("assistant").first().waitFor();
// One visit is enough.
const once = await visitor(chromium, base);
await once.page.goto(base);
await enter(once, two);
for (const who of [ada, shared, once]) await who.page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
await tell("stop");
await ada.page.reload();
await ada.at("offline").waitFor();
await ada.picture("offline");
await ada.messages("assistant").first().waitFor();
await ada.at("history-item").first().waitFor();
assert.ok(await ada.at("send").isDisabled());
await once.page.reload();
await once.at("offline").waitFor();
await once.at("composer").waitFor();
await shared.page.goto(address);
await shared.page.reload();
await shared.at("offline").waitFor();
await seesNothing(shared);
assert.equal(await shared.messages().count(), 0);
await tell("start");
// It comes back by itself, and knows its user.
await ada.at("offline").waitFor({ state: "hidden", timeout: 60_000 });
await ada.say("And of Spain?");
await ada.count("assistant", 2);
await ada.answered();

// Who signs out leaves nothing behind, and does so in all windows.
const second = await ada.context.newPage();
await second.goto(base);
await second.locator('[data-testid="sign-out"]').click();
await second.locator('[data-testid="confirm"]').click();
await second.locator('[data-testid="sign-in-key"]').waitFor();
await ada.at("sign-in-key").waitFor();
assert.equal(await ada.at("history-item").count(), 0);
const left = await ada.page.evaluate(async () => {
  const rows = [Object.keys(localStorage).filter((key) => key !== "matou.prefs")];
  for (const { name } of await indexedDB.databases()) {
    const db = await new Promise((resolve) => { const asked = indexedDB.open(name); asked.onsuccess = () => resolve(asked.result); });
    for (const table of db.objectStoreNames) rows.push(await new Promise((resolve) => { const asked = db.transaction(table).objectStore(table).getAll(); asked.onsuccess = () => resolve(asked.result); }));
    db.close();
  }
  return rows.flat();
});
assert.deepEqual(left, []);

await ada.leave();
await bob.leave();
await once.leave();
await shared.leave();
await chromium.close();
process.stdin.destroy();
assert.equal(await violations(base, one), 0);
