"use strict";
// The board: runs in a table, their curves, configs and images; of a file's data, or of a server's.
(() => {
  const { element, isolatedText, sample, text } = looks;
  const MOST_COMPARED = 7; // configs side by side, and curves that are chosen of themselves
  const EVERY = 1500; // milliseconds from one question to the server to the next
  const written = (run, key) => [run.settings[key] ?? "-"].flat().at(-1);

  const debounced = (work) => {
    let asked = false;
    return () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        work();
      });
    };
  };

  class Board {
    constructor(root, isLive) {
      this.root = root;
      this.isLive = isLive;
      this.runs = new Map();
      this.slots = new Map(); // the chosen runs, and the look of each one's line
      this.tasks = {};
      this.keys = [];
      this.version = 0;
      this.find = (name) => root.querySelector(`.${name}`);
      this.find("epoch").addEventListener("input", () => this.showImages());
      this.refresh = debounced(() => this.render());
      this.table = new RunsTable(this);
      this.curves = new Curves(this);
    }

    merge(data) {
      this.version = data.version;
      this.tasks = data.tasks;
      this.keys = data.keys;
      for (const id of data.gone) this.forget(id);
      const isFirst = !this.runs.size;
      for (const run of data.runs) {
        const isNew = !this.runs.has(run.id);
        this.runs.set(run.id, run);
        // Whoever looks on wants to see what starts, as long as the lines can be told apart.
        const wanted = isFirst ? data.chosen.includes(run.id) : run.state === "running";
        if (isNew && wanted && (isFirst || this.slots.size < MOST_COMPARED)) this.choose(run.id);
      }
      if (data.runs.length || data.gone.length) {
        this.table.changed = new Set(data.runs.map((run) => run.id));
        this.render();
      }
    }

    forget(id) {
      this.runs.delete(id);
      this.slots.delete(id);
      this.table.forget(id);
    }

    choose(id, isChosen = true) {
      if (!isChosen) this.slots.delete(id);
      if (!isChosen || this.slots.has(id)) return;
      const taken = new Set(this.slots.values());
      let slot = 0;
      while (taken.has(slot)) slot += 1;
      this.slots.set(id, slot);
    }

    get chosen() {
      return [...this.slots.keys()].map((id) => this.runs.get(id));
    }

    render() {
      this.table.fill();
      this.curves.draw();
      this.compare();
      this.showImages();
    }

    // What to call the lines of these runs: by name, and where several have it by what differs.
    labels(runs) {
      const named = Map.groupBy(runs, (run) => run.name);
      const labels = new Map();
      for (const [name, own] of named) {
        const differs = (value) => new Set(own.map(value)).size > 1;
        const keys = this.keys.filter((key) => differs((run) => written(run, key))).slice(0, 3);
        const seeds = differs((run) => run.seed);
        const told = (run) => [
          ...(named.size > 1 || !(keys.length || seeds) ? [name] : []),
          ...keys.map((key) => `${key.split(".").at(-1)}=${written(run, key)}`),
          ...(seeds ? [`seed ${run.seed}`] : []),
        ];
        for (const [label, alike] of Map.groupBy(own, (run) => told(run).join(", "))) {
          const folder = (run) => ` (${run.id.split(/[\\/]/).at(-1)})`;
          for (const run of alike) labels.set(run.id, label + (alike.length > 1 ? folder(run) : ""));
        }
      }
      return labels;
    }

    compare() {
      const runs = this.chosen.filter((run) => run.state !== "damaged").slice(0, MOST_COMPARED);
      const place = this.find("configs");
      if (runs.length < 2) {
        place.replaceChildren(text("p", "Select two or more runs to see how their configs differ."));
        return;
      }
      const keys = this.keys.filter((key) => new Set(runs.map((run) => written(run, key))).size > 1);
      const seeds = new Set(runs.map((run) => run.seed)).size > 1;
      if (!keys.length) {
        const same = seeds ? "Their configs differ only in the seed." : "Their configs are the same.";
        place.replaceChildren(text("p", same));
        return;
      }
      const names = this.labels(runs);
      const head = runs.map((run) =>
        element("th", { scope: "col" }, sample(this.slots.get(run.id)), " ", text("bdi", names.get(run.id))),
      );
      const body = keys.map((key) =>
        element(
          "tr",
          {},
          isolatedText("th", key, { scope: "row" }),
          ...runs.map((run) => isolatedText("td", written(run, key))),
        ),
      );
      const caption = text("caption", "Settings that differ between the selected runs");
      const table = element(
        "table",
        {},
        caption,
        element("thead", {}, element("tr", {}, text("th", "setting", { scope: "col" }), ...head)),
        element("tbody", {}, ...body),
      );
      const frame = { class: "wide", tabindex: "0", role: "region", "aria-label": "Configs" };
      place.replaceChildren(element("div", frame, table));
    }

    showImages() {
      const runs = this.chosen.filter((run) => run.images.length);
      const place = this.find("images");
      place.hidden = !runs.length;
      if (!runs.length) return;
      const epochs = [...new Set(runs.flatMap((run) => run.images.map(([epoch]) => epoch)))];
      epochs.sort((a, b) => a - b);
      const slider = this.find("epoch");
      const wasLast = Number(slider.value) >= Number(slider.max);
      slider.max = epochs.length - 1;
      if (wasLast) slider.value = slider.max;
      const epoch = epochs[Number(slider.value)];
      this.find("epoch-told").textContent = `epoch ${epoch}`;
      const names = this.labels(runs);
      const gallery = this.find("gallery");
      runs.forEach((run, k) => {
        const [at, source] = run.images.filter(([one]) => one <= epoch).at(-1) ?? run.images[0];
        const figure = gallery.children[k] ?? gallery.appendChild(element("figure", {}, element("img"), element("figcaption")));
        const image = figure.querySelector("img");
        if (image.getAttribute("src") !== source) image.src = source;
        image.alt = `${names.get(run.id)} after epoch ${at}`;
        figure.querySelector("figcaption").replaceChildren(text("bdi", names.get(run.id)), `, epoch ${at}`);
      });
      while (gallery.children.length > runs.length) gallery.lastChild.remove();
    }

    async poll() {
      const status = this.find("status");
      try {
        const answer = await fetch(`runs.json?since=${this.version}`, { cache: "no-store" });
        if (!answer.ok) throw new Error(answer.statusText);
        this.merge(await answer.json());
        const training = [...this.runs.values()].filter((run) => run.state === "running").length;
        const told = { 0: "No run is training now", 1: "One run is training" };
        const now = `${told[training] ?? `${training} runs are training`}; rows appear here as they are written.`;
        if (status.textContent !== now) status.textContent = now;
        status.classList.remove("lost");
      } catch {
        const since = new Date().toLocaleTimeString();
        if (!status.classList.contains("lost")) {
          status.textContent = `Not live since ${since}: cnnrun report --serve has stopped. What it sent stays here.`;
        }
        status.classList.add("lost");
      }
      setTimeout(() => this.poll(), EVERY);
    }
  }

  for (const root of document.querySelectorAll(".board")) {
    const data = root.querySelector("script[type='application/json']");
    const board = new Board(root, !data);
    if (data) board.merge(JSON.parse(data.textContent));
    else {
      board.find("status").textContent = "Reading the runs …";
      board.poll();
    }
  }
})();
