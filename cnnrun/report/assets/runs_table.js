"use strict";
// The table of the board's runs: chosen, filtered, sorted, with the columns that are wanted.
const RunsTable = (() => {
  const { element, isolatedText, sample, text } = looks;

  return class {
    constructor(board) {
      this.board = board;
      this.table = board.root.querySelector("table");
      this.rows = new Map(); // by run
      this.changed = null; // runs to be written again; null for all
      this.hidden = new Set(); // columns
      this.filter = board.find("filter");
      this.filter.addEventListener("input", () => this.applyFilter());
      board.find("all").addEventListener("click", () => this.chooseAll(true));
      board.find("none").addEventListener("click", () => this.chooseAll(false));
    }

    forget(id) {
      this.rows.get(id)?.remove();
      this.rows.delete(id);
    }

    chooseAll(isChosen) {
      for (const [id, row] of this.rows) {
        if (!row.hidden) this.board.choose(id, isChosen);
      }
      this.board.refresh();
    }

    columns() {
      const runs = [...this.board.runs.values()];
      const titles = [...new Set(runs.flatMap((run) => Object.keys(run.scores)))];
      const several = (value) => new Set(runs.map(value)).size > 1;
      const known = (key) => runs.some((run) => run[key]);
      const column = (key, title, cell) => ({ key, title, cell });
      return [
        column("run", "run", (run) => run.name),
        ...(several((run) => run.task) ? [column("task", "task", (run) => run.task)] : []),
        ...(known("group") ? [column("group", "group", (run) => run.group || "-")] : []),
        column("seed", "seed", (run) => [run.seed, String(run.seed ?? "-")]),
        column("state", "state", (run) => run.problem || run.state),
        column("epochs", "epochs", (run) => [run.epochs, run.progress]),
        ...titles.map((title) => column(title, title, (run) => run.scores[title] ?? [null, "-"])),
        ...(known("seconds") ? [column("seconds", "time", (run) => run.seconds ?? [null, "-"])] : []),
        ...(known("memory") ? [column("memory", "memory", (run) => run.memory ?? [null, "-"])] : []),
        ...this.board.keys.filter((key) => key !== "task").map((key) => column(key, key, (run) => run.settings[key] ?? "-")),
        column("folder", "folder", (run) => run.id),
      ];
    }

    fill() {
      const all = this.columns();
      const shown = all.filter((column) => !this.hidden.has(column.key));
      const made = JSON.stringify(shown.map((column) => column.key));
      if (made !== this.made) {
        this.made = made;
        this.head(shown);
        this.changed = null; // all rows
        this.offerColumns(all);
      }
      const body = this.table.tBodies[0];
      for (const run of this.board.runs.values()) {
        if (!this.rows.has(run.id)) {
          // Of a server's runs the newest is on top.
          this.rows.set(run.id, body.insertRow(this.board.isLive ? 0 : -1));
          this.fillRow(run, shown);
        } else if (!this.changed || this.changed.has(run.id)) this.fillRow(run, shown);
        this.mark(run);
      }
      this.changed = new Set();
      tables.sort(this.table);
      this.applyFilter();
    }

    head(columns) {
      const titles = columns.map((column) => {
        const button = text("button", column.title, { type: "button" });
        return element("th", { scope: "col" }, button);
      });
      const sorted = this.table.tHead.querySelector("th[aria-sort]");
      this.table.tHead.rows[0].replaceChildren(text("td", "", { class: "choice" }), ...titles);
      const again = titles.find((title) => title.textContent === sorted?.textContent);
      again?.setAttribute("aria-sort", sorted.getAttribute("aria-sort"));
      tables.enable(this.table);
    }

    fillRow(run, columns) {
      const row = this.rows.get(run.id);
      row.className = run.state;
      let box = row.querySelector("input");
      if (!box) {
        box = element("input", { type: "checkbox", "aria-label": `show ${run.id}` });
        box.addEventListener("change", () => {
          this.board.choose(run.id, box.checked);
          this.board.refresh();
        });
      }
      const cells = columns.map(({ key, cell }) => {
        const found = cell(run);
        const tag = key === "run" ? "th" : "td";
        const attributes = { class: key === "state" ? "state" : "" };
        if (tag === "th") attributes.scope = "row";
        if (!Array.isArray(found)) return isolatedText(tag, found, attributes);
        const value = Number.isFinite(found[0]) ? found[0] : "";
        return text(tag, found[1], { class: "number", "data-value": value });
      });
      row.replaceChildren(element("td", { class: "choice" }, box), ...cells);
    }

    mark(run) {
      const cell = this.rows.get(run.id).cells[0];
      const slot = this.board.slots.get(run.id);
      cell.querySelector("input").checked = slot !== undefined;
      cell.querySelector("svg")?.remove();
      if (slot !== undefined) cell.append(sample(slot));
    }

    applyFilter() {
      const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const [id, row] of this.rows) {
        const run = this.board.runs.get(id);
        const settings = Object.entries(run.settings).map(([key, value]) => `${key}=${[value].flat().at(-1)}`);
        const whole = [id, run.name, run.task, run.state, run.group, `seed=${run.seed}`, ...settings]
          .join(" ")
          .toLowerCase();
        row.hidden = !words.every((word) => whole.includes(word));
        count += !row.hidden;
      }
      const some = words.length ? `${count} of ${this.rows.size} runs` : `${this.rows.size} runs`;
      this.board.find("count").textContent = `${some}, ${this.board.slots.size} selected`;
    }

    offerColumns(columns) {
      const choices = columns
        .slice(1)
        .map(({ key, title }) => ({ key, title, isShown: !this.hidden.has(key) }));
      const changed = (key, isShown) => {
        if (isShown) this.hidden.delete(key);
        else this.hidden.add(key);
        this.board.refresh();
      };
      const place = this.board.find("columns");
      if (!place.contains(document.activeElement)) place.replaceChildren(...looks.choices(choices, changed));
    }
  };
})();
