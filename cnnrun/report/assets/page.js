"use strict";
// Tables: a click on a column's title sorts by it, a second one the other way round.
const tables = (() => {
  // What has no value stays last either way; numbers come before words.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return [1, cell.textContent];
    return cell.dataset.value === "" ? [2, ""] : [0, Number(cell.dataset.value)];
  };
  const compare = ([kind, one], [otherKind, other], sign) => {
    if (kind === 2 || otherKind === 2) return kind - otherKind;
    if (kind !== otherKind) return sign * (kind - otherKind);
    if (kind === 0) return sign * (one - other);
    return sign * one.localeCompare(other, undefined, { numeric: true });
  };
  // Again as it was sorted last, after rows have come or changed.
  const sort = (table) => {
    const title = table.tHead.querySelector("th[aria-sort]");
    if (!title) return;
    const sign = title.getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [keyOf(row, title.cellIndex), row]);
    keyed.sort(([a], [b]) => compare(a, b, sign));
    body.append(...keyed.map(([, row]) => row));
  };
  const enable = (table) => {
    for (const button of table.tHead.querySelectorAll("th button")) {
      button.addEventListener("click", () => {
        const title = button.parentElement;
        const now = title.getAttribute("aria-sort");
        for (const other of title.parentElement.cells) other.removeAttribute("aria-sort");
        title.setAttribute("aria-sort", now === "ascending" ? "descending" : "ascending");
        sort(table);
      });
    }
  };
  for (const table of document.querySelectorAll("table.sortable")) enable(table);
  return { enable, sort };
})();

// Copying from a file:// page may not be allowed: then the text is selected instead.
for (const button of document.querySelectorAll(".copier")) {
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
  });
}
