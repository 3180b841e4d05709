// What the server of the page is asked.

const BUSY = 503;
export const GONE = 404;

// `say` is told when the server is busy.
export async function fetched(address, options = {}, say = () => {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new Error("colorgan does not answer; is it still running?");
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

// Send a photo; it gets the id under which the server keeps it, and a picture of it in gray.
async function upload(photo, say) {
  try {
    await photo.content.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error("it cannot be read; if it is a folder, drop its photos");
  }
  const address = `api/photos?${new URLSearchParams({ name: photo.name })}`;
  const told = await (await fetched(address, { method: "POST", body: photo.content }, say)).json();
  if (!photo.before) {
    const before = await fetched(`api/photos/${told.id}/before`, {}, say);
    photo.before = URL.createObjectURL(await before.blob());
  }
  Object.assign(photo, told);
}

// Ask for `preview`, `colours` or `file` of a photo. One that the server has forgotten is sent again.
// `body` is a function, as the photo has its size only when it has been sent.
export async function ask(photo, what, body, say) {
  if (!photo.id) await upload(photo, say);
  const options = { method: "POST", body: JSON.stringify(body()) };
  try {
    return await fetched(`api/photos/${photo.id}/${what}`, options, say);
  } catch (error) {
    if (error.status !== GONE) throw error;
    await upload(photo, say);
    return fetched(`api/photos/${photo.id}/${what}`, options, say);
  }
}
