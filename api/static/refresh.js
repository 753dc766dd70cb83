// Replaces the page's content every few seconds, keeping the reader's place; says so when that fails.
"use strict";
const PAUSE_MS = 5000;
let failingSince = null;

async function refresh() {
  const banner = document.getElementById("connection");
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(10000) });
    // 503 is the page's own word for "the store is away", and is shown like any other.
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!next.getElementById("plant")) throw new Error("not the page");
    const places = [...document.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    document.getElementById("plant").replaceWith(next.getElementById("plant"));
    document.getElementById("as-of").replaceWith(next.getElementById("as-of"));
    document.querySelectorAll(".scroll").forEach((box, number) => box.scrollTo(...(places[number] || [0, 0])));
    document.title = next.title;
    failingSince = null;
    banner.hidden = true;
  } catch {
    failingSince = failingSince || new Date();
    banner.textContent = "No connection to the API since " + failingSince.toLocaleTimeString() + ". What follows is old.";
    banner.hidden = false;
  }
  setTimeout(refresh, PAUSE_MS);
}

setTimeout(refresh, PAUSE_MS);
