// Changing only what is another: elements stay, and with them focus, selection and the reader's place.
import { setTime } from "./times.js";

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setCondition(element, condition) {
  if (element.dataset.condition === condition) return;
  element.dataset.condition = condition;
  element.querySelector(".icon use").setAttribute("href", "#i-" + condition);
}

export function fillEpisode(element, row) {
  setCondition(element, row.condition);
  element.dataset.key = row.key;
  element.classList.toggle("open", row.open);
  const link = element.firstElementChild;
  if (link.getAttribute("href") !== row.url) link.href = row.url;
  setText(link.querySelector(".name"), row.station_id);
  setText(link.querySelector(".word"), `${row.condition} ${row.severity}`);
  setTime(link.querySelector("time"), row.first_ms);
  setText(link.querySelector(".sentence"), row.sentence);
  setText(link.querySelector(".lasted"), row.lasted);
}

/**
 * Make the children of `list` those of `rows`, in their order, keeping elements by key.
 * Moves as few as it can: a station whose trouble is over goes down a thousand places, and the others stay.
 */
export function patch(list, rows, keyOf, template, fill, mayMove) {
  const held = new Map([...list.children].map((element, place) => [element.dataset[keyOf.held], { element, place }]));
  const places = [];
  const wanted = rows.map((row) => {
    const { element, place } = held.get(row[keyOf.row]) ?? { element: template.content.firstElementChild.cloneNode(true), place: -1 };
    held.delete(row[keyOf.row]);
    fill(element, row);
    places.push(place);
    return element;
  });
  held.forEach(({ element }) => element.remove());
  const stay = longestRising(places);
  let next = null;
  for (let at = wanted.length - 1; at >= 0; at--) {
    if (places[at] < 0 || (mayMove && !stay.has(at))) list.insertBefore(wanted[at], next);
    next = wanted[at];
  }
}

/** The indices of a longest rising row among those numbers that are not negative. */
function longestRising(numbers) {
  const ends = [];
  const before = new Array(numbers.length);
  numbers.forEach((number, at) => {
    if (number < 0) return;
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (numbers[ends[middle]] < number) low = middle + 1; else high = middle;
    }
    before[at] = low ? ends[low - 1] : -1;
    ends[low] = at;
  });
  const found = new Set();
  for (let at = ends.length ? ends[ends.length - 1] : -1; at >= 0; at = before[at]) found.add(at);
  return found;
}
