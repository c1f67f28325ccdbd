"use strict";
// The curves of the board's chosen runs: of each task its own, smoothed as one likes.
const Curves = (() => {
  const { Group } = charts;
  const { element, isolatedText } = looks;

  // An exponential mean of what has come so far, its weights adding up to 1.
  const smoothed = (values, weight) => {
    let [sum, total] = [0, 0];
    return values.map((value) => {
      if (value === null) return null;
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + (1 - weight);
      return sum / total;
    });
  };

  return class {
    constructor(board) {
      this.board = board;
      this.shown = new Map(); // of charts, whether somebody chose or dismissed them
      this.drawn = new Map(); // tasks with their heading, group and charts
      this.smoothing = board.find("smoothing");
      this.smoothing.addEventListener("input", () => this.draw());
    }

    // By task, the charts that there are: of each column of the log, and of each loss by itself.
    kinds(runs) {
      const found = new Map();
      for (const run of runs) {
        const task = this.board.tasks[run.task];
        for (const column of Object.keys(run.log)) {
          if (column === "epoch" || !task.columns[column]) continue;
          const metric = task.columns[column];
          const loss = metric.of_the_loss ? run.loss : "";
          const key = JSON.stringify([run.task, column, loss]);
          if (!found.has(key)) {
            const title = loss ? `${metric.title} (${loss})` : metric.title;
            found.set(key, { key, task: run.task, column, metric, title, runs: [] });
          }
          found.get(key).runs.push(run);
        }
      }
      for (const kind of found.values()) {
        const { usual } = this.board.tasks[kind.task];
        kind.isShown = this.shown.get(kind.key) ?? usual.includes(kind.column);
        kind.place = usual.includes(kind.column) ? usual.indexOf(kind.column) : usual.length;
      }
      return [...found.values()].sort((a, b) => a.place - b.place);
    }

    draw() {
      const runs = this.board.chosen.filter((run) => run.log.epoch?.length);
      const weight = Number(this.smoothing.value);
      this.board.find("weight").textContent = weight ? weight.toFixed(2) : "none";
      const kinds = this.kinds(runs);
      this.offerCharts(kinds);
      this.board.find("nothing").hidden = runs.length > 0;
      const wanted = kinds.filter((kind) => kind.isShown);
      for (const [task, one] of this.drawn) {
        for (const [key, chart] of one.charts) {
          if (!wanted.some((kind) => kind.key === key)) {
            one.group.drop(chart);
            one.charts.delete(key);
          }
        }
        one.heading.hidden = !wanted.some((kind) => kind.task === task);
        if (!one.charts.size) one.group.bar.hidden = true;
      }
      for (const kind of wanted) this.drawChart(kind, this.specOf(kind, weight));
    }

    specOf({ title, column, metric, runs }, weight) {
      const names = this.board.labels(runs);
      const x = [...new Set(runs.flatMap((run) => run.log.epoch))].sort((a, b) => a - b);
      const place = new Map(x.map((epoch, k) => [epoch, k]));
      const lines = runs.map((run) => {
        const values = new Array(x.length).fill(null);
        run.log.epoch.forEach((epoch, k) => {
          values[place.get(epoch)] = run.log[column][k] ?? null;
        });
        const line = { name: names.get(run.id), slot: this.board.slots.get(run.id), values };
        return weight && column !== "lr" ? { ...line, values: smoothed(values, weight), raw: values } : line;
      });
      return { ...metric, title, x, lines };
    }

    drawChart({ key, task }, spec) {
      if (!this.drawn.has(task)) {
        const heading = isolatedText("h3", task);
        const parent = element("div", { class: "charts" });
        this.board.find("curves").append(heading, parent);
        this.drawn.set(task, { heading, group: new Group(parent), charts: new Map() });
      }
      const { group, charts: known, heading } = this.drawn.get(task);
      heading.hidden = false;
      if (known.has(key)) known.get(key).set(spec);
      else known.set(key, group.add(spec));
      group.tell();
    }

    offerCharts(kinds) {
      const place = this.board.find("charts-shown");
      if (place.contains(document.activeElement)) return;
      const tasks = [...new Set(kinds.map((kind) => kind.task))];
      const changed = (key, isShown) => {
        this.shown.set(key, isShown);
        this.board.refresh();
      };
      place.replaceChildren(
        ...tasks.flatMap((task) => [
          ...(tasks.length > 1 ? [isolatedText("p", task, { class: "of" })] : []),
          ...looks.choices(kinds.filter((kind) => kind.task === task), changed),
        ]),
      );
    }
  };
})();
