// The page: photos in a strip, one of them on the stage; each keeps its hints and their history.

import { ask, fetched } from "./server.js";
import { createPicker, hex } from "./picker.js";
import { createView } from "./view.js";
import { zip } from "./zip.js";

const byId = (id) => document.getElementById(id);
const HINTS_VERSION = 1;
const MOST_ZIPPED = 2 ** 32 - 2 ** 24; // Bytes of photos that fit into a ZIP file.
const MOST_USED = 4; // Colours of other hints that are offered again.

// {name, content, id, width, height, notes, hints, past, future, due, busy, error, before, after, item}
const photos = [];
let current = null;
let opened = ""; // The id of the hint whose colour is chosen.
let unset = null; // A hint that has no colour yet.
let lastId = 0;

const view = createView(byId("stage"), byId("frame"), byId("dots"), {
  place: (x, y) => addHint(x, y),
  open: openHint,
  move: (id, x, y, gesture) => changeHint(id, { x, y }, `move ${id} ${gesture}`),
  remove: removeHint,
});
const picker = createPicker(byId("picker"), {
  pick: (colour, gesture) => changeHint(opened, { colour }, gesture),
  remove: () => removeHint(opened),
  close: () => {
    const dot = view.dot(opened);
    opened = "";
    unset = null;
    showHints();
    (dot?.isConnected ? dot : byId("stage")).focus({ preventScroll: true });
  },
});

// ---- What the page says

function say(text, isError = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("error", isError);
}

// What is wrong with a file stays while photos are coloured, until the user does something.
let fault = "";
for (const kind of ["pointerdown", "keydown", "drop"]) {
  document.addEventListener(kind, () => { fault = ""; }, true);
}

function sayFault(text) {
  fault = text;
  say(text, true);
}

function sayState() {
  const photo = current;
  if (fault) return say(fault, true);
  if (!photo) return;
  if (photo.error) return say(`${photo.name}: ${photo.error}`, true);
  const size = photo.width ? `${photo.width}\u00a0×\u00a0${photo.height}` : "";
  const reduced = photo.reduced ? "shown smaller; the download has the full size" : "";
  const advice = ["click or tap where you know the colour", "a colour runs too far? Add a hint on what it covers"];
  const next = (photo.after && advice[photo.hints.length]) || "";
  const state = photo.busy && !photo.after ? "colouring …" : "";
  say([photo.name, size, state, reduced, next, ...(photo.notes || [])].filter(Boolean).join(" · "));
}

// ---- Photos

function add(files) {
  picker.close();
  const added = files.map(({ name, content }) => {
    const item = byId("thumb").content.cloneNode(true).firstElementChild;
    const photo = { name, content, item, id: "", hints: [], past: [], future: [], due: true, error: "" };
    item.title = name;
    item.addEventListener("click", () => select(photo));
    return photo;
  });
  photos.push(...added);
  byId("strip").append(...added.map((photo) => photo.item));
  if (added.length) select(added[0]);
}

function select(photo) {
  picker.close();
  current = photo;
  document.body.classList.toggle("empty", !photo);
  for (const one of photos) showItem(one);
  if (!photo) return say("");
  photo.item.scrollIntoView({ block: "nearest", inline: "nearest" });
  byId("before").removeAttribute("src");
  byId("after").removeAttribute("src");
  showPhoto();
  work();
}

function removePhoto() {
  if (!current) return;
  const row = photos.indexOf(current);
  photos.splice(row, 1);
  current.item.remove();
  for (const url of [current.before, current.after]) URL.revokeObjectURL(url);
  select(photos[Math.min(row, photos.length - 1)] || null);
}

function showItem(photo) {
  const { item, hints } = photo;
  const image = item.querySelector("img");
  const source = photo.after || photo.before || "";
  if (source && image.getAttribute("src") !== source) image.src = source;
  const isBusy = photo.busy || photo.due;
  item.classList.toggle("failed", Boolean(photo.error));
  item.classList.toggle("busy", isBusy && !photo.after);
  item.querySelector(".count").textContent = photo.error ? "!" : hints.length || "";
  item.setAttribute("aria-current", photo === current);
  const state = photo.error || (isBusy ? "being coloured" : "coloured");
  item.setAttribute("aria-label", `${photo.name}, ${hints.length} hints, ${state}`);
}

// Show what there is of the current photo.
function showPhoto() {
  const photo = current;
  showItem(photo);
  for (const kind of ["before", "after"]) {
    const image = byId(kind);
    if (photo[kind] && image.getAttribute("src") !== photo[kind]) image.src = photo[kind];
    image.hidden = !photo[kind];
  }
  byId("after").alt = `${photo.name}, coloured`;
  if (view.of !== photo && photo.width) {
    view.of = photo;
    view.setPhoto(photo.width, photo.height);
  }
  byId("frame").hidden = !photo.width;
  byId("stage").setAttribute("aria-busy", Boolean(photo.busy));
  byId("undo").disabled = !photo.past.length;
  byId("redo").disabled = !photo.future.length;
  for (const id of ["hint", "download", "save"]) byId(id).disabled = !photo.width;
  showHints();
  sayState();
}

function showHints() {
  if (current) view.showHints(unset ? [...current.hints, unset] : current.hints, opened);
}

// Show the gray photo up to so many percent of the width.
function showBefore(percent) {
  byId("compare").value = percent;
  byId("frame").style.setProperty("--at", `${percent}%`);
  byId("frame").style.setProperty("--shown", percent > 0 ? 1 : 0);
}

// ---- Colouring: the current photo, and beside it the others one by one

const running = { current: false, others: false };

function work() {
  for (const kind of ["current", "others"]) run(kind);
}

async function run(kind) {
  if (running[kind]) return;
  running[kind] = true;
  for (;;) {
    const others = photos.filter((photo) => photo !== current);
    const photo = (kind === "current" ? [current] : others).find((one) => one?.due && !one.busy);
    if (!photo) break;
    Object.assign(photo, { due: false, busy: true });
    refreshed(photo);
    await color(photo);
    photo.busy = false;
    refreshed(photo);
    work(); // The other loop may have left it, if the current photo was another one meanwhile.
  }
  running[kind] = false;
}

function refreshed(photo) {
  if (photo === current) showPhoto();
  else showItem(photo);
}

const settings = () => ({
  model: document.querySelector("#models input:checked")?.value ?? "", // The first one.
  saturation: Number(byId("saturation").value),
});
// As a file of hints has it: a whole number would be a pixel.
const rounded = (value) => Math.min(Math.max(value.toFixed(6), 0.000001), 0.999999);
const hintsOf = ({ width, height }, hints) => ({
  version: HINTS_VERSION, width, height,
  hints: hints.map(({ x, y, colour }) => ({ x: rounded(x), y: rounded(y), colour })),
});
const asked = (photo, hints = photo.hints) => ({ ...settings(), ...hintsOf(photo, hints) });

// Never fails: what is wrong is said beside the photo.
async function color(photo) {
  try {
    const response = await ask(photo, "preview", () => asked(photo), say);
    const url = URL.createObjectURL(await response.blob());
    const image = new Image();
    image.src = url;
    await image.decode(); // So that the photo does not flicker.
    const old = photo.after;
    Object.assign(photo, { after: url, error: "" });
    refreshed(photo);
    URL.revokeObjectURL(old);
  } catch (error) {
    photo.error = error.message;
  }
}

function colorAll() {
  for (const photo of photos) {
    photo.due = true;
    showItem(photo);
  }
  work();
}

// ---- Hints and their history

// Changes of one gesture, such as a drag, are one step to undo.
function change(photo, hints, gesture) {
  if (!gesture || photo.gesture !== gesture) {
    photo.past.push(photo.hints);
    photo.future = [];
  }
  Object.assign(photo, { hints, gesture, due: true });
  refreshed(photo);
  work();
}

function step(from, to) {
  picker.close();
  if (!current?.[from].length) return;
  current[to].push(current.hints);
  Object.assign(current, { hints: current[from].pop(), gesture: "", due: true });
  showPhoto();
  work();
}

function changeHint(id, values, gesture) {
  if (unset?.id === id) {
    Object.assign(unset, values);
    if (!unset.colour) return showHints();
    const hint = unset;
    unset = null;
    return change(current, [...current.hints, hint], gesture);
  }
  const hints = current.hints.map((hint) => (hint.id === id ? { ...hint, ...values } : hint));
  change(current, hints, gesture);
}

function removeHint(id) {
  picker.close();
  if (current.hints.some((hint) => hint.id === id)) {
    change(current, current.hints.filter((hint) => hint.id !== id), "");
  }
  byId("stage").focus();
}

function addHint(x, y) {
  picker.close();
  if (!current?.width || x < 0 || y < 0 || x >= 1 || y >= 1) return;
  unset = { id: `hint${++lastId}`, x, y, colour: "" };
  openHint(unset.id);
}

function openHint(id) {
  const isNew = unset?.id === id;
  if (!isNew) picker.close();
  opened = id;
  showBefore(0);
  showHints();
  const hint = isNew ? unset : current.hints.find((one) => one.id === id);
  const others = current.hints.filter((one) => one.id !== id);
  const { x, y, colour } = hint;
  const photo = current;
  picker.open({
    isNew, dot: view.dot(id), stage: byId("stage"),
    colour: typeof colour === "string" ? colour : "", // A pair of a and b has none on the page.
    wheelAddress: () => `api/photos/${photo.id}/wheel?${new URLSearchParams({ x, y })}`,
    used: [...new Set(others.map((one) => one.colour))].filter((one) => typeof one === "string").slice(-MOST_USED),
    likely: ask(photo, "colours", () => ({ ...asked(photo, others), x, y }), say).then((answer) => answer.json()),
  });
}

// ---- Files

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function file(photo) {
  const response = await ask(photo, "file", () => asked(photo), say);
  const name = decodeURIComponent(response.headers.get("Content-Disposition").split("''")[1]);
  photo.notes = JSON.parse(decodeURIComponent(response.headers.get("Colorgan-Notes")));
  return { name, blob: await response.blob() };
}

async function download(wanted) {
  const files = [];
  const failures = [];
  for (const photo of wanted) {
    say(`Colouring ${photo.name} at its full size …`);
    try {
      files.push(await file(photo));
    } catch (error) {
      failures.push(`${photo.name}: ${error.message}`);
    }
  }
  const bytes = files.reduce((sum, { blob }) => sum + blob.size, 0);
  if (wanted.length > 1 && files.length && bytes < MOST_ZIPPED) save(await zip(files), "coloured.zip");
  else files.forEach(({ blob, name }) => save(blob, name));
  if (failures.length) sayFault(`Not in the download: ${failures.join("; ")}`);
  else sayState();
}

const stem = (name) => name.replace(/\.[^.]*$/, "");
const hintsName = (photo) => `${stem(photo.name)}.hints.json`;

function saveHints() {
  const text = `${JSON.stringify(hintsOf(current, current.hints), null, 2)}\n`;
  save(new Blob([text], { type: "application/json" }), hintsName(current));
}

// The server judges the file, as the command would.
async function loadHints(content, name) {
  const photo = photos.find((one) => hintsName(one) === name) || current;
  if (!photo) return sayFault(`${name} holds hints: add its photo first`);
  try {
    const told = JSON.parse(await content.text());
    await ask(photo, `preview?${new URLSearchParams({ name })}`, () => ({ ...settings(), ...told }), say);
    // Whole numbers are pixels.
    const place = (at, length) => (Number.isInteger(at) ? (at + 0.5) / length : at);
    const hints = told.hints.map(({ x, y, colour }) => ({
      id: `hint${++lastId}`, x: place(x, told.width), y: place(y, told.height),
      colour: typeof colour === "string" ? hex(colour) || colour : colour,
    }));
    if (photo !== current) select(photo);
    change(photo, hints, "");
  } catch (error) {
    const why = error instanceof SyntaxError ? `${name} is no file of hints: it is not JSON` : error.message;
    sayFault(why.startsWith(name) ? why : `${name}: ${why}`);
  }
}

function take(list) {
  const files = [...list].map((content) => ({ name: content.name, content }));
  const isHints = ({ name }) => name.toLowerCase().endsWith(".json");
  const pictures = files.filter((one) => !isHints(one));
  if (pictures.length) add(pictures);
  for (const { name, content } of files.filter(isHints)) loadHints(content, name);
}

// ---- The start

for (const id of ["file", "load"]) {
  byId(id).addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // So that the same file can be chosen again.
  });
}
take(dropped.files);
dropped.take = take;
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    document.body.classList.toggle("over", kind === "dragover");
  });
}

const actions = {
  hint: () => addHint(...view.middle()),
  undo: () => step("past", "future"),
  redo: () => step("future", "past"),
  larger: () => view.zoomBy(1.5),
  smaller: () => view.zoomBy(1 / 1.5),
  whole: view.fit,
  download: () => download([current]),
  all: () => download([...photos]),
  save: saveHints,
  remove: removePhoto,
};
for (const [id, act] of Object.entries(actions)) byId(id).addEventListener("click", () => act());
document.addEventListener("keydown", (event) => {
  const isCommand = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  const keys = { "+": "larger", "=": "larger", "-": "smaller", 0: "whole" };
  const id = isCommand ? { z: event.shiftKey ? "redo" : "undo", y: "redo" }[key] : keys[key];
  if (!id || !current || event.target.matches("input[type=text]")) return;
  event.preventDefault();
  actions[id]();
});
byId("compare").addEventListener("input", (event) => showBefore(event.target.value));
let waiting;
byId("saturation").addEventListener("input", (event) => {
  byId("amount").textContent = Number(event.target.value).toFixed(1);
  clearTimeout(waiting);
  waiting = setTimeout(colorAll, 150);
});
// A menu closes when another place is pressed, one of its buttons is clicked, or with Escape.
function closeMenus(isDone) {
  for (const menu of document.querySelectorAll("details[open]")) {
    if (isDone(menu)) menu.open = false;
  }
}
document.addEventListener("pointerdown", ({ target }) => closeMenus((menu) => !menu.contains(target)));
document.addEventListener("click", ({ target }) => closeMenus(() => target.closest(".menu button")));
document.addEventListener("keydown", ({ key }) => closeMenus(() => key === "Escape"));

async function listModels() {
  const models = await (await fetched("api/models")).json();
  byId("models").append(...models.map((model, row) => {
    const label = document.createElement("label");
    const button = document.createElement("input");
    Object.assign(button, { type: "radio", name: "model", value: model.id, checked: row === 0 });
    button.addEventListener("change", colorAll);
    label.append(button, model.label);
    return label;
  }));
}

async function listExamples() {
  const names = await (await fetched("api/examples")).json();
  byId("examples-section").hidden = !names.length;
  for (const name of names) {
    const address = `api/examples/${encodeURIComponent(name)}`;
    const button = Object.assign(document.createElement("button"), { type: "button", title: name });
    button.append(Object.assign(document.createElement("img"), { src: address, alt: name, loading: "lazy" }));
    button.addEventListener("click", async () => {
      add([{ name, content: await (await fetched(address)).blob() }]);
    });
    byId("examples").append(button);
  }
}

for (const list of [listExamples, listModels]) list().catch((error) => say(error.message, true));
