"use strict";
(() => {
  const shown = (value, digits = 1) => value.toFixed(digits).replace("-", "−");

  // Mistakes of two classes only.
  const mixed = document.getElementById("mixed-up");
  if (mixed) {
    const status = document.getElementById("mixed-up-status");
    const items = [...document.querySelectorAll(".mistakes > li")];
    mixed.addEventListener("change", () => {
      let count = 0;
      for (const item of items) {
        item.hidden = mixed.value !== "" && item.dataset.pair !== mixed.value;
        count += item.hidden ? 0 : 1;
      }
      status.textContent = `${count} shown`;
    });
  }

  // How many rows to answer: accuracy and threshold at a share.
  const dial = document.getElementById("answered");
  if (dial) {
    const curve = JSON.parse(document.getElementById("answered-data").textContent);
    const says = document.getElementById("answered-says");
    const tell = () => {
      const share = Number(dial.value) / 100;
      const near = curve.reduce((best, point) =>
        Math.abs(point.coverage - share) < Math.abs(best.coverage - share) ? point : best);
      says.textContent = `Answer ${dial.value} %: ${shown(100 * (1 - near.risk))} % are right; ` +
        `answer where the model is at least ${shown(100 * near.threshold)} % sure.`;
    };
    dial.addEventListener("input", tell);
    tell();
  }

  for (const controls of document.querySelectorAll(".controls[hidden]")) controls.hidden = false;
})();
