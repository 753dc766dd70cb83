// Comes back as soon as there is something to show.
import { localise, runClock } from "./times.js";

localise();
runClock();
setInterval(async () => {
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(4000) });
    if (answer.status !== 503) location.reload();
  } catch { /* Tried again. */ }
}, 3000);
