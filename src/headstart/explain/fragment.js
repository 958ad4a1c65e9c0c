// Attention that answers to pointer and keyboard. Text is set as text, never as HTML.
(() => {
  "use strict";

  const decode = (text) => {
    const bytes = atob(text);
    return Float32Array.from(bytes, (letter) => (letter.charCodeAt(0) / 255) ** 2);
  };
  const option = (select, value, text) => {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    select.append(made);
  };
  const percent = (weight) => `${(100 * weight).toFixed(weight < 0.1 ? 1 : 0)} %`;

  class Viewer {
    constructor(root) {
      this.root = root;
      this.data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
      this.weights = decode(this.data.weights);
      this.rollout = this.data.rollout === null ? null : decode(this.data.rollout);
      this.layer = root.querySelector(".hs-layer");
      this.head = root.querySelector(".hs-head");
      this.status = root.querySelector(".hs-status");
      this.alike = this.data.kind !== "cross";
      this.chosen = 0;
      this.fill();
      this.listen();
      root.querySelector(".hs-controls").hidden = false;
      this.show();
    }

    fill() {
      for (let layer = 0; layer < this.data.layers; layer += 1) option(this.layer, layer, layer + 1);
      if (this.rollout !== null) option(this.layer, "rollout", "all, rolled out");
      option(this.head, "mean", "mean");
      for (let head = 0; head < this.data.heads; head += 1) option(this.head, head, head + 1);
      this.layer.value = this.data.layers - 1;
      const place = this.root.querySelector(".hs-queries");
      this.queries = this.data.queries.map((token, index) => this.token("button", token, index));
      place.append(...this.queries);
      this.keys = this.queries;
      if (this.alike) {
        this.root.querySelector(".hs-keys").remove();
        this.arrange(place);
      } else {
        this.keys = this.data.keys.map((token) => this.token("span", token));
        this.root.querySelector(".hs-keys").append(...this.keys);
      }
    }

    token(kind, text, index) {
      const made = document.createElement(kind);
      made.className = "hs-token";
      made.textContent = text;
      if (kind === "button") {
        made.type = "button";
        made.tabIndex = index === 0 ? 0 : -1;
        made.dataset.index = index;
      }
      return made;
    }

    arrange(place) {
      if (this.data.grid === null) return;
      const [rows, columns] = this.data.grid;
      const patches = this.queries.slice(this.queries.length - rows * columns);
      const grid = document.createElement("div");
      grid.className = "hs-grid";
      grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
      grid.append(...patches);
      place.after(grid);
      patches.forEach((patch) => patch.setAttribute("aria-label", `patch ${patch.textContent}`));
    }

    listen() {
      this.layer.addEventListener("change", () => this.show());
      this.head.addEventListener("change", () => this.show());
      for (const query of this.queries) {
        const index = Number(query.dataset.index);
        query.addEventListener("pointerenter", () => this.show(index));
        query.addEventListener("focus", () => this.choose(index));
        query.addEventListener("click", () => this.choose(index));
        query.addEventListener("pointerleave", () => this.show());
        query.addEventListener("keydown", (event) => this.key(event, index));
      }
    }

    key(event, index) {
      const last = this.queries.length - 1;
      const token = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: last }[event.key];
      if (token !== undefined) this.queries[Math.min(Math.max(token, 0), last)].focus();
      else if (event.key === "ArrowUp") this.step(this.layer, -1);
      else if (event.key === "ArrowDown") this.step(this.layer, 1);
      else if (event.key === "PageUp") this.step(this.head, -1);
      else if (event.key === "PageDown") this.step(this.head, 1);
      else return;
      event.preventDefault();
    }

    step(select, by) {
      const last = select.options.length - 1;
      select.selectedIndex = Math.min(Math.max(select.selectedIndex + by, 0), last);
      this.show();
    }

    choose(index) {
      this.chosen = index;
      this.queries.forEach((query, place) => {
        query.tabIndex = place === index ? 0 : -1;
      });
      this.show();
    }

    row(index) {
      const keys = this.data.keys.length;
      if (this.layer.value === "rollout") return this.rollout.slice(index * keys, (index + 1) * keys);
      const size = this.data.queries.length * keys;
      const heads = this.head.value === "mean" ? [...Array(this.data.heads).keys()] : [Number(this.head.value)];
      const mean = new Float32Array(keys);
      for (const head of heads) {
        const start = (Number(this.layer.value) * this.data.heads + head) * size + index * keys;
        for (let key = 0; key < keys; key += 1) mean[key] += this.weights[start + key] / heads.length;
      }
      return mean;
    }

    show(index = this.chosen) {
      const rolled = this.layer.value === "rollout";
      this.head.disabled = rolled;
      const row = this.row(index);
      const highest = Math.max(...row, 1e-9);
      this.queries.forEach((query, place) => query.setAttribute("aria-pressed", String(place === index)));
      this.keys.forEach((key, place) => {
        key.style.setProperty("--s", (row[place] / highest).toFixed(3));
        key.title = percent(row[place]);
      });
      const most = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 3);
      const told = most.map((key) => `${this.data.keys[key]} ${percent(row[key])}`).join(", ");
      const where = rolled ? "all layers" : `layer ${Number(this.layer.value) + 1}, ` +
        (this.head.value === "mean" ? "mean of the heads" : `head ${Number(this.head.value) + 1}`);
      this.status.textContent = `${this.data.queries[index]} looks at ${told} (${where}). ` +
        "Keys: left and right choose a token, up and down a layer, page up and page down a head.";
    }
  }

  for (const root of document.querySelectorAll(".hs-attention:not([data-ready])")) {
    root.dataset.ready = "";
    new Viewer(root);
  }
})();
