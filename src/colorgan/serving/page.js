"use strict";

const byId = (id) => document.getElementById(id);
const NO_PHOTO = [413, 415]; // Status codes about the photo: no other model would accept it.
let photo = null; // {name, content}
let latest = 0; // Number of the latest request; answers to earlier ones are ignored.

function say(text, isError = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("error", isError);
}

async function fetched(address, options) {
  const response = await fetch(address, options);
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const error = new Error(body.error || `the server answered ${response.status}`);
    throw Object.assign(error, { status: response.status });
  }
  return response;
}

function chosenModels() {
  return [...document.querySelectorAll("#models input:checked")].map((box) => box.value);
}

function labelOf(model) {
  return document.querySelector(`#models input[value="${CSS.escape(model)}"]`).dataset.label;
}

function show(result, model) {
  const figure = byId("result").content.cloneNode(true).firstElementChild;
  const at = `api/results/${result.id}`;
  figure.querySelector(".before").src = `${at}/before`;
  figure.querySelector(".after").src = `${at}/after`;
  const pair = figure.querySelector(".pair");
  pair.querySelector("input").addEventListener("input", (event) => {
    pair.style.setProperty("--at", `${event.target.value}%`);
  });
  // No-break spaces.
  const size = `${result.width}\u00a0×\u00a0${result.height}`;
  figure.querySelector(".what").textContent = `${labelOf(model)} · ${size} · ${result.seconds}\u00a0s`;
  const link = figure.querySelector(".download");
  link.href = `${at}/file`;
  link.download = result.name;
  byId("results").append(figure);
}

async function colorize() {
  const models = chosenModels();
  if (!photo || !models.length) return;
  const request = ++latest;
  say(`Colouring ${photo.name} …`);
  const figures = [];
  const failed = [];
  for (const model of models) {
    const query = new URLSearchParams({ model, saturation: byId("saturation").value, name: photo.name });
    try {
      const response = await fetched(`api/colorize?${query}`, { method: "POST", body: photo.content });
      figures.push([await response.json(), model]);
    } catch (error) {
      failed.push(`${labelOf(model)}: ${error.message}`);
      if (NO_PHOTO.includes(error.status)) {
        if (request === latest) say(`${photo.name}: ${error.message}`, true);
        return;
      }
    }
    if (request !== latest) return;
  }
  byId("results").replaceChildren();
  figures.forEach(([result, model]) => show(result, model));
  say(failed.join("; "), failed.length > 0);
}

function take(file) {
  if (!file) return;
  photo = { name: file.name, content: file };
  colorize();
}

let waiting;
byId("saturation").addEventListener("input", (event) => {
  byId("amount").textContent = Number(event.target.value).toFixed(1);
  clearTimeout(waiting);
  waiting = setTimeout(colorize, 300);
});
byId("file").addEventListener("change", (event) => take(event.target.files[0]));
const drop = byId("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}

async function start() {
  const models = await (await fetched("api/models")).json();
  models.forEach((model, row) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", value: model.id, checked: row === 0 });
    box.dataset.label = model.label;
    box.addEventListener("change", colorize);
    label.append(box, model.label);
    byId("models").append(label);
  });
  // A photo may have been dropped before the models were listed.
  colorize();
  const names = await (await fetched("api/examples")).json();
  byId("examples-section").hidden = !names.length;
  for (const name of names) {
    const address = `api/examples/${encodeURIComponent(name)}`;
    const button = document.createElement("button");
    button.title = name;
    const image = Object.assign(document.createElement("img"), { src: address, alt: name, loading: "lazy" });
    button.append(image);
    button.addEventListener("click", async () => {
      photo = { name, content: await (await fetched(address)).blob() };
      window.scrollTo({ top: 0, behavior: "smooth" });
      colorize();
    });
    byId("examples").append(button);
  }
}

start().catch((error) => say(error.message, true));
