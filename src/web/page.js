"use strict";
// Every text from the server is put in by textContent: nothing from the wire becomes markup.
const rows = [
  ["datagrams received", s => s.datagrams.received, true],
  ["datagrams dropped by the kernel", s => s.datagrams.kernel_dropped, true, true],
  ["datagrams rejected or refused", s => s.datagrams.rejected + s.datagrams.refused, true, true],
  ["records decoded", s => s.records.decoded, true],
  ["records delivered", s => s.records.delivered, true],
  ["records dropped", s => s.records.dropped, true, true],
  ["records in memory", s => s.records.in_memory, false],
  ["units missing by sequence", s => Object.values(s.missing_units).reduce((a, b) => a + b, 0), true, true],
  ["sets waiting for a template", s => s.parked_sets, false],
  ["exporters active", s => s.exporters.active, false],
  ["saturation", s => percent(s.saturation_ratio), false],
  ["delivery buffer in use", s => percent(s.sink.saturation_ratio), false],
  ["lag p50 / p99, seconds", s => (s.sink.lag_seconds.p50 ?? "-") + " / " + (s.sink.lag_seconds.p99 ?? "-"), false],
  ["oldest record not acknowledged, seconds", s => s.sink.oldest_unacked_seconds.toFixed(1), false],
];
const percent = ratio => (100 * ratio).toFixed(1) + " %";
const show = value => typeof value === "number" ? value.toLocaleString("en") : value;
const table = document.getElementById("figures");
const cells = rows.map(([name]) => {
  const row = table.insertRow();
  row.insertCell().textContent = name;
  return [row.insertCell(), row.insertCell()].map(cell => { cell.className = "figure"; return cell; });
});
const id = name => document.getElementById(name);
const state = id("state");
// The tab keeps the token until it is closed; other tabs, other ports and other hosts do not see it.
let token = sessionStorage.getItem("token") ?? "";
let last = null;
let timer = 0;
function keep(given) {
  token = given;
  if (token) sessionStorage.setItem("token", token); else sessionStorage.removeItem("token");
  id("forget").hidden = !token;
}
async function ask(path) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  return fetch(path, { cache: "no-store", credentials: "omit", redirect: "error", headers });
}
function say(text, good) {
  state.textContent = text;
  state.className = good ? "good" : "bad";
}
function show_status(status) {
  const at = Date.parse(status.time) / 1000;
  id("who").textContent = status.version + ", " + status.instance;
  const words = [status.ready ? "ready" : "not ready: " + status.ready_reason,
    status.live ? "live" : "stale: " + status.stale_threads.join(", "),
    status.sink.healthy ? "backend answers" : "backend does not answer: " + status.backend_url,
    ...status.degraded];
  say(words.join("; "), status.ready && status.live && status.sink.healthy && !status.degraded.length);
  rows.forEach(([, read, rate, fault], i) => {
    const value = read(status);
    cells[i][0].textContent = show(value);
    cells[i][0].className = fault && value > 0 ? "figure bad" : "figure";
    if (rate && last && at > last.at) {
      cells[i][1].textContent = show(Math.round((value - read(last.status)) / (at - last.at)));
    }
  });
  last = { status, at };
}
async function turn() {
  let pause = 1;
  try {
    const answer = await ask("api/v1/status");
    if (answer.status === 401) {
      // Nobody asks again before there is another token: wrong ones are counted.
      say(token ? "this token is not, or no longer, the right one" : "this collector asks for a token", false);
      keep("");
      id("ask").hidden = false;
      id("token").focus();
      return;
    }
    if (answer.status === 429) pause = Math.min(Number(answer.headers.get("Retry-After")) || 1, 60);
    if (!answer.ok) throw new Error(answer.status + " " + (await answer.json()).error);
    show_status(await answer.json());
    id("ask").hidden = true;
  } catch (error) {
    say("no answer: " + error.message, false);
  }
  timer = setTimeout(turn, 1000 * pause);
}
id("ask").addEventListener("submit", event => {
  event.preventDefault();
  keep(id("token").value.trim());
  id("token").value = "";
  clearTimeout(timer);
  turn();
});
id("forget").addEventListener("click", () => {
  keep("");
  location.reload();
});
// A link carries no token: with one, the answer is fetched and shown below.
id("paths").addEventListener("click", async event => {
  const link = event.target.closest("a");
  if (!link || !token || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const out = id("answer");
  try {
    const text = await (await ask(link.getAttribute("href"))).text();
    out.textContent = text.length > 200000 ? text.slice(0, 200000) + "\n... cut" : text;
  } catch (error) {
    out.textContent = "no answer: " + error.message;
  }
  out.hidden = false;
  out.scrollIntoView();
});
keep(token);
turn();
