// The photo on its stage: zoom and pan, and the dots of the hints on it.
//
// Places are fractions of the photo. The frame gets the size of the enlarged photo, so that dots,
// which are placed in percent, keep their own size.

const TAP = 6; // Pixels that a finger may move in a tap.
const MOST = 40; // Zoom, times the size that fits.
const ENLARGED = 4; // Screen pixels that a pixel of a small photo may take where all of it is seen.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const inside = (value) => clamp(value, 0, 1);

// `on` has place(x, y), open(id), move(id, x, y, gesture) and remove(id).
export function createView(stage, frame, dots, on) {
  const photo = { width: 1, height: 1 };
  const view = { zoom: 1, x: 0.5, y: 0.5 }; // The place in the middle.
  const pointers = new Map();
  let gesture = 0; // A number for each drag: its moves are one step to undo.
  let dragged = ""; // The id of the hint that is dragged.
  let moved = false;

  function layout() {
    const { clientWidth, clientHeight } = stage;
    const fit = Math.min(clientWidth / photo.width, clientHeight / photo.height, ENLARGED);
    const [width, height] = [photo.width * fit * view.zoom, photo.height * fit * view.zoom];
    const margin = (room, length) => Math.min(0.5, room / length / 2 || 0.5);
    view.x = clamp(view.x, margin(clientWidth, width), 1 - margin(clientWidth, width));
    view.y = clamp(view.y, margin(clientHeight, height), 1 - margin(clientHeight, height));
    frame.style.width = `${width}px`;
    frame.style.height = `${height}px`;
    const [left, top] = [clientWidth / 2 - view.x * width, clientHeight / 2 - view.y * height];
    frame.style.transform = `translate(${left}px, ${top}px)`;
  }

  function placeOf(clientX, clientY) {
    const box = frame.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  }

  // Zoom; what is under the pointer, or in the middle, stays there.
  function zoomBy(factor, clientX, clientY) {
    const zoom = clamp(view.zoom * factor, 1, MOST);
    const by = zoom / view.zoom;
    const [x, y] = clientX === undefined ? [view.x, view.y] : placeOf(clientX, clientY);
    Object.assign(view, { zoom, x: x + (view.x - x) / by, y: y + (view.y - y) / by });
    layout();
  }

  function pan(dx, dy) {
    view.x -= dx / frame.offsetWidth;
    view.y -= dy / frame.offsetHeight;
    layout();
  }

  const spread = ([one, other]) => Math.hypot(one.x - other.x, one.y - other.y);

  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    stage.setPointerCapture(event.pointerId);
    const dot = event.target.closest(".dot");
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, startX: event.clientX, startY: event.clientY });
    dragged = pointers.size === 1 && dot ? dot.dataset.id : "";
    if (pointers.size === 1) moved = false;
    if (dot) dot.focus();
    gesture++;
  });

  stage.addEventListener("pointermove", (event) => {
    const pointer = pointers.get(event.pointerId);
    if (!pointer) return;
    const before = [...pointers.values()].map((one) => ({ ...one }));
    const [dx, dy] = [event.clientX - pointer.x, event.clientY - pointer.y];
    const far = Math.hypot(event.clientX - pointer.startX, event.clientY - pointer.startY);
    if (pointers.size === 1 && !moved && far < TAP) return;
    moved = true;
    Object.assign(pointer, { x: event.clientX, y: event.clientY });
    if (dragged) {
      const [x, y] = placeOf(event.clientX, event.clientY);
      on.move(dragged, inside(x), inside(y), gesture);
    } else {
      pan(dx / pointers.size, dy / pointers.size);
      if (pointers.size === 2) {
        const now = [...pointers.values()];
        zoomBy(spread(now) / Math.max(1, spread(before)), (now[0].x + now[1].x) / 2, (now[0].y + now[1].y) / 2);
      }
    }
  });

  function lift(event) {
    if (!pointers.delete(event.pointerId)) return;
    if (event.type === "pointerup" && !moved && !pointers.size) {
      const [x, y] = placeOf(event.clientX, event.clientY);
      if (dragged) on.open(dragged);
      else on.place(x, y);
    }
    if (!pointers.size) dragged = "";
  }
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event.clientX, event.clientY);
  }, { passive: false });

  stage.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    const id = event.target.dataset.id;
    if (arrow && id) {
      const [x, y] = [parseFloat(event.target.style.left), parseFloat(event.target.style.top)];
      const pixels = event.shiftKey ? 10 : 2;
      on.move(id, inside(x / 100 + arrow[0] * pixels / frame.offsetWidth),
        inside(y / 100 + arrow[1] * pixels / frame.offsetHeight), `keys ${gesture}`);
    } else if (arrow && event.target === stage) pan(-60 * arrow[0], -60 * arrow[1]);
    else if (id && ["Delete", "Backspace"].includes(event.key)) on.remove(id);
    else return;
    event.preventDefault();
  });
  dots.addEventListener("focusin", () => { gesture++; });
  // From the keyboard or a screen reader: those of a pointer end at the stage, which captures it.
  dots.addEventListener("click", (event) => on.open(event.target.dataset.id));

  // Show hints of {id, x, y, colour}; elements stay, so that the focus does.
  function showHints(hints, opened) {
    const there = new Map([...dots.children].map((dot) => [dot.dataset.id, dot]));
    hints.forEach((hint, i) => {
      let dot = there.get(hint.id);
      if (!dot) {
        dot = Object.assign(document.createElement("button"), { type: "button", className: "dot" });
        dot.dataset.id = hint.id;
        dots.append(dot);
      }
      there.delete(hint.id);
      dot.style.left = `${100 * hint.x}%`;
      dot.style.top = `${100 * hint.y}%`;
      dot.style.backgroundColor = Array.isArray(hint.colour) ? "" : hint.colour || "transparent";
      dot.classList.toggle("opened", hint.id === opened);
      const place = `${Math.round(100 * hint.x)}% from the left, ${Math.round(100 * hint.y)}% from the top`;
      dot.setAttribute("aria-label", `Hint ${i + 1}, ${hint.colour || "no colour yet"}, ${place}`);
    });
    there.forEach((dot) => dot.remove());
  }

  function setPhoto(width, height) {
    Object.assign(photo, { width, height });
    Object.assign(view, { zoom: 1, x: 0.5, y: 0.5 });
    layout();
  }

  new ResizeObserver(layout).observe(stage);
  return {
    zoomBy, setPhoto, showHints,
    fit: () => zoomBy(1 / MOST),
    middle: () => [view.x, view.y],
    dot: (id) => dots.querySelector(`[data-id="${id}"]`),
  };
}
