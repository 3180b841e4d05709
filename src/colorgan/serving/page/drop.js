// Takes photos that are dropped on the page; page.js takes those that came before it had run.
const dropped = { files: [], take: (files) => dropped.files.push(...files) };
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  dropped.take(event.dataTransfer.files);
});
