// An anomaly's readings around it, what people say of it, and the same verdict once more.
import { columnsOf, sensorChart } from "./chart.js";
import { fetchData } from "./live.js";
import { setText } from "./patch.js";
import { clock, localise, runClock } from "./times.js";

const page = document.getElementById("anomaly");
const at = Number(page.dataset.at);
const MINUTE_MS = 60000;
const FEW = 20;

/** Five minutes on both sides; more where a station speaks seldom. */
async function around() {
  let part = null;
  for (const side of [5, 60, 720]) {
    part = await fetchData(`${page.dataset.source}?start=${at - side * MINUTE_MS}&end=${at + side * MINUTE_MS}`);
    if (part.times.length >= FEW) break;
  }
  return part;
}

async function drawAround() {
  const frames = [...document.querySelectorAll(".chart[data-sensor]")];
  const note = document.getElementById("around-note");
  try {
    const part = await around();
    frames.forEach((frame, index) => {
      const name = frame.dataset.sensor;
      const plot = frame.querySelector(".plot");
      if (!part.sensors[name] || !part.times.length) { plot.textContent = "No readings are kept of this time."; return; }
      const marks = part.marks.filter((mark) => mark.sensor === name);
      const chart = sensorChart(plot, { name, index: order(name), height: 130, sync: "around", marks: () => marks, focus: at });
      chart.setData(columnsOf(part, name));
      chart.setScale("x", { min: part.start_ms, max: part.end_ms });
    });
    const address = new URL(document.getElementById("open-station").href);
    address.searchParams.set("start", new Date(part.start_ms).toISOString());
    address.searchParams.set("end", new Date(part.end_ms).toISOString());
    document.getElementById("open-station").href = address;
    setText(note, part.raw ? "" : "Single readings are not kept this far back; these are means of minutes.");
  } catch {
    frames.forEach((frame) => frame.querySelector(".plot").replaceChildren());
    setText(note, "The readings around it could not be loaded. Reload the page to try again.");
  }
  document.getElementById("charts").classList.remove("waiting");
  document.getElementById("charts").setAttribute("aria-busy", "false");
}

/** The place of a sensor in the catalogue, which gives its colour. */
function order(name) {
  return Number(document.querySelector(`.chart[data-sensor="${name}"]`).dataset.order);
}

async function judge(event) {
  event.preventDefault();
  const said = document.getElementById("feedback-said");
  const verdict = event.submitter.value;
  const comment = document.getElementById("comment").value.trim();
  setText(said, "Storing…");
  try {
    const answer = await fetch(`/api/v1/anomalies/${page.dataset.id}/feedback`, {
      method: "POST", headers: { "Content-Type": "application/json" }, signal: AbortSignal.timeout(10000),
      body: JSON.stringify(comment ? { verdict, comment } : { verdict }),
    });
    if (!answer.ok) throw new Error(await why(answer));
    for (const button of document.querySelectorAll("#feedback button")) button.setAttribute("aria-pressed", String(button.value === verdict));
    setText(said, `Stored at ${clock(Date.now())}. Choosing again replaces it.`);
  } catch (error) {
    setText(said, `Not stored: ${error.message}`);
  }
}

async function why(answer) {
  if (answer.status === 403) return "your role may look, but not judge.";
  try {
    return (await answer.json()).detail;
  } catch {
    return `the API answered ${answer.status}.`;
  }
}

async function replay(event) {
  const said = document.getElementById("replay-said");
  event.target.disabled = true;
  setText(said, "Judging again…");
  try {
    const answer = await fetch(`/api/v1/anomalies/${page.dataset.id}/replay`, { signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw new Error(await why(answer));
    setText(said, tellReplay(await answer.json()));
  } catch (error) {
    setText(said, `Could not be judged again: ${error.message}`);
  }
  event.target.disabled = false;
}

function tellReplay({ equal, recomputed, stored, model }) {
  if (equal) return `Judged again by version ${model.version}: the same verdict, score ${recomputed.score.toFixed(2)}.`;
  return `Judged again by version ${model.version}: score ${recomputed.score.toFixed(2)} instead of ${stored.score.toFixed(2)}. Please tell whoever runs stationwatch.`;
}

localise();
runClock();
drawAround();
document.getElementById("feedback").addEventListener("submit", judge);
document.getElementById("replay").addEventListener("click", replay);
