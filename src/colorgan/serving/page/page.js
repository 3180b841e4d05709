"use strict";

// Each photo has an <article> with its name, its state, and a figure for each model that is chosen.
// Photos are coloured one after the other, the newest first; when a setting changes, all anew.

const byId = (id) => document.getElementById(id);
const ABOUT_THE_PHOTO = [413, 415]; // Status codes: no other model would accept it either.
const BUSY = 503;
const photos = []; // {name, content, article, due, failed}; the newest first
let working = false;
let aborting = new AbortController(); // Ends the requests for the photo that is being coloured.

// ---- What the page says

function say(text, isError = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("error", isError);
}

function sayState(photo, text, failed = false) {
  const state = photo.article.querySelector(".state");
  state.textContent = text;
  state.classList.toggle("error", failed);
  photo.failed = failed;
}

function sayHowMany() {
  const failed = photos.filter((photo) => photo.failed).map((photo) => photo.name);
  const done = photos.filter((photo) => !photo.due).length;
  const several = photos.length > 1 ? `${done} of ${photos.length} photos done` : "";
  say([several, failed.length ? `not coloured: ${failed.join(", ")}` : ""].filter(Boolean).join("; "));
}

// ---- The server

async function fetched(address, options = {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(address, options);
    } catch (error) {
      throw options.signal?.aborted ? error : new Error("colorgan does not answer; is it still running?");
    }
    if (response.ok) return response;
    if (response.status !== BUSY) {
      const body = await response.json().catch(() => ({}));
      const error = new Error(body.error || `the server answered ${response.status}`);
      throw Object.assign(error, { status: response.status });
    }
    say("Many photos are waiting; trying again …");
    const seconds = Number(response.headers.get("Retry-After")) || 5;
    await new Promise((resume) => setTimeout(resume, 1000 * seconds));
  }
}

// Colour a photo. The files are kept here as blobs, because the server forgets them after a while.
async function colored(photo, model, signal) {
  const query = new URLSearchParams({ model, saturation: byId("saturation").value, name: photo.name });
  const options = { method: "POST", body: photo.content, signal };
  const result = await (await fetched(`api/colorize?${query}`, options)).json();
  for (const kind of ["before", "after", "file"]) {
    const response = await fetched(`api/results/${result.id}/${kind}`, { signal });
    result[kind] = URL.createObjectURL(await response.blob());
  }
  return result;
}

// ---- Settings

function chosenModels() {
  return [...document.querySelectorAll("#models input:checked")].map((box) => box.value);
}

function labelOf(model) {
  return document.querySelector(`#models input[value="${CSS.escape(model)}"]`).dataset.label;
}

// ---- Photos

function add(files) {
  const added = files.map(({ name, content }) => {
    const article = byId("photo").content.cloneNode(true).firstElementChild;
    article.querySelector("h2").textContent = name;
    return { name, content, article, due: true, failed: false };
  });
  photos.unshift(...added);
  byId("results").prepend(...added.map((photo) => photo.article));
  added.forEach((photo) => sayState(photo, "Waiting …"));
  work();
}

function colorizeAll() {
  photos.forEach((photo) => { photo.due = true; });
  aborting.abort();
  work();
}

async function work() {
  if (working) return;
  working = true;
  for (;;) {
    const photo = photos.find((one) => one.due);
    if (!photo || !chosenModels().length) break;
    photo.due = false;
    aborting = new AbortController();
    await colorize(photo, aborting.signal);
    sayHowMany();
  }
  working = false;
}

// Never fails: what is wrong is said beside the photo.
async function colorize(photo, signal) {
  sayState(photo, "Colouring …");
  const figures = [];
  const failures = [];
  let notes = []; // About the file, so of all models the same.
  for (const model of chosenModels()) {
    try {
      await photo.content.slice(0, 1).arrayBuffer();
    } catch {
      failures.push("it cannot be read; if it is a folder, drop its photos");
      break;
    }
    try {
      const result = await colored(photo, model, signal);
      figures.push(figureOf(result, model));
      notes = result.notes;
    } catch (error) {
      if (signal.aborted) return forget(figures); // It is due again.
      const isAboutThePhoto = ABOUT_THE_PHOTO.includes(error.status);
      failures.push(isAboutThePhoto ? error.message : `${labelOf(model)}: ${error.message}`);
      if (isAboutThePhoto) break;
    }
  }
  const place = photo.article.querySelector(".figures");
  forget([...place.children]);
  place.replaceChildren(...figures);
  sayState(photo, [...failures, ...notes].join("; "), failures.length > 0);
}

function forget(figures) {
  for (const figure of figures) {
    figure.querySelectorAll("img, a").forEach((one) => URL.revokeObjectURL(one.src || one.href));
  }
}

function figureOf(result, model) {
  const figure = byId("result").content.cloneNode(true).firstElementChild;
  figure.querySelector(".before").src = result.before;
  figure.querySelector(".after").src = result.after;
  const pair = figure.querySelector(".pair");
  pair.querySelector("input").addEventListener("input", (event) => {
    pair.style.setProperty("--at", `${event.target.value}%`);
  });
  // No-break spaces.
  const size = `${result.width}\u00a0×\u00a0${result.height}`;
  figure.querySelector(".what").textContent = `${labelOf(model)} · ${size} · ${result.seconds}\u00a0s`;
  const link = figure.querySelector(".download");
  link.href = result.file;
  link.download = result.name;
  return figure;
}

// ---- The start

// The script runs before the page below it is read, so that no photo is dropped too early for it.
const pageIsRead = new Promise((resume) => document.addEventListener("DOMContentLoaded", resume));
const withNames = (files) => [...files].map((file) => ({ name: file.name, content: file }));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop")?.classList.toggle("over", kind === "dragover");
    if (kind !== "drop") return;
    const dropped = withNames(event.dataTransfer.files);
    pageIsRead.then(() => add(dropped));
  });
}

function listenToControls() {
  let waiting;
  byId("saturation").addEventListener("input", (event) => {
    byId("amount").textContent = Number(event.target.value).toFixed(1);
    clearTimeout(waiting);
    waiting = setTimeout(colorizeAll, 300);
  });
  byId("file").addEventListener("change", (event) => {
    add(withNames(event.target.files));
    event.target.value = ""; // So that the same file can be chosen again.
  });
}

async function listModels() {
  const models = await (await fetched("api/models")).json();
  models.forEach((model, row) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", value: model.id, checked: row === 0 });
    box.dataset.label = model.label;
    box.addEventListener("change", colorizeAll);
    label.append(box, model.label);
    byId("models").append(label);
  });
  work(); // A photo may have been dropped before the models were listed.
}

async function listExamples() {
  const names = await (await fetched("api/examples")).json();
  byId("examples-section").hidden = !names.length;
  for (const name of names) {
    const address = `api/examples/${encodeURIComponent(name)}`;
    const button = document.createElement("button");
    button.title = name;
    const image = Object.assign(document.createElement("img"), { src: address, alt: name, loading: "lazy" });
    button.append(image);
    button.addEventListener("click", async () => {
      add([{ name, content: await (await fetched(address)).blob() }]);
      window.scrollTo({ top: 0, behavior: "smooth" });
    });
    byId("examples").append(button);
  }
}

pageIsRead.then(() => {
  listenToControls();
  for (const list of [listExamples, listModels]) list().catch((error) => say(error.message, true));
});
