"use strict";
(() => {
  const tip = document.getElementById("tip");

  // Charts: the values at the nearest epoch, by pointer or by arrow keys.
  for (const svg of document.querySelectorAll("svg[data-chart]")) {
    const chart = JSON.parse(svg.dataset.chart);
    const cursor = svg.querySelector(".cursor");
    let at = chart.x.length - 1;

    // As the metric says, unless that would show none of the digits, or far too many.
    const written = (value) => {
      const size = Math.abs(value);
      const plain = chart.decimals !== null && size < 1e7;
      if (value === 0 || (plain && size >= 10 ** -chart.decimals)) {
        return value.toFixed(chart.decimals ?? 0);
      }
      return String(Number(value.toPrecision(4)));
    };

    const show = (index, x, y) => {
      at = index;
      cursor.setAttribute("x1", chart.at[at]);
      cursor.setAttribute("x2", chart.at[at]);
      const rows = chart.lines.map((line) => {
        const value = line.values[at] ?? null;
        // A name that is read from right to left keeps to itself.
        const name = `\u2068${line.name}\u2069`;
        if (value === null) return `${name}: no number`;
        const spread = line.spread[at] ?? null;
        const around = spread === null ? "" : ` ± ${spread.toPrecision(2)}`;
        return `${name}: ${written(value)}${around}${chart.unit}`;
      });
      tip.textContent = [`epoch ${chart.x[at]}`, ...rows].join("\n");
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 4))}px`;
      tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - box.height - 4))}px`;
    };
    const hide = () => {
      tip.hidden = true;
      cursor.setAttribute("x1", -9);
      cursor.setAttribute("x2", -9);
    };
    const showByKey = (index) => {
      const box = svg.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      show(index, box.left + chart.at[index] * scale, box.top + 20);
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      let nearest = 0;
      chart.at.forEach((place, k) => {
        if (Math.abs(place - x) < Math.abs(chart.at[nearest] - x)) nearest = k;
      });
      show(nearest, event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const last = chart.x.length - 1;
      const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
      if (event.key === "Escape") hide();
      if (!(event.key in steps)) return;
      event.preventDefault();
      showByKey(Math.max(0, Math.min(last, steps[event.key])));
    });
  }

  // Tables: a click on a column's title sorts by it, a second one the other way round.
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
  for (const button of document.querySelectorAll("table.sortable th button")) {
    button.addEventListener("click", () => {
      const title = button.parentElement;
      const body = title.closest("table").tBodies[0];
      const direction = title.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of title.parentElement.cells) other.removeAttribute("aria-sort");
      title.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const rows = [...body.rows].sort(
        (a, b) => compare(keyOf(a, title.cellIndex), keyOf(b, title.cellIndex), sign),
      );
      body.append(...rows);
    });
  }

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
})();
