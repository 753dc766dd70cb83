// A list of alarms: filled, and handled through one dialog that asks before anything is done.
import { patch, setCondition, setText } from "./patch.js";
import { announce } from "./live.js";
import { setTime } from "./times.js";

const HOUR_MS = 3600000;
const WORDS = {
  acknowledge: ["Acknowledge", "You look after it. It stays on until its station is quiet again."],
  shelve: ["Shelve", "Nobody is notified of it until then. It returns by itself."],
  clear: ["Clear", "It is dealt with. If the fault goes on it comes back after a minute."],
};

function fill(element, row) {
  setCondition(element, row.condition);
  element.dataset.id = row.id;
  element.className = `alarm ${row.state}`;
  const find = (selector) => element.querySelector(selector);
  const link = (selector, url, text) => {
    if (find(selector).getAttribute("href") !== url) find(selector).href = url;
    setText(find(selector), text);
  };
  link(".name", row.station_url, row.station_id);
  link(".sentence a", row.url, row.sentence);
  setText(find(".word"), `${row.condition} ${row.severity}`);
  setText(find(".state"), row.state_text);
  find(".silenced").hidden = !row.silenced;
  setTime(find("time"), row.first_ms);
  setText(find(".lasted"), row.lasted);
  setText(find(".where"), row.where);
  setText(find(".comment"), row.comment);
  for (const button of element.querySelectorAll("button[data-action]")) {
    button.hidden = !row.legal.includes(button.dataset.action);
    button.setAttribute("aria-label", `${WORDS[button.dataset.action][0]} the alarm of ${row.station_id}`);
  }
}

/** Make the list show `rows`; nothing moves away from under a pointer or a keyboard's focus. */
export function showAlarms(list, rows) {
  patch(list, rows, { held: "id", row: "id" }, document.getElementById("alarm"), fill, !list.matches(":hover, :focus-within"));
}

/** Let the buttons of `list` ask and do; `done` is called after something was done. */
export function handleAlarms(list, done) {
  const dialog = document.getElementById("question");
  const at = (id) => document.getElementById(id);
  let asked = null;

  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-action]");
    if (!button) return;
    const element = button.closest(".alarm");
    asked = { action: button.dataset.action, id: element.dataset.id, station: element.querySelector(".name").textContent, key: newKey() };
    const [word, note] = WORDS[asked.action];
    setText(at("question-head"), `${word} the alarm of ${asked.station}?`);
    setText(at("question-note"), note);
    setText(at("question-do"), word);
    setText(at("question-problem"), "");
    at("question-until").hidden = asked.action !== "shelve";
    at("said").value = "";
    at("by").value = localStorage.getItem("stationwatch-name") ?? "";
    dialog.showModal();
  });
  at("question-leave").addEventListener("click", () => dialog.close());
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("question-do").disabled = true;
    const trouble = await act(asked, { comment: at("said").value.trim(), by: at("by").value.trim(), hours: Number(at("hours").value) });
    at("question-do").disabled = false;
    setText(at("question-problem"), trouble);
    if (trouble) return;
    localStorage.setItem("stationwatch-name", at("by").value.trim());
    dialog.close();
    announce(`${WORDS[asked.action][0]}: ${asked.station}, done.`);
    done();
  });
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Do it; says what went wrong, or nothing. Pressing again after a lost answer does it once. */
async function act({ action, id, key }, { comment, by, hours }) {
  const body = { ...(comment && { comment }), ...(by && { by }) };
  if (action === "shelve") body.until = new Date(Date.now() + hours * HOUR_MS - 1000).toISOString();
  try {
    const answer = await fetch(`/api/v1/alarms/${id}:${action}`, {
      method: "POST", headers: { "Content-Type": "application/json", "Idempotency-Key": key }, signal: AbortSignal.timeout(10000), body: JSON.stringify(body),
    });
    if (answer.ok) return "";
    if (answer.status === 403) return "Not done: your role may look, but not act.";
    return `Not done: ${(await answer.json()).detail}`;
  } catch {
    return "Not done: the API did not answer. Try again.";
  }
}
