"use strict";
// Tables sort by a click on a column's head: numbers by their first number, words by the alphabet, dashes last.
const numberIn = (text) => {
  const found = text.replace(/\u2212/g, "-").replace(/,/g, "").match(/-?\d+(\.\d+)?(e[+-]?\d+)?/);
  return found ? Number(found[0]) : NaN;
};
const sortBy = (head, up) => {
  const body = head.closest("table").tBodies[0];
  const column = head.cellIndex;
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const word = head.classList.contains("word");
  const before = (a, b) => {
    const [left, right] = [a.cells[column].textContent, b.cells[column].textContent];
    if (word) return up ? left.localeCompare(right) : right.localeCompare(left);
    const [x, y] = [numberIn(left), numberIn(right)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return up ? x - y : y - x;
  };
  body.append(...[...body.rows].sort(before));
};
// A live page keeps the order of its tables, and the words that they are filtered by, when it reloads.
const kept = (name) => JSON.parse(sessionStorage.getItem(name) || "{}");
const keep = (name, values) => sessionStorage.setItem(name, JSON.stringify(values));
const placeOf = (table) => `${location.pathname} ${table.closest("[id]").id}`;
const SORTS = "portal-sorts";
const sorts = kept(SORTS);
for (const table of document.querySelectorAll("table")) {
  const place = placeOf(table);
  for (const head of table.tHead.rows[0].cells) {
    const {column, up} = sorts[place] || {};
    if (column === head.textContent) sortBy(head, up);
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort") !== "ascending";
      sortBy(head, now);
      sorts[place] = {column: head.textContent, up: now};
      keep(SORTS, sorts);
    });
  }
}
// A long table can be filtered: rows stay that have every word.
const LONG = 12;
const FILTERS = "portal-filters";
const filters = kept(FILTERS);
for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= LONG) continue;
  const box = document.createElement("input");
  box.type = "search";
  box.placeholder = `Filter ${rows.length} rows`;
  box.setAttribute("aria-label", `${box.placeholder} of ${table.parentElement.getAttribute("aria-label")}`);
  const place = placeOf(table);
  box.value = filters[place] || "";
  const choose = () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  };
  box.addEventListener("input", () => {
    choose();
    filters[place] = box.value;
    keep(FILTERS, filters);
  });
  if (box.value) choose();
  table.parentElement.before(box);
}
// A row shows its own link while a pointer is on it.
const rowLink = document.createElement("a");
rowLink.className = "link";
rowLink.textContent = "#";
rowLink.setAttribute("aria-label", "Link to this row");
for (const row of document.querySelectorAll("tbody tr[id]")) {
  row.addEventListener("pointerenter", () => {
    rowLink.href = `#${row.id}`;
    row.cells[0].append(" ", rowLink);
  });
}
// What a link leads to is unfolded and shown.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target === null) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView({block: target.tagName === "TR" ? "center" : "start"});
};
window.addEventListener("hashchange", reveal);
// A table that is wider than the page says so, until its last column has been seen.
for (const box of document.querySelectorAll(".scroll")) {
  const more = box.nextElementSibling;
  const look = () => { more.hidden = box.scrollWidth - box.clientWidth - box.scrollLeft <= 1; };
  box.addEventListener("scroll", look);
  new ResizeObserver(look).observe(box);
  look();
}
// While a study runs the page loads itself anew; what was unfolded stays so.
const refresh = Number(document.documentElement.dataset.refreshS);
const folds = [...document.querySelectorAll("details")];
if (refresh) {
  const open = new Set(JSON.parse(sessionStorage.getItem("portal-open") || "[]"));
  for (const fold of folds) fold.open = open.has(fold.querySelector("summary").textContent);
  setTimeout(() => {
    const unfolded = folds.filter((fold) => fold.open).map((fold) => fold.querySelector("summary").textContent);
    sessionStorage.setItem("portal-open", JSON.stringify(unfolded));
    location.reload();
  }, 1000 * refresh);
}
reveal();
// The nearest titled point within reach of the pointer or finger shows its value.
const REACH_PX = 22;
const label = document.createElement("div");
label.id = "pointer";
label.hidden = true;
label.setAttribute("aria-hidden", "true");
document.body.append(label);
const distance = (box, x, y) => {
  const dx = Math.max(box.left - x, 0, x - box.right);
  const dy = Math.max(box.top - y, 0, y - box.bottom);
  const middle = Math.hypot((box.left + box.right) / 2 - x, (box.top + box.bottom) / 2 - y);
  return [Math.hypot(dx, dy), middle];
};
const show = (svg, event) => {
  let best = null;
  let least = [REACH_PX, Infinity];
  for (const point of svg.querySelectorAll(".tip")) {
    const away = distance(point.getBoundingClientRect(), event.clientX, event.clientY);
    if (away[0] < least[0] || (away[0] === least[0] && away[1] < least[1])) [best, least] = [point, away];
  }
  label.hidden = best === null;
  if (best === null) return;
  label.textContent = best.dataset.tip;
  const room = document.documentElement.clientWidth - label.offsetWidth - 8;
  label.style.left = `${Math.max(8, Math.min(event.clientX + 14, room))}px`;
  label.style.top = `${Math.max(8, event.clientY - label.offsetHeight - 12)}px`;
};
for (const svg of document.querySelectorAll("figure svg")) {
  // The label replaces the browser's own: both at once would cover each other.
  for (const point of svg.querySelectorAll(".tip")) {
    point.dataset.tip = point.querySelector("title").textContent;
    point.querySelector("title").remove();
  }
  svg.addEventListener("pointermove", (event) => show(svg, event));
  svg.addEventListener("pointerdown", (event) => show(svg, event));
  svg.addEventListener("pointerleave", () => { label.hidden = true; });
}
