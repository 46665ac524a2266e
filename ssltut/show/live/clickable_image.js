// A picture that says where it was clicked; ssltut/show/live/clickable_image.py has the other half.
function render({ model, el }) {
  const img = document.createElement("img");
  // It shrinks with a narrow notebook, or the next plane would cover the patient's left.
  img.style.cssText = "display:block; margin-right:6px; max-width:calc(100% - 6px); height:auto;"
    + "cursor:crosshair; touch-action:none";
  img.draggable = false;
  let busy = false, steps = 0, timer = 0, hovered = 0;
  const show = () => {
    const old = img.src;
    img.src = URL.createObjectURL(new Blob([model.get("value")], { type: "image/jpeg" }));
    if (old) URL.revokeObjectURL(old);
    free();
  };
  const describe = () => { img.alt = model.get("alt"); };
  // One step is under way at a time: what the wheel turns meanwhile is added up, so that no queue
  // builds up in the kernel.
  const free = () => { busy = false; clearTimeout(timer); if (steps) turn(); };
  const turn = () => {
    if (busy) return;
    busy = true;
    timer = setTimeout(free, 300);
    const sent = steps;
    steps = 0;
    model.send({ kind: "wheel", steps: sent });
  };
  const send = (kind, event) => {
    const box = img.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    model.send({ kind, x, y });
  };
  img.addEventListener("click", (event) => send("click", event));
  img.addEventListener("mouseleave", () => model.send({ kind: "leave" }));
  img.addEventListener("mousemove", (event) => {
    if (event.timeStamp - hovered < 60) return;
    hovered = event.timeStamp;
    send(event.buttons ? "click" : "hover", event);
  });
  const wheel = (event) => {
    event.preventDefault();
    steps += event.deltaY < 0 ? 1 : -1;
    turn();
  };
  img.addEventListener("wheel", wheel, { passive: false });
  model.on("change:value", show);
  model.on("change:alt", describe);
  el.appendChild(img);
  describe();
  show();
  return () => {
    model.off("change:value", show);
    model.off("change:alt", describe);
    URL.revokeObjectURL(img.src);
  };
}
export default { render };
