// The choice of a colour for one place: the likely ones first, then a wheel of all there are.

const WIDE = 640; // From this width on it stands beside the place; below, it is a sheet.
const GAP = 28;
const [DARK, LIGHT] = [40, 236]; // Grays beyond which there is hardly a colour.
const STEP = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const normal = document.createElement("canvas").getContext("2d");

// A colour as #rrggbb, or "" if it is none: the browser knows the names, and keeps what it had.
export function hex(colour) {
  normal.fillStyle = "#010203";
  normal.fillStyle = colour;
  const isNone = normal.fillStyle === "#010203" && colour !== "#010203";
  return isNone || !normal.fillStyle.startsWith("#") ? "" : normal.fillStyle;
}

// `box` is the element; `on` has pick(colour, gesture), remove() and close().
export function createPicker(box, on) {
  const part = (name) => box.querySelector(`.${name}`);
  const [swatches, wheel, mark, code] = ["swatches", "wheel", "mark", "code"].map(part);
  const context = wheel.getContext("2d", { willReadFrequently: true });
  const at = { x: 0, y: 0 }; // Of the mark, in pixels of the wheel.
  let gesture = 0; // The colours tried while it is open are one step to undo.
  let opened = 0; // A number, so that late answers for another place are known.

  function pixel(x, y) {
    const [red, green, blue] = context.getImageData(x, y, 1, 1).data;
    return `#${[red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  }

  // Move the mark to the nearest place inside the wheel.
  function markAt(x, y) {
    const middle = wheel.width / 2;
    const [dx, dy] = [x - middle, y - middle];
    const inside = Math.min(1, (middle - 2) / Math.max(1, Math.hypot(dx, dy)));
    Object.assign(at, { x: Math.round(middle + dx * inside), y: Math.round(middle + dy * inside) });
    mark.style.left = `${100 * at.x / wheel.width}%`;
    mark.style.top = `${100 * at.y / wheel.height}%`;
    mark.hidden = false;
  }

  function markColour(colour) {
    const { data } = context.getImageData(0, 0, wheel.width, wheel.height);
    const [red, green, blue] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
    let best = Infinity;
    let found = 0;
    for (let i = 0; i < data.length; i += 4) {
      const far = (data[i] - red) ** 2 + (data[i + 1] - green) ** 2 + (data[i + 2] - blue) ** 2;
      if (data[i + 3] === 255 && far < best) [best, found] = [far, i / 4];
    }
    markAt(found % wheel.width, Math.floor(found / wheel.width));
  }

  function choose(colour, isOfWheel = false) {
    if (!isOfWheel) markColour(colour);
    show(colour);
    on.pick(colour, `pick ${gesture}`);
  }

  function show(colour) {
    code.value = colour;
    part("chosen").style.backgroundColor = colour || "transparent";
    wheel.setAttribute("aria-valuetext", colour || "none yet");
    for (const swatch of swatches.querySelectorAll("button")) {
      swatch.setAttribute("aria-pressed", swatch.dataset.colour === colour);
    }
  }

  function fromPointer(event) {
    const bounds = wheel.getBoundingClientRect();
    markAt((event.clientX - bounds.left) * wheel.width / bounds.width,
      (event.clientY - bounds.top) * wheel.height / bounds.height);
    choose(pixel(at.x, at.y), true);
  }
  wheel.addEventListener("pointerdown", (event) => {
    wheel.setPointerCapture(event.pointerId);
    fromPointer(event);
  });
  wheel.addEventListener("pointermove", (event) => {
    if (wheel.hasPointerCapture(event.pointerId)) fromPointer(event);
  });
  wheel.addEventListener("keydown", (event) => {
    const step = STEP[event.key];
    if (!step) return;
    event.preventDefault();
    markAt(at.x + 4 * step[0], at.y + 4 * step[1]);
    choose(pixel(at.x, at.y), true);
  });

  code.addEventListener("focus", () => code.select());
  code.addEventListener("change", () => {
    const colour = hex(code.value.trim());
    if (!code.value) return;
    part("wrong").textContent = colour
      ? "" : `${code.value} is no colour; it should be like #2e6b3f, or a name such as darkgreen`;
    if (colour) choose(colour);
  });

  part("remove").addEventListener("click", () => on.remove());
  part("done").addEventListener("click", () => close());
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    event.stopPropagation(); // The keys of the page are not meant.
  });

  // Open it for a hint; `likely` is a promise of colours, `used` are those of other hints.
  async function open({ isNew, colour, dot, stage, wheelAddress, likely, used }) {
    const mine = ++opened;
    gesture++;
    part("title").textContent = isNew ? "What colour is this?" : "Change this colour";
    part("wrong").textContent = "";
    part("remove").hidden = isNew;
    swatches.replaceChildren();
    swatches.setAttribute("aria-busy", "true");
    context.clearRect(0, 0, wheel.width, wheel.height);
    mark.hidden = true;
    show(colour);
    box.hidden = false;
    document.body.classList.add("picking");
    stand(dot, stage);
    box.focus({ preventScroll: true });
    const draw = async () => {
      const image = new Image();
      image.src = wheelAddress();
      await image.decode();
      if (mine !== opened) return;
      Object.assign(wheel, { width: image.width, height: image.height });
      context.drawImage(image, 0, 0);
      if (code.value) markColour(code.value);
    };
    const fill = (colours) => {
      if (mine !== opened) return;
      const what = (i) => (i === 0 ? "the network's own choice" : i === colours.length - 1 ? "gray" : "likely");
      swatches.append(...colours.map((one, i) => swatchOf(one, what(i))));
      swatches.append(...used.map((one) => swatchOf(one, "used in this photo")));
      show(code.value);
      const gray = parseInt(colours.at(-1).slice(1, 3), 16); // The last one.
      const extreme = gray < DARK ? ["dark", "lighter"] : gray > LIGHT ? ["light", "darker"] : null;
      if (!extreme) return;
      part("wrong").textContent = `Few colours fit where it is so ${extreme[0]}: click a ${extreme[1]} part of the thing.`;
      stand(dot, stage);
    };
    try {
      // A photo that the server has forgotten is there again after the other answer.
      await Promise.all([draw().catch(() => likely.then(draw)), likely.then(fill)]);
    } catch (error) {
      if (mine === opened) part("wrong").textContent = error.message;
    }
    if (mine === opened) swatches.setAttribute("aria-busy", "false");
  }

  function swatchOf(colour, what) {
    const title = `${colour}, ${what}`;
    const button = Object.assign(document.createElement("button"), { type: "button", title });
    button.dataset.colour = colour;
    button.style.backgroundColor = colour;
    button.setAttribute("aria-label", title);
    button.addEventListener("click", () => choose(colour));
    return button;
  }

  // Beside the place, and inside the stage.
  function stand(dot, stage) {
    box.style.left = box.style.top = "";
    if (window.innerWidth < WIDE) return;
    const [place, room] = [dot.getBoundingClientRect(), stage.getBoundingClientRect()];
    const isRight = place.right + GAP + box.offsetWidth < room.right;
    const left = isRight ? place.right + GAP : place.left - GAP - box.offsetWidth;
    const top = Math.min(place.top - 60, room.bottom - box.offsetHeight - 8);
    box.style.left = `${Math.max(8, left)}px`;
    box.style.top = `${Math.max(room.top + 8, top)}px`;
  }

  function close() {
    if (box.hidden) return;
    opened++;
    box.hidden = true;
    document.body.classList.remove("picking");
    on.close();
  }

  return { open, close };
}
