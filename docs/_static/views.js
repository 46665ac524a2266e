/* Views that move without a kernel. Each waits in an element with data-view, beside its still picture; what it needs is
   in window.ssltutViews, put there by a script of its own, so that pages opened from a folder work too. */
"use strict";

const PLANES = {  // [axis cut, axis from left to right, axis from bottom to top, letters left, right, top, bottom]
  axial: [2, 0, 1, "RLAP"], coronal: [1, 0, 2, "RLSI"], sagittal: [0, 1, 2, "APSI"] };
const EYES = { front: [0, 1.9, 0.1], back: [0, -1.9, 0.1], "patient's left": [-1.9, 0, 0.1],
  "patient's right": [1.9, 0, 0.1], above: [0, 0.3, 1.9] };

function element(tag, parent, settings = {}) {
  const made = document.createElement(tag);
  Object.assign(made, settings);
  parent.append(made);
  return made;
}

function loaded(source) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = failed;
    image.src = source;
  });
}

/* Three linked planes of one scan, cut out of tiles that were drawn when the site was built. */
class Slices {
  constructor(box, view) {
    Object.assign(this, { box, view, at: [...view.at], layer: Object.keys(view.layers)[0] });
    this.panes = {};
  }

  async start() {
    const { view } = this;
    this.tiles = {};
    for (const [layer, planes] of Object.entries({ "": view.image, ...view.layers })) {
      this.tiles[layer] = {};
      for (const plane of Object.keys(planes)) this.tiles[layer][plane] = await loaded(planes[plane]);
    }
    this.box.replaceChildren();
    const row = element("div", this.box, { className: "planes" });
    for (const plane of Object.keys(PLANES)) this.pane(row, plane);
    const choices = element("fieldset", this.box);
    element("legend", choices, { textContent: "In colour" });
    for (const layer of [...Object.keys(view.layers), "the image alone"]) {
      const label = element("label", choices);
      const radio = element("input", label, { type: "radio", name: `${this.box.id}-layer`, value: layer });
      radio.checked = layer === this.layer;
      radio.onchange = () => { this.layer = layer; this.draw(); };
      label.append(` ${layer}`);
    }
    this.readout = element("p", this.box, { className: "readout" });
    this.readout.setAttribute("role", "status");
    this.draw();
    this.box.dataset.ready = "yes";
  }

  pane(row, plane) {
    const [cut, across, up] = PLANES[plane], { shape, spacing } = this.view;
    const figure = element("figure", row);
    const canvas = element("canvas", figure, { width: shape[across] * this.view.zoom, height: shape[up] * this.view.zoom });
    canvas.style.aspectRatio = (shape[across] * spacing[across]) / (shape[up] * spacing[up]);
    canvas.setAttribute("role", "img");
    canvas.onpointerdown = canvas.onpointermove = event => {
      if (event.type === "pointermove" && !event.buttons) return;
      const area = canvas.getBoundingClientRect();
      const share = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
      const place = [1 - share[0], 1 - share[1]];  // the patient's right (front) is on the left, the head on top
      [across, up].forEach((axis, n) => {
        this.at[axis] = Math.min(shape[axis] - 1, Math.max(0, Math.floor(place[n] * shape[axis])));
      });
      this.draw();
    };
    const caption = element("figcaption", figure), label = element("label", caption);
    const text = element("span", label);
    const slider = element("input", label, { type: "range", min: 0, max: shape[cut] - 1, value: this.at[cut] });
    slider.oninput = () => { this.at[cut] = Number(slider.value); this.draw(); };
    this.panes[plane] = { canvas, text, slider };
  }

  /* The colour of a layer at the crosshair names a class: read from the tile itself. */
  named(layer) {
    const { view, at } = this, [cut, across, up] = PLANES.axial, { shape } = view;
    const spot = document.createElement("canvas");
    spot.width = spot.height = 1;
    const pen = spot.getContext("2d", { willReadFrequently: true });
    const column = at[cut] % view.columns, row = Math.floor(at[cut] / view.columns);
    pen.drawImage(this.tiles[layer].axial, column * shape[across] + shape[across] - 1 - at[across],
      row * shape[up] + shape[up] - 1 - at[up], 1, 1, 0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    if (!alpha) return view.keys[layer][""];
    const hex = "#" + [red, green, blue].map(value => value.toString(16).padStart(2, "0")).join("").toUpperCase();
    return view.keys[layer][hex] ?? "";
  }

  draw() {
    const { view, at } = this, { shape } = view;
    for (const [plane, { canvas, text, slider }] of Object.entries(this.panes)) {
      const [cut, across, up, letters] = PLANES[plane], pen = canvas.getContext("2d");
      const width = shape[across], height = shape[up];
      const from = [at[cut] % view.columns * width, Math.floor(at[cut] / view.columns) * height, width, height];
      pen.globalAlpha = 1;
      pen.imageSmoothingEnabled = true;
      pen.drawImage(this.tiles[""][plane], ...from, 0, 0, canvas.width, canvas.height);
      if (view.layers[this.layer]) {
        pen.globalAlpha = 0.55;
        pen.imageSmoothingEnabled = false;
        pen.drawImage(this.tiles[this.layer][plane], ...from, 0, 0, canvas.width, canvas.height);
      }
      pen.globalAlpha = 1;
      const x = (width - 0.5 - at[across]) * view.zoom, y = (height - 0.5 - at[up]) * view.zoom;
      pen.setLineDash([4, 4]);
      pen.strokeStyle = "white";
      pen.strokeRect(x, -1, 0, canvas.height + 2);
      pen.strokeRect(-1, y, canvas.width + 2, 0);
      pen.font = `bold ${5 * view.zoom}px sans-serif`;
      pen.setLineDash([]);
      pen.lineWidth = 3;
      pen.strokeStyle = "black";
      pen.fillStyle = "white";
      const middle = [canvas.width / 2, canvas.height / 2], edge = 4 * view.zoom;
      [[edge, middle[1]], [canvas.width - edge, middle[1]], [middle[0], edge], [middle[0], canvas.height - edge]]
        .forEach(([left, top], n) => {
          pen.textAlign = "center";
          pen.textBaseline = "middle";
          pen.strokeText(letters[n], left, top);
          pen.fillText(letters[n], left, top);
        });
      pen.lineWidth = 1;
      slider.value = at[cut];
      text.textContent = `${plane}, ${"xyz"[cut]} = ${at[cut]}`;
      canvas.setAttribute("aria-label", `${plane} slice ${at[cut]} of ${shape[cut]}, in colour: ${this.layer}`);
    }
    const known = Object.keys(view.keys).map(layer => `${layer}: ${this.named(layer)}`);
    this.readout.textContent = `At the crosshair (${at.join(", ")}): ${known.join(" · ")}`;
  }
}

/* A scene to be turned: by mouse or finger, and with buttons. */
async function turn(box, view) {
  const room = document.createElement("div");
  const buttons = element("div", box, { className: "sides" });
  box.querySelector("img").before(room);
  const narrow = box.clientWidth < 500;  // a phone sees what is wide from farther off
  const far = narrow ? view.far : 1, layout = { ...view.layout, autosize: true, height: narrow ? 340 : view.layout.height };
  layout.scene.camera = { eye: { x: 0.2, y: far * EYES.front[1], z: 0.2 } };
  await Plotly.newPlot(room, view.data, layout, { displayModeBar: false, responsive: true });
  box.querySelector("img").hidden = true;
  for (const [name, [x, y, z]] of Object.entries(EYES)) {
    const button = element("button", buttons, { type: "button", textContent: `from the ${name}`.replace("the above", "above") });
    button.onclick = () => Plotly.relayout(room, { "scene.camera.eye": { x: far * x, y: far * y, z: far * z } });
  }
  box.dataset.ready = "yes";
}

addEventListener("DOMContentLoaded", async () => {
  for (const box of document.querySelectorAll("[data-view]")) {
    const view = window.ssltutViews?.[box.dataset.view];
    try {  // whatever fails, the still picture stays
      if (view?.kind === "slices") await new Slices(box, view).start();
      if (view?.kind === "scene") await turn(box, view);
    } catch (problem) {
      console.warn(`${box.dataset.view}: the picture stays, ${problem}`);
    }
  }
});
