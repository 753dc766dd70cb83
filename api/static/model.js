// Files jobs, and follows the one under way until it is over; then the page shows what came of it.
import { setText } from "./patch.js";
import { localise, runClock } from "./times.js";

const page = document.getElementById("model");
const said = document.getElementById("said");
const PAUSE_MS = 1500;

async function file(event) {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  lock(true);
  setText(said, "Asking…");
  try {
    const body = button.dataset.kind ? JSON.stringify({ kind: button.dataset.kind }) : undefined;
    const headers = body ? { "Content-Type": "application/json" } : {};
    const answer = await fetch(button.dataset.post, { method: "POST", headers, body, signal: AbortSignal.timeout(10000) });
    const document_ = await answer.json();
    if (answer.status !== 202 && !document_.job_id) throw new Error(document_.detail);
    setText(said, answer.status === 202 ? "Asked for." : document_.detail);
    if (answer.status === 429) lock(false); else follow(document_.id ?? document_.job_id);
  } catch (error) {
    setText(said, `Not asked for: ${error.message}`);
    lock(false);
  }
}

async function follow(id) {
  document.getElementById("job").hidden = false;
  for (;;) {
    try {
      const answer = await fetch(`/api/v1/jobs/${id}`, { signal: AbortSignal.timeout(10000) });
      if (answer.ok && show(await answer.json())) break;
    } catch { /* asked again */ }
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
  location.reload();
}

/** Show a job; whether it is over. */
function show(job) {
  setText(document.getElementById("job-kind"), job.kind);
  setText(document.getElementById("job-state"), job.state);
  setText(document.getElementById("job-step"), job.reason ?? job.progress.step);
  document.getElementById("job-progress").value = job.progress.fraction;
  return !["queued", "running"].includes(job.state);
}

function lock(busy) {
  for (const button of document.querySelectorAll("#acts button")) button.disabled = busy;
}

localise();
runClock();
document.getElementById("acts")?.addEventListener("click", file);
if (page.dataset.busy === "true") follow(page.dataset.job);
